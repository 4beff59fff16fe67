"""Target-aware facility location: documents that cover the target and each other's gaps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.errors import InvalidInput
from shortlist.selectors.coverage import facility_greedy
from shortlist.selectors.neighbours import nearest
from shortlist.selectors.whole_pool import WholePool

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shortlist.core import Features


class FacilityLocation(WholePool):
    """Greedy maximiser of facility location between targets and pool (FLQMI, Kothawade et al. 2022).

    F(S) = sum_i max_{j in S} s_ij + relevance sum_{j in S} max_i s_ij, s_ij the cosine where j is
    among the `neighbours` nearest of target i, else 0. The first sum alone is full once each target
    has its nearest document; the second goes on ranking by nearness. Lazy greedy, within (1 - 1/e)
    of the best on these similarities. Cost: one product with the targets, then a few short lists a
    pick (about 20,000 picks a second), in the memory of `neighbours` pairs a target.
    """

    longer = "limit or selector.neighbours"

    def __init__(self, neighbours: int, relevance: float, limit: int) -> None:
        """Stores the settings.

        Args:
            neighbours: how many documents each target sees.
            relevance: weight of a document's own nearness beside what it adds to the cover.
            limit: length of the order.
        """
        super().__init__()
        if neighbours < 1 or limit < 1 or relevance < 0:
            raise InvalidInput(
                "selector.neighbours and selector.limit must be at least 1 and selector.relevance "
                f"not negative, found {neighbours}, {limit}, {relevance}"
            )
        self.neighbours, self.relevance, self.limit = neighbours, relevance, limit

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps the greedy order; reports how well its first documents cover the target."""
        assert pool.documents is not None
        found = nearest(
            np.asarray(pool.values),
            np.asarray(target.values),
            self.neighbours,
            "cosine",
            device=self.device,
        )
        rows, values = found.rows.cpu().numpy(), found.values.cpu().numpy()
        order, gains = facility_greedy(
            rows, values, len(pool), self.relevance, self.limit, pool.documents.id_words()
        )
        self.keep_order(order, len(pool))
        return {
            "seen": len(np.unique(rows)),
            "ordered": len(order),
            "value": float(gains.sum()),
            "best_cover": float(np.maximum(values[:, 0], 0).sum()),
        }
