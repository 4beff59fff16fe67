"""k-centre: a selection from which no document of the pool is far."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.errors import InvalidInput
from shortlist.selectors.base import Traits
from shortlist.selectors.coverage import farthest_first
from shortlist.selectors.whole_pool import WholePool

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shortlist.core import Features


class KCenter(WholePool):
    """Farthest-first traversal of the pool: each document the farthest from those before it.

    The greedy 2-approximation of the k-centre problem (Gonzalez 1985; as a core set: Sener and
    Savarese 2018, arXiv 1708.00489), begun at the document nearest to the pool's mean. It looks at
    no target and likes outliers: the baseline for coverage, not for relevance. Cost: about
    `limit` / 64 products of the pool with 64 vectors, and one of `limit` with 2,048.
    """

    traits = Traits(target_aware=False)

    def __init__(self, limit: int) -> None:
        """Stores the length of the order."""
        super().__init__()
        if limit < 1:
            raise InvalidInput(f"selector.limit must be at least 1, found {limit}")
        self.limit = limit

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps the order; reports the radius its documents leave."""
        order, radii = farthest_first(np.asarray(pool.values), self.limit)
        self.keep_order(order, len(pool))
        return {
            "ordered": len(order),
            "radius": float(radii[-1]) if len(radii) > 1 else None,
        }
