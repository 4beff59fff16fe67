"""Probe of a task: a linear model on frozen vectors, in place of a fine-tuning.

Logistic regression for classes, ridge regression for numbers, on standardised vectors. The fit has
no random part, so that differences between two models are those of what the models have read.
"""
# scikit-learn has no type stubs.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from shortlist.stats.uncertainty import log_loss

if TYPE_CHECKING:
    from numpy.typing import NDArray

INVERSE_PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
UNCHOSEN = 0.1  # the inverse penalty where no validation item chooses one


def fit_classes(
    train: NDArray[np.float64],
    truth: NDArray[np.int64],
    validation: NDArray[np.float64],
    validation_truth: NDArray[np.int64],
    test: NDArray[np.float64],
    classes: int,
) -> tuple[NDArray[np.float64], float]:
    """Returns (t, classes) probabilities of the test vectors, and the inverse penalty.

    Of the inverse penalties the one of least validation log loss is taken, the smallest of equal
    ones.

    Args:
        train: (n, d) vectors.
        truth: (n,) class numbers.
        validation: (v, d) vectors; none: the inverse penalty is `UNCHOSEN`.
        validation_truth: (v,) class numbers, -1 for a class that does not occur in training.
        test: (t, d) vectors.
        classes: number of classes.
    """
    known = validation_truth >= 0

    def loss(model: Any) -> float:
        rows = _probabilities(model, validation[known], classes)
        return float(log_loss(rows, validation_truth[known]).mean())

    def fitted(inverse_penalty: float) -> Any:
        regression = LogisticRegression(C=inverse_penalty, max_iter=5000)
        return make_pipeline(StandardScaler(), regression).fit(train, truth)

    if len(np.unique(truth)) == 1:  # nothing to tell apart
        return np.tile(np.eye(classes)[truth[0]], (len(test), 1)), UNCHOSEN
    chosen = _chosen(fitted, loss, bool(known.any()))
    return _probabilities(fitted(chosen), test, classes), chosen


def fit_numbers(
    train: NDArray[np.float64],
    truth: NDArray[np.float64],
    validation: NDArray[np.float64],
    validation_truth: NDArray[np.float64],
    test: NDArray[np.float64],
) -> tuple[NDArray[np.float64], float]:
    """Returns the (t,) predicted numbers, and the inverse penalty, by the least squared error.

    Arguments as in `fit_classes`; the penalty is |w|^2 / inverse penalty beside the sum of squares.
    """

    def loss(model: Any) -> float:
        return float(np.mean((model.predict(validation) - validation_truth) ** 2))

    def fitted(inverse_penalty: float) -> Any:
        return make_pipeline(StandardScaler(), Ridge(alpha=1 / inverse_penalty)).fit(train, truth)

    chosen = _chosen(fitted, loss, len(validation) > 0)
    return np.asarray(fitted(chosen).predict(test), dtype=np.float64), chosen


def _chosen(fitted: Any, loss: Any, measured: bool) -> float:
    if not measured:
        return UNCHOSEN
    return min(INVERSE_PENALTIES, key=lambda inverse_penalty: loss(fitted(inverse_penalty)))


def _probabilities(model: Any, vectors: NDArray[np.float64], classes: int) -> NDArray[np.float64]:
    found = np.zeros((len(vectors), classes))
    if len(vectors):
        found[:, model[-1].classes_] = model.predict_proba(vectors)
    return found
