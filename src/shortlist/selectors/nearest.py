"""Round robin over the nearest documents of each target text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.errors import InvalidInput
from shortlist.selectors.coverage import round_robin
from shortlist.selectors.neighbours import nearest
from shortlist.selectors.whole_pool import WholePool

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shortlist.core import Features


class RoundRobin(WholePool):
    """A method that gives every target its nearest document, then its second nearest, ...

    Within a round the targets come in the order of their ids, which are hashes.
    Cost: one product of the pool with the targets (`nearest`); memory: `neighbours` pairs a target.
    """

    longer = "neighbours"

    def __init__(self, neighbours: int) -> None:
        """Stores how many neighbours each target has; all of them together are what can be chosen."""
        super().__init__()
        if neighbours < 1:
            raise InvalidInput(f"selector.neighbours must be at least 1, found {neighbours}")
        self.neighbours = neighbours

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps the order; reports how often several targets wanted the same document."""
        found = nearest(
            np.asarray(pool.values),
            np.asarray(target.values),
            self.neighbours,
            "cosine",
            device=self.device,
        )
        rows = found.rows.cpu().numpy()
        order = round_robin(rows)
        self.keep_order(order, len(pool))
        wanted = np.bincount(rows.ravel(), minlength=len(pool))
        rounds = [done for done in (1, 10, 50, 150, 500) if done <= rows.shape[1]]
        return {
            "neighbours": rows.shape[1],
            "picks": rows.size,
            "distinct": len(order),
            "duplicates": rows.size - len(order),
            "wanted_by_several": int((wanted > 1).sum()),
            "most_wanted": int(wanted.max()),
            "distinct_after_rounds": {str(done): len(np.unique(rows[:, :done])) for done in rounds},
        }
