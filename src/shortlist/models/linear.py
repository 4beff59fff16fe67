"""Logistic regression on unit vectors, sparse or dense, deterministic."""
# scipy.sparse and scikit-learn have no type stubs: the types of their results are unknown.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_array
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Linear:
    """A fitted linear classifier.

    Attributes:
        weights: (d,) weights of the entries of a unit vector.
        bias: log-odds of the zero vector.
        iterations: number of steps of L-BFGS.
        converged: whether it ended before the largest number of steps.
    """

    weights: NDArray[np.float64]
    bias: float
    iterations: int
    converged: bool

    def log_odds(self, values: Any) -> NDArray[np.float64]:
        """Returns the (n,) log-odds of class 1 of (n, d) vectors of any length."""
        return unit(values) @ self.weights + self.bias


def logistic(
    values: Any,
    labels: NDArray[np.int64],
    inverse_penalty: float,
    max_iterations: int,
    tolerance: float = 1e-6,
) -> Linear:
    """Returns the classifier of labels 0 and 1, both classes of the same weight.

    It minimises |w|^2 / 2 + inverse_penalty * sum_i v_i log(1 + exp(-+ (w . x_i / |x_i| + b))),
    where v_i gives both classes the same total weight.

    Args:
        values: (n, d) vectors, dense or CSR; scaled to length 1 here.
        labels: (n,) of 0 and 1; both occur.
        inverse_penalty: inverse strength of the L2 penalty.
        max_iterations: largest number of steps of L-BFGS.
        tolerance: largest entry of the mean gradient at which it ends.
    """
    model = LogisticRegression(
        C=inverse_penalty, class_weight="balanced", max_iter=max_iterations, tol=tolerance
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # returned as `converged`
        model.fit(unit(values), labels)
    steps = int(model.n_iter_[0])
    weights = np.asarray(model.coef_, dtype=np.float64).ravel()
    bias = np.asarray(model.intercept_, dtype=np.float64)
    return Linear(weights, float(bias[0]), steps, steps < max_iterations)


def unit(values: Any, dtype: type[np.floating] = np.float64) -> Any:
    """Returns the rows, dense or CSR, in `dtype` and scaled to length 1; rows of zeros stay."""
    if isinstance(values, np.ndarray):
        rows = values.astype(dtype)
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        return rows / np.where(norms > 0, norms, 1)
    rows = csr_array(values, dtype=dtype, copy=True)
    norms = np.sqrt(rows.multiply(rows).sum(axis=1))
    rows.data /= np.repeat(np.where(norms > 0, norms, 1), np.diff(rows.indptr))
    return rows
