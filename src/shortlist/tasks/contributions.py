"""What each test item contributed to a metric, so that two methods can be compared item by item."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from scipy.stats import rankdata

from shortlist.tasks import metrics as formulas

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shortlist.core import Corpus
    from shortlist.tasks.base import Task

Metric: TypeAlias = Callable[[formulas.Values], formulas.Values]
ROUNDED = 9  # decimals: differences of nearly equal metrics carry no more


def contributions(
    task: Task,
    predictions: NDArray[np.floating],
    corpus: Corpus,
    labels: tuple[str, ...] | None,
) -> Mapping[str, formulas.Values]:
    """Returns the jackknife's pseudo-values of each metric of the task, (n,) by metric.

    Item i contributes value + (n - 1) (value - value without i), shifted so that the mean is the
    value (Tukey 1958). For the accuracy it is 1 where the item is right and 0 where it is wrong;
    for a macro-F1 or a correlation it is what makes a mean of it, so that errors, pairing and
    resampling work for all metrics alike.

    Args:
        task: whose metrics are asked for.
        predictions: as for `Task.evaluate`.
        corpus: the items, in the order of the predictions.
        labels: the classes in the order of the model's outputs; None for a regression.
    """
    if labels is None:
        truth = np.array(corpus.labels, dtype=np.float64)
        return {
            name: _of_correlation(name, truth, predictions.astype(np.float64))
            for name in task.metrics
            if name in formulas.REGRESSION
        }
    truth_names = [str(label) for label in corpus.labels or ()]
    classes = (*labels, *sorted(set(truth_names) - set(labels)))
    index = {label: number for number, label in enumerate(classes)}
    truth = np.array([index[label] for label in truth_names], dtype=np.int64)
    cells = truth * len(classes) + predictions.argmax(1)
    known = dict(formulas.CLASSIFICATION)
    if task.positive is not None and task.positive in index:
        known["f1"] = formulas.f1_of(index[task.positive])
    return {
        name: _of_confusion(known[name], cells, len(classes))
        for name in task.metrics
        if name in known
    }


def _of_confusion(metric: Metric, cells: NDArray[np.int64], classes: int) -> formulas.Values:
    """Returns the pseudo-values of a function of the confusion matrix.

    Items of one cell of the matrix are alike, so each cell is left out once.
    """
    n = len(cells)
    whole = np.bincount(cells, minlength=classes * classes).astype(np.float64)
    occupied, place = np.unique(cells, return_inverse=True)
    without = np.repeat(whole[None], len(occupied), 0)
    without[np.arange(len(occupied)), occupied] -= 1
    shape = (classes, classes)
    value = float(metric(whole.reshape(shape)))
    left_out = np.array([float(metric(one.reshape(shape))) for one in without])
    return _pseudo(value, left_out[place], n)


def _of_correlation(
    name: str, truth: formulas.Values, predicted: formulas.Values
) -> formulas.Values:
    """Returns the pseudo-values of a correlation; ranks stay those of all items.

    Left out in closed form: sums without an item are the sums less the item.
    """
    if name == "spearman":
        truth, predicted = rankdata(truth), rankdata(predicted)
    n = len(truth)
    x, y = truth - truth.mean(), predicted - predicted.mean()
    m = n - 1
    xy = (x * y).sum() - x * y - x * y / m
    xx, yy = (x * x).sum() - x * x - x * x / m, (y * y).sum() - y * y - y * y / m
    scale = np.sqrt(np.maximum(xx * yy, 0.0))
    left_out = np.divide(xy, scale, out=np.zeros_like(xy), where=scale > 1e-12)
    return _pseudo(float(formulas.pearson(truth, predicted)), left_out, n)


def _pseudo(value: float, left_out: formulas.Values, n: int) -> formulas.Values:
    found = value + (n - 1) * (value - left_out)
    return np.round(found - found.mean() + value, ROUNDED)
