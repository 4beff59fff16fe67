"""Data selection with importance resampling (DSIR), Xie et al., NeurIPS 2023, arXiv 2302.03169."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from shortlist.errors import InvalidInput
from shortlist.numerics.sampling import draw_key, gumbel, order
from shortlist.selectors.base import Choice, Scored, Selector, take

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shortlist.core import Budget, Features


class DSIR(Selector):
    """Importance resampling in the space of hashed n-grams.

    A bag-of-n-grams model is estimated from the target (p) and from the pool (q); a document with
    counts phi(x) has the log-weight phi(x) . (log p - log q); the budget is sampled without
    replacement in proportion to the weights (Gumbel top-k). Deviations from the authors' package:
    both models are smoothed by `smoothing` counts a bucket (theirs: a constant 1e-8 in the
    logarithm, which makes a bucket the target never saw a veto); short documents are not dropped;
    the draw is seeded and belongs to the document, not to its row.
    """

    stochastic = True
    additive = True  # sum_t w_t log p_t - log q: weights toward the targets' geometric mean
    log_ratio: torch.Tensor

    def __init__(self, smoothing: float, temperature: float) -> None:
        """Stores the settings.

        Args:
            smoothing: Laplace counts added to every bucket of both models.
            temperature: factor on the Gumbel noise; 1 samples, 0 takes the largest weights.
        """
        super().__init__()
        if smoothing <= 0:
            raise InvalidInput(
                f"selector.smoothing must be above 0 (log 0 otherwise), found {smoothing}"
            )
        self.smoothing, self.temperature = smoothing, temperature

    def fit(self, target: Features, pool: Features) -> None:
        """Keeps `log_ratio` (d,): log p - log q per bucket."""
        self.keep("log_ratio", torch.from_numpy(self._log(target) - self._log(pool)))

    def _log(self, features: Features) -> NDArray[np.float64]:
        counts = np.asarray(features.values.sum(axis=0), dtype=np.float64).ravel() + self.smoothing
        return np.log(counts) - np.log(counts.sum())

    def score(self, batch: torch.Tensor) -> torch.Tensor:
        """Returns the log importance weight of each document."""
        ratio = self.log_ratio
        if (
            batch.layout == torch.sparse_csr
        ):  # in float64 by hand: the sum over a long document is exact enough
            weighted = batch.values().double() * ratio[batch.col_indices()]
            zero = weighted.new_zeros(1)
            running = torch.cat([zero, weighted.cumsum(0)])
            return running[batch.crow_indices()[1:]] - running[batch.crow_indices()[:-1]]
        return batch.double() @ ratio

    def select(self, scores: Scored, budget: Budget, generator: torch.Generator) -> Choice:
        """Returns a sample without replacement in proportion to the weights."""
        noisy = scores.values + self.temperature * gumbel(scores.id_words, draw_key(generator))
        return take(
            order(noisy, scores.id_words), Scored(noisy, scores.id_words, scores.costs), budget
        )
