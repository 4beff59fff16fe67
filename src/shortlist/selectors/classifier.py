"""A classifier that tells the target from the pool: the filter of DCLM and many others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.sparse import vstack

from shortlist.errors import InvalidInput
from shortlist.models.linear import logistic
from shortlist.selectors.bags import row_sums, weighted
from shortlist.selectors.base import Selector

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shortlist.core import Features


class Classifier(Selector):
    """Log-odds that a document is of the target, by logistic regression on its hashed n-grams.

    score(x) = w . x / |x| + b, fitted to all target texts against a sample of the pool, both
    classes of the same weight, L2 penalty 1 / (2 inverse_penalty). Balanced log-odds estimate log
    p_target / p_pool, which is what DSIR estimates bucket by bucket. Li et al. 2024 (DCLM, section
    4.4) use fastText, whose learned embeddings a linear model on the bags replaces here: it is
    convex, so the same documents always give the same filter. The pool's sample is the documents
    of the smallest ids, which are hashes: no seed.
    """

    weights: torch.Tensor
    bias: torch.Tensor

    def __init__(self, inverse_penalty: float, negatives: int, max_iterations: int) -> None:
        """Stores the settings.

        Args:
            inverse_penalty: inverse strength of the L2 penalty (`C` of scikit-learn).
            negatives: at most so many documents of the pool stand for it.
            max_iterations: of L-BFGS.

        Raises:
            InvalidInput: one of them is not above 0.
        """
        super().__init__()
        if min(inverse_penalty, negatives, max_iterations) <= 0:
            raise InvalidInput(
                "selector.inverse_penalty, negatives and max_iterations must be above 0, found "
                f"{inverse_penalty}, {negatives}, {max_iterations}"
            )
        self.inverse_penalty, self.negatives = inverse_penalty, negatives
        self.max_iterations = max_iterations

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps the weights (d,) and the bias; reports whether the fit converged.

        Raises:
            InvalidInput: the vectors came without their documents.
        """
        if pool.documents is None:
            raise InvalidInput(
                "selector=classifier needs the pool's documents, found vectors alone"
            )
        first = np.sort(np.argsort(pool.documents.id_words(), kind="stable")[: self.negatives])
        parts: list[Any] = [target.values, pool.values[first]]
        dense = isinstance(parts[0], np.ndarray)
        labels = np.repeat([1, 0], [len(target), len(first)])
        found = logistic(
            np.vstack(parts) if dense else vstack(parts, format="csr"),
            labels,
            self.inverse_penalty,
            self.max_iterations,
        )
        self.keep("weights", torch.from_numpy(found.weights))
        self.keep("bias", torch.tensor(found.bias, dtype=torch.float64))
        return {
            "positives": len(target),
            "negatives": len(first),
            "iterations": found.iterations,
            "fitted_to_the_end": found.converged,
        }

    def score(self, batch: torch.Tensor) -> torch.Tensor:
        """Returns the log-odds; those of a document without words are the bias."""
        if batch.layout == torch.sparse_csr:
            values = batch.values().double()
            squares = row_sums(batch, values, values)
        else:
            squares = batch.double().square().sum(1)
        norms = squares.clamp_min(0).sqrt()
        return weighted(batch, self.weights) / norms.where(norms > 0, 1) + self.bias
