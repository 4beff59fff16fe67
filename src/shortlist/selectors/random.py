"""The baseline that everything must beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shortlist.selectors.base import Choice, ScoredPool, Selector, Traits, take
from shortlist.stats.sampling import draw_key, order, uniform

if TYPE_CHECKING:
    import torch

    from shortlist.core import Budget


class Random(Selector):
    """A uniform sample without replacement; a larger budget with the same seed contains the smaller
    one's.
    """

    traits = Traits(stochastic=True, target_aware=False)

    def select(self, scores: ScoredPool, budget: Budget, generator: torch.Generator) -> Choice:
        """Returns the documents whose noise, a hash of (seed, id), is largest."""
        noise = uniform(scores.id_words, draw_key(generator))
        noise[scores.values == float("-inf")] = float("-inf")
        return take(
            order(noise, scores.id_words), ScoredPool(noise, scores.id_words, scores.costs), budget
        )
