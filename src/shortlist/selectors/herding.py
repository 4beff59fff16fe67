"""Herding: a selection whose mean is the target's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from shortlist.errors import InvalidInput
from shortlist.selectors.coverage import herd
from shortlist.selectors.neighbours import unit
from shortlist.selectors.whole_pool import WholePool

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shortlist.core import Features


class Herding(WholePool):
    """Documents whose mean vector follows the target's: herding with the linear kernel.

    Welling 2009; Chen, Welling and Smola 2010 (arXiv 1203.3472): the maximum mean discrepancy to
    the target falls like 1 / k where documents may repeat; here each is taken once. What `centroid`
    chooses is one direction; this one makes up for the direction its earlier picks leaned to. Cost:
    one product of the pool with one vector a pick, nothing kept beside the pool.
    """

    def __init__(self, limit: int) -> None:
        """Stores the length of the order."""
        super().__init__()
        if limit < 1:
            raise InvalidInput(f"selector.limit must be at least 1, found {limit}")
        self.limit = limit

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps the order; reports how far its mean is from the target's."""
        vectors = unit(torch.from_numpy(np.array(target.values, dtype=np.float64)))
        order, apart = herd(np.asarray(pool.values), vectors.mean(0).numpy(), self.limit)
        self.keep_order(order, len(pool))
        after = [size for size in (10, 100, 1000) if size <= len(apart)]
        return {
            "ordered": len(order),
            "discrepancy": {str(size): float(apart[size - 1]) for size in after},
        }
