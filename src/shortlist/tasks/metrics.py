"""Metrics of classification and regression, each with a bootstrap standard error.

Every classification metric is a function of the confusion matrix, every regression metric one of
two columns of numbers, and all of them take a leading axis of bootstrap draws: 200 draws cost one
call. The definitions are those of scikit-learn and scipy; the tests compare them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Values: TypeAlias = NDArray[np.float64]

DRAWS = 200


def accuracy(confusion: Values) -> Values:
    """Returns the share of items on the diagonal; `confusion` is (..., truth, prediction)."""
    return _diagonal(confusion).sum(-1) / confusion.sum((-2, -1))


def micro_f1(confusion: Values) -> Values:
    """Returns F1 over all items: with one label an item it equals the accuracy."""
    return accuracy(confusion)


def macro_f1(confusion: Values) -> Values:
    """Returns the mean F1 of the classes that occur in the truth or in the predictions."""
    doubled = confusion.sum(-1) + confusion.sum(-2)
    f1 = np.divide(2 * _diagonal(confusion), doubled, out=np.zeros_like(doubled), where=doubled > 0)
    return f1.sum(-1) / (doubled > 0).sum(-1)


def matthews(confusion: Values) -> Values:
    """Returns Matthews' correlation for any number of classes; 0 where one side is constant.

    References:
        Gorodkin (2004), Comparing two K-category assignments by a K-category correlation
        coefficient.
    """
    n, truth, predicted = confusion.sum((-2, -1)), confusion.sum(-1), confusion.sum(-2)
    covariance = _diagonal(confusion).sum(-1) * n - (truth * predicted).sum(-1)
    scale = np.sqrt((n**2 - (truth**2).sum(-1)) * (n**2 - (predicted**2).sum(-1)))
    return np.divide(covariance, scale, out=np.zeros_like(scale), where=scale > 0)


def f1_of(positive: int) -> Callable[[Values], Values]:
    """Returns the F1 of one class as a function of the confusion matrix; 0 if it never occurs."""

    def f1(confusion: Values) -> Values:
        doubled = confusion[..., positive, :].sum(-1) + confusion[..., :, positive].sum(-1)
        hits = 2 * confusion[..., positive, positive]
        return np.divide(hits, doubled, out=np.zeros_like(doubled), where=doubled > 0)

    return f1


def pearson(truth: Values, predicted: Values) -> Values:
    """Returns the linear correlation along the last axis; 0 where one side is constant."""
    x, y = truth - truth.mean(-1, keepdims=True), predicted - predicted.mean(-1, keepdims=True)
    # Means of equal numbers are off by a rounding error: constant is what hardly varies on its own
    # scale.
    small = 1e-12 * np.maximum(1.0, np.abs(predicted).max(-1))
    scale = np.sqrt((x * x).sum(-1) * (y * y).sum(-1))
    varies = (np.abs(x).max(-1) > 1e-12) & (np.abs(y).max(-1) > small)
    return np.divide((x * y).sum(-1), scale, out=np.zeros_like(scale), where=varies).clip(-1, 1)


def spearman(truth: Values, predicted: Values) -> Values:
    """Returns the rank correlation along the last axis, ties at their mean rank."""
    return pearson(rankdata(truth, axis=-1), rankdata(predicted, axis=-1))


CLASSIFICATION: Mapping[str, Callable[[Values], Values]] = {
    "accuracy": accuracy,
    "micro_f1": micro_f1,
    "macro_f1": macro_f1,
    "matthews": matthews,
}
REGRESSION: Mapping[str, Callable[[Values, Values], Values]] = {
    "pearson": pearson,
    "spearman": spearman,
}
CORRELATIONS = ("matthews", *REGRESSION)


def confusions(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: int, draws: NDArray[np.int64]
) -> Values:
    """Returns a (classes, classes) confusion matrix per row of `draws`, rows of item numbers."""
    cells = classes * classes
    flat = (truth * classes + predicted)[draws] + np.arange(len(draws))[:, None] * cells
    counted = np.bincount(flat.ravel(), minlength=len(draws) * cells)
    return counted.reshape(len(draws), classes, classes).astype(np.float64)


def draws_of(n: int, fingerprint: str) -> NDArray[np.int64]:
    """Returns the items of each draw, (1 + DRAWS, n); the first draw is the data itself.

    The generator is seeded with the fingerprint of the data, so every method is judged on the same
    draws.
    """
    generator = np.random.default_rng(int(fingerprint[:16], 16))
    return np.concatenate([np.arange(n)[None], generator.integers(0, n, (DRAWS, n))])


def _diagonal(confusion: Values) -> Values:
    return np.diagonal(confusion, axis1=-2, axis2=-1)
