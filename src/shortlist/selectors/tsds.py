"""Task-specific data selection (TSDS), Liu, Karbasi and Rekatsinas, NeurIPS 2024, arXiv 2410.11303."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from shortlist.errors import InvalidInput
from shortlist.selectors.base import Choice, ScoredPool, Traits
from shortlist.selectors.neighbours import nearest
from shortlist.selectors.spreading import kernel_density, spread
from shortlist.selectors.whole_pool import WholePool
from shortlist.stats.sampling import draw_key, with_replacement

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shortlist.core import Budget, Features


class TSDS(WholePool):
    """A sample with replacement by the mass that each target spreads over its nearest documents.

    Distance is traded for evenness (`spread`): KNN-KDE where `sigma` is above 0 (near-duplicates
    share the mass of one document), KNN-Uniform at `sigma` 0. The score is a document's
    probability. Deviations from the released code: neighbours and densities are exact in place of
    faiss; the density counts all documents that are some target's neighbour, not the nearest 1,000;
    1,000 neighbours in place of 5,000 or a tenth of the pool; the draw is seeded and belongs to the
    document, so that a larger budget begins with a smaller one's. Cost: one product with the
    targets, and for the densities half a product of all neighbours with each other.
    """

    traits = Traits(stochastic=True, repeats=True)

    def __init__(self, alpha: float, scale: float, sigma: float, neighbours: int) -> None:
        """Stores the settings.

        Args:
            alpha: between 0 (even) and 1 (near).
            scale: unit in which distances count (the released C, "of the scale of the vectors'
                norm": 5 there; 1 for vectors of length one).
            sigma: documents nearer than this are near-duplicates; 0: no densities (the released
                0.75 at C = 5 is 0.15 at length one: cosine above 0.989).
            neighbours: how many documents a target may reach.
        """
        super().__init__()
        if not 0 < alpha <= 1 or scale <= 0 or sigma < 0 or neighbours < 1:
            raise InvalidInput(
                "selector.alpha must lie in (0, 1], selector.scale above 0, selector.sigma not "
                f"below 0, selector.neighbours above 0, found {alpha}, {scale}, {sigma}, {neighbours}"
            )
        self.alpha, self.scale, self.sigma, self.neighbours = alpha, scale, sigma, neighbours

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps the probabilities; reports the level and how much of the pool can be drawn."""
        values = np.asarray(pool.values)
        found = nearest(
            values, np.asarray(target.values), self.neighbours, "euclidean", device=self.device
        )
        rows, distances = found.rows.cpu().numpy(), found.values.cpu().numpy()
        used, where = np.unique(rows, return_inverse=True)
        density = kernel_density(values, used, self.sigma) if self.sigma else np.ones(len(used))
        share = spread(distances, density[where.reshape(rows.shape)], self.alpha, self.scale)
        chance = np.bincount(rows.ravel(), weights=share.mass.ravel(), minlength=len(pool))
        self.keep("pool_scores", torch.from_numpy(chance))
        return {
            "level": share.level,
            "reached": int((chance > 0).sum()),
            "effective_documents": float(1 / (chance**2).sum()),
            "near_duplicates_each": float(density.mean() - 1),
            "targets_out_of_neighbours": share.exhausted,
        }

    def select(self, scores: ScoredPool, budget: Budget, generator: torch.Generator) -> Choice:
        """Returns draws with replacement; the score of a draw is minus its time.

        Raises:
            InvalidInput: no document that may be chosen has any mass, or not one fits the budget.
        """
        weights = np.maximum(scores.values, 0)
        if not weights.any():
            raise InvalidInput(
                "no document that may be chosen is near a target; set selector.neighbours larger"
            )
        rows, times = with_replacement(
            weights, scores.id_words, draw_key(generator), budget.amount, scores.costs
        )
        if len(rows) == 0:
            raise InvalidInput(
                f"budget={budget.amount} {budget.unit} is less than the first document needs; "
                "set a larger budget"
            )
        return Choice(rows, -times)
