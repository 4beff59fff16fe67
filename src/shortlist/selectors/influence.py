"""Influence Distillation (Nikdan et al. 2025): influence of landmarks, propagated by regression."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from shortlist.core import Features
from shortlist.errors import InvalidInput
from shortlist.featurizers.landmarks import OWN_COLUMNS
from shortlist.selectors.base import Selector, documents_of
from shortlist.settings import Count

RIDGES = tuple(10.0**power for power in range(-6, 2))  # of the mean of the kernel's diagonal


class Influence(Selector):
    """Documents whose training step would lower the target's loss, predicted from landmarks.

    The influence of a share of the pool is computed by gradients (`featurizer=landmarks`); a kernel
    ridge regression on the vectors predicts it for all documents, landmarks too. Its penalty is the
    one of smallest leave-one-out error, and the record holds the rank correlation of
    leave-one-out predictions with the exact influence: what the propagation is worth.

    Formula:
        score(x) = mean_l p_l + k(x)^T (K + ridge I)^-1 (p - mean_l p_l)

        p_l is the influence of landmark l, k(x)_l = exp(-|x - x_l|^2 / (2 w^2)), w the median
        distance of two landmarks.

    Paper:
        Nikdan, Cohen-Addad, Alistarh and Mirrokni, NeurIPS 2025 (arXiv 2505.19051).

    Deviations:
        First-order influence alone, and the largest are taken; the paper also has weights by second
        order. Those of `featurizer=landmarks`.

    Cost:
        One eigendecomposition of the landmarks' kernel and one product of the pool with the
        landmarks; the gradients of the landmarks by the featurizer.
    """

    points: torch.Tensor
    weights: torch.Tensor
    mean: torch.Tensor
    width: torch.Tensor

    def __init__(self, landmarks: Count) -> None:
        """Stores the most landmarks that the regression reads."""
        super().__init__()
        if landmarks < 3:
            raise InvalidInput(f"selector.landmarks must be at least 3, found {landmarks}")
        self.landmarks = landmarks

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps the regression; returns the landmarks, and how well each is predicted by others.

        Raises:
            InvalidInput: the vectors hold no influence, or that of fewer than three documents.
        """
        values = pool.dense
        marks = np.asarray(values[:, -1])
        if values.shape[1] <= OWN_COLUMNS or not np.isin(marks, (0, 1)).all():
            raise InvalidInput(
                "selector=influence needs vectors and the influence of landmarks, found vectors of "
                f"{values.shape[1]}; set featurizer=landmarks"
            )
        known = np.flatnonzero(marks)
        ids = documents_of(pool, "selector=influence").id_bits()[known]
        used = known[np.argsort(ids, kind="stable")[: self.landmarks]]
        if len(used) < 3:
            raise InvalidInput(
                f"selector=influence needs three landmarks at least, found {len(used)} among "
                f"{len(values):,} documents; set featurizer.share larger"
            )
        rows = np.array(values[used], dtype=np.float64)
        points, influence = torch.from_numpy(rows[:, :-OWN_COLUMNS]), rows[:, -2]
        squares = torch.cdist(points, points).square()
        upper = torch.triu_indices(len(points), len(points), 1)
        width = squares[*upper].median().sqrt().clamp_min(1e-12)
        kernel = (-squares / (2 * width**2)).exp().numpy()
        fitted = ridge_regression(kernel, influence - influence.mean())
        self.keep("points", points)
        self.keep("weights", torch.from_numpy(fitted.weights))
        self.keep("mean", torch.tensor(float(influence.mean()), dtype=torch.float64))
        self.keep("width", width)
        ranks: Any = spearmanr(fitted.left_out, influence)
        return {
            "landmarks": len(known),
            "landmarks_read": len(used),
            "ridge": fitted.ridge,
            "spearman_left_out": float(ranks.statistic),
        }

    def score(self, batch: torch.Tensor) -> torch.Tensor:
        """Returns the predicted influence of each document."""
        apart = torch.cdist(batch[:, :-OWN_COLUMNS].double(), self.points).square()
        return self.mean + (-apart / (2 * self.width**2)).exp() @ self.weights


@dataclass(frozen=True)
class Regression:
    """A kernel ridge regression.

    Attributes:
        weights: (n,) weight of each point's kernel.
        left_out: (n,) prediction of each point by the regression on the others.
        ridge: the penalty of smallest leave-one-out error.
    """

    weights: NDArray[np.float64]
    left_out: NDArray[np.float64]
    ridge: float


def ridge_regression(kernel: NDArray[np.float64], values: NDArray[np.float64]) -> Regression:
    """Returns the regression of (n,) values on a positive (n, n) kernel, its penalty chosen.

    With G = (K + ridge I)^-1 the weights are G v, and the prediction of point i by the others is
    v_i - (G v)_i / G_ii (Rasmussen and Williams 2006, section 5.4.2). One eigendecomposition serves
    all penalties, which are `RIDGES` times the mean of the kernel's diagonal.
    """
    roots, vectors = np.linalg.eigh(kernel)
    turned, best = vectors.T @ values, None
    for ridge in RIDGES:
        inverse = 1 / (np.maximum(roots, 0) + ridge * np.trace(kernel) / len(kernel))
        weights = vectors @ (inverse * turned)
        left_out = values - weights / (vectors**2 @ inverse)
        error = float(np.square(values - left_out).sum())
        if best is None or error < best[0]:
            best = error, Regression(weights, left_out, ridge)
    assert best is not None
    return best[1]
