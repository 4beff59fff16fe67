"""Soft nearest neighbours: GOT-D without the pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from shortlist.ot import scale_of
from shortlist.selectors.base import Traits
from shortlist.selectors.gotd import TransportSelector

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shortlist.core import Features
    from shortlist.ot import Cost


class SoftKNN(TransportSelector):
    """The ablation f = 0 of GOT-D: soft distance to the nearest targets.

    What GOT-D adds to this is f, the price of a target that the pool serves badly: the difference
    between the two is what the correction for the pool's density is worth.
    """

    # No potential of a balanced transport cost: nothing makes the targets share the pool.
    traits = Traits(additive=True)

    def __init__(self, cost: Cost, relative_epsilon: float) -> None:
        """Stores the ground cost and the regularisation as a fraction of the mean cost."""
        super().__init__(cost)
        self.relative_epsilon = relative_epsilon

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps the target's vectors, f = 0, and epsilon by the same rule as GOT-D."""
        scale = scale_of(np.asarray(pool.values), np.asarray(target.values), cost=self.cost)
        f = torch.zeros(len(target), dtype=torch.float64)
        self.remember(target, f, self.relative_epsilon * scale)
        return {}


class SoftKNNAt(TransportSelector):
    """The ablation f = 0 at an absolute epsilon, as the released GOT-D code has it."""

    traits = Traits(additive=True)

    def __init__(self, cost: Cost, epsilon: float) -> None:
        """Stores the ground cost and the regularisation in the unit of the cost."""
        super().__init__(cost)
        self.absolute_epsilon = epsilon

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps the target's vectors, f = 0, and epsilon."""
        self.remember(target, torch.zeros(len(target), dtype=torch.float64), self.absolute_epsilon)
        return {}
