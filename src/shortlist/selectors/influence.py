"""Influence Distillation (Nikdan et al. 2025): influence of landmarks, propagated by regression."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from shortlist.core import Features
from shortlist.errors import InvalidInput
from shortlist.featurizers.landmarks import OWN_COLUMNS
from shortlist.selectors.base import Selector, documents_of
from shortlist.settings import Count
from shortlist.stats.kernel_regression import kernel_regression


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
        points, influence = rows[:, :-OWN_COLUMNS], rows[:, -2]
        fitted = kernel_regression(points, influence)
        self.keep("points", torch.from_numpy(fitted.points))
        self.keep("weights", torch.from_numpy(fitted.weights))
        self.keep("mean", torch.tensor(fitted.mean, dtype=torch.float64))
        self.keep("width", torch.tensor(fitted.width, dtype=torch.float64))
        ranks: Any = spearmanr(fitted.left_out, influence)
        return {
            "landmarks": len(known),
            "landmarks_read": len(used),
            "ridge": fitted.ridge,
            "spearman_left_out": float(ranks.statistic),
        }

    def score(self, batch: torch.Tensor) -> torch.Tensor:
        """Returns the predicted influence of each document."""
        points = batch[:, :-OWN_COLUMNS].double()
        kernel = (torch.cdist(points, self.points).square() / (-2 * self.width**2)).exp()
        return self.mean + kernel @ self.weights
