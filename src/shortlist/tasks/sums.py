"""Metrics that are functions of sums over items: the value, its resamples, its item scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from shortlist.tasks.metrics import Metric, Values, pseudo_values


def resampled(metric: Metric, statistics: Values, rows: np.ndarray) -> Values:
    """Returns (r,) values of the metric over r resamples.

    Args:
        metric: from (..., s) sums of statistics over items to (...) values.
        statistics: (n, s) statistics by item.
        rows: (r, n) numbers of the items of each resample.
    """
    times = np.stack([np.bincount(row, minlength=len(statistics)) for row in rows])
    return metric(times @ statistics)


def item_scores(metric: Metric, statistics: Values) -> Values:
    """Returns the (n,) item scores: the jackknife's pseudo-values (`tasks.metrics`)."""
    total = statistics.sum(0)
    return pseudo_values(float(metric(total[None])[0]), metric(total - statistics))


def ratio(over: Values, under: Values) -> Values:
    """Returns `over / under`, 0 where that is 0."""
    return np.divide(over, under, out=np.zeros_like(over), where=under > 0)


def mean(sums: Values) -> Values:
    """Returns the mean of items whose statistics are a value and 1."""
    return ratio(sums[..., 0], sums[..., 1])


# The following read (..., 3 c) sums: true positives of c classes, then how often each was
# predicted, then how often it was true.


def micro_precision(sums: Values) -> Values:
    """Returns the share of right ones among all predicted classes."""
    hits, predicted, _ = _thirds(sums)
    return ratio(hits.sum(-1), predicted.sum(-1))


def micro_recall(sums: Values) -> Values:
    """Returns the share of right ones among all true classes."""
    hits, _, true = _thirds(sums)
    return ratio(hits.sum(-1), true.sum(-1))


def micro_f1(sums: Values) -> Values:
    """Returns the F1 over all classes together."""
    hits, predicted, true = _thirds(sums)
    return ratio(2 * hits.sum(-1), (predicted + true).sum(-1))


def macro_f1(sums: Values) -> Values:
    """Returns the mean F1 of the classes that occur in the truth or in the predictions."""
    hits, predicted, true = _thirds(sums)
    occurring = (predicted + true > 0).sum(-1)
    return ratio(ratio(2 * hits, predicted + true).sum(-1), occurring.astype(np.float64))


def _thirds(sums: Values) -> tuple[Values, Values, Values]:
    count = sums.shape[-1] // 3
    return sums[..., :count], sums[..., count : 2 * count], sums[..., 2 * count :]


def by_class(classes: Sequence[str], total: Values) -> list[dict[str, Any]]:
    """Returns precision, recall and F1 of each class, and how often it is true and predicted.

    Args:
        classes: names of c classes.
        total: (3 c,) sums.
    """
    hits, predicted, true = _thirds(total)
    columns = (ratio(hits, predicted), ratio(hits, true), ratio(2 * hits, predicted + true))
    return [
        {
            "class": name,
            "precision": float(columns[0][row]),
            "recall": float(columns[1][row]),
            "f1": float(columns[2][row]),
            "true": int(true[row]),
            "predicted": int(predicted[row]),
        }
        for row, name in enumerate(classes)
    ]
