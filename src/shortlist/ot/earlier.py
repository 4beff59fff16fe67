"""What an earlier solve over a part of the pool left behind, for the pool that it grew into."""

import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from .costs import Cost
from .result import Transport
from .stream import Visit

log = logging.getLogger(__name__)

DRIFT = 0.02  # share by which a relative epsilon may have moved with the mean cost, and be kept


@dataclass(frozen=True)
class Earlier:
    """What a solve over a part of the pool left behind.

    Attributes:
        rows: Where its rows lie in the pool of now, (K,), in their order then.
        f: Its target potential, (M,).
        a: Its target masses, (M,).
        epsilon: Absolute.
        cost: Ground cost.
        plain: Whether the pool's masses were uniform and both marginals exact.
        sums: Those of its last visit, g in the order of `rows`.
    """

    rows: Tensor
    f: Tensor
    a: Tensor
    epsilon: float
    cost: Cost
    plain: bool
    sums: Visit

    @classmethod
    def of(cls, found: Transport, rows: Tensor | None = None) -> "Earlier":
        """Returns what `found` left; without `rows` the pool of now begins with those of then."""
        return cls(
            torch.arange(len(found.g)) if rows is None else rows,
            found.f,
            found.a,
            found.epsilon,
            found.cost,
            found.penalties.balanced and not found.weighted,
            found.evidence,
        )


def kept_epsilon(earlier: Earlier, epsilon: float) -> float:
    """Returns the earlier absolute epsilon where the one that was asked for is within `DRIFT` of it.

    The mean cost moves a little with every shard; another epsilon is another problem, whose sums
    over the old rows are not known.
    """
    if abs(epsilon - earlier.epsilon) > DRIFT * earlier.epsilon:
        log.info(
            "the mean cost moved epsilon by more than %g: solving anew from the earlier f", DRIFT
        )
        return epsilon
    if epsilon != earlier.epsilon:
        log.info(
            "epsilon %.6g of the earlier solve is kept in place of %.6g", earlier.epsilon, epsilon
        )
    return earlier.epsilon
