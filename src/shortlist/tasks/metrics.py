"""Metrics of classification and regression, and the score of each item.

A classification metric is a function of (..., classes, classes) confusion matrices, rows the truth;
a regression metric is a function of two (..., n) arrays. Leading axes are bootstrap resamples, so
that all of them cost one call. The definitions are those of scikit-learn and scipy.

The item scores of a metric are the jackknife's pseudo-values: item i has the score
value + (n - 1) (value - value without i), shifted so that the mean is the value (Tukey 1958). For
the accuracy that is 1 for a right and 0 for a wrong prediction. For a macro-F1 or a correlation it
turns the metric into a mean, so that standard errors, pairing and resampling work alike for all
metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Values: TypeAlias = NDArray[np.float64]

Metric: TypeAlias = Callable[[Values], Values]

RESAMPLES = 200  # of the bootstrap
DECIMALS = 9  # of item scores: differences of nearly equal values have no more


def accuracy(confusion: Values) -> Values:
    """Returns the share of items on the diagonal."""
    return _diagonal(confusion).sum(-1) / confusion.sum((-2, -1))


def micro_f1(confusion: Values) -> Values:
    """Returns the F1 over all items, which equals the accuracy where each item has one label."""
    return accuracy(confusion)


def macro_f1(confusion: Values) -> Values:
    """Returns the mean F1 of the classes that occur in the truth or in the predictions."""
    doubled = confusion.sum(-1) + confusion.sum(-2)
    f1 = np.divide(2 * _diagonal(confusion), doubled, out=np.zeros_like(doubled), where=doubled > 0)
    return f1.sum(-1) / (doubled > 0).sum(-1)


def matthews(confusion: Values) -> Values:
    """Returns Matthews' correlation for any number of classes (Gorodkin 2004, R_K); 0 where the
    truth or the predictions are constant.
    """
    n, truth, predicted = confusion.sum((-2, -1)), confusion.sum(-1), confusion.sum(-2)
    covariance = _diagonal(confusion).sum(-1) * n - (truth * predicted).sum(-1)
    scale = np.sqrt((n**2 - (truth**2).sum(-1)) * (n**2 - (predicted**2).sum(-1)))
    return np.divide(covariance, scale, out=np.zeros_like(scale), where=scale > 0)


def f1_of(positive: int) -> Metric:
    """Returns the metric that is the F1 of one class; 0 where the class never occurs."""

    def f1(confusion: Values) -> Values:
        doubled = confusion[..., positive, :].sum(-1) + confusion[..., :, positive].sum(-1)
        hits = 2 * confusion[..., positive, positive]
        return np.divide(hits, doubled, out=np.zeros_like(doubled), where=doubled > 0)

    return f1


def pearson(truth: Values, predicted: Values) -> Values:
    """Returns the linear correlation along the last axis; 0 where one side is constant."""
    x, y = truth - truth.mean(-1, keepdims=True), predicted - predicted.mean(-1, keepdims=True)
    # The mean of equal numbers has a rounding error: constant is what varies no more than that.
    small = 1e-12 * np.maximum(1.0, np.abs(predicted).max(-1))
    scale = np.sqrt((x * x).sum(-1) * (y * y).sum(-1))
    varies = (np.abs(x).max(-1) > 1e-12) & (np.abs(y).max(-1) > small)
    return np.divide((x * y).sum(-1), scale, out=np.zeros_like(scale), where=varies).clip(-1, 1)


def spearman(truth: Values, predicted: Values) -> Values:
    """Returns the rank correlation along the last axis, ties at their mean rank."""
    return pearson(rankdata(truth, axis=-1), rankdata(predicted, axis=-1))


def rmse(truth: Values, predicted: Values) -> Values:
    """Returns the root of the mean squared error along the last axis, in units of the labels."""
    return np.sqrt(((truth - predicted) ** 2).mean(-1))


CLASSIFICATION: Mapping[str, Metric] = {
    "accuracy": accuracy,
    "micro_f1": micro_f1,
    "macro_f1": macro_f1,
    "matthews": matthews,
}
REGRESSION: Mapping[str, Callable[[Values, Values], Values]] = {
    "pearson": pearson,
    "spearman": spearman,
    "rmse": rmse,
}
CORRELATIONS = ("matthews", "pearson", "spearman")


def confusions(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: int, rows: NDArray[np.int64]
) -> Values:
    """Returns the (r, classes, classes) confusion matrices of r resamples.

    Args:
        truth: (n,) class numbers.
        predicted: (n,) class numbers.
        classes: number of classes.
        rows: (r, n) numbers of the items of each resample.
    """
    cells = classes * classes
    flat = (truth * classes + predicted)[rows] + np.arange(len(rows))[:, None] * cells
    counts = np.bincount(flat.ravel(), minlength=len(rows) * cells)
    return counts.reshape(len(rows), classes, classes).astype(np.float64)


def bootstrap_rows(n: int, fingerprint: str) -> NDArray[np.int64]:
    """Returns (1 + RESAMPLES, n) item numbers: the data themselves, then the bootstrap resamples.

    The generator is seeded by the fingerprint of the data, so that all methods are evaluated on the
    same resamples.
    """
    generator = np.random.default_rng(int(fingerprint[:16], 16))
    return np.concatenate([np.arange(n)[None], generator.integers(0, n, (RESAMPLES, n))])


def confusion_item_scores(
    metric: Metric, truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: int
) -> Values:
    """Returns the (n,) item scores of a function of the confusion matrix.

    Items in one cell of the matrix have one score, so that each cell is left out once.
    """
    cells = truth * classes + predicted
    whole = np.bincount(cells, minlength=classes * classes).astype(np.float64)
    occupied, place = np.unique(cells, return_inverse=True)
    without = np.repeat(whole[None], len(occupied), 0)
    without[np.arange(len(occupied)), occupied] -= 1
    shape = (classes, classes)
    value = float(metric(whole.reshape(shape)))
    left_out = np.array([float(metric(one.reshape(shape))) for one in without])
    return pseudo_values(value, left_out[place])


def regression_item_scores(name: str, truth: Values, predicted: Values) -> Values:
    """Returns the (n,) item scores of a metric of a regression.

    The value without an item has a closed form, sums less the item's terms. Deviation: Spearman's
    ranks are those of all items.
    """
    if name == "rmse":
        squares = (truth - predicted) ** 2
        rest = np.maximum(squares.sum() - squares, 0.0) / max(len(squares) - 1, 1)
        return pseudo_values(float(rmse(truth, predicted)), np.sqrt(rest))
    if name == "spearman":
        truth, predicted = rankdata(truth), rankdata(predicted)
    x, y = truth - truth.mean(), predicted - predicted.mean()
    m = len(truth) - 1
    xy = (x * y).sum() - x * y - x * y / m
    xx, yy = (x * x).sum() - x * x - x * x / m, (y * y).sum() - y * y - y * y / m
    scale = np.sqrt(np.maximum(xx * yy, 0.0))
    left_out = np.divide(xy, scale, out=np.zeros_like(xy), where=scale > 1e-12)
    return pseudo_values(float(pearson(truth, predicted)), left_out)


def pseudo_values(value: float, left_out: Values) -> Values:
    """Returns (n,) item scores from a metric's value and the (n,) values without each item."""
    scores = value + (len(left_out) - 1) * (value - left_out)
    return np.round(scores - scores.mean() + value, DECIMALS)


def _diagonal(confusion: Values) -> Values:
    return np.diagonal(confusion, axis1=-2, axis2=-1)
