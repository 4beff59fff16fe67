"""Transport for vectors alone: potentials, scores and certificate of a pool and a target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from shortlist.errors import InvalidInput, near
from shortlist.ot import COSTS, Cost, Transport
from shortlist.ot import solve as solve_problem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from shortlist.vectors import Array


@dataclass(frozen=True)
class Solution:
    """A solved problem.

    Attributes:
        scores: (N,) GOT-D scores of the pool's rows, -g: mass on a row of larger score lowers the
            transport cost more.
        f: (M,) potential of the target, <a, f> = 0.
        g: (N,) potential of the pool.
        converged: whether the marginals are within the tolerance.
        marginal_error: L1 error of the target marginal over the whole pool, a share of the mass.
        cost: lower bound of the optimum (the dual value).
        gap: upper minus lower bound of the optimum.
        transport: the solver's own result, with every bound and setting.
    """

    scores: NDArray[np.float64]
    f: NDArray[np.float64]
    g: NDArray[np.float64]
    converged: bool
    marginal_error: float
    cost: float
    gap: float
    transport: Transport


def solve(
    X: Array,
    Y: Array,
    *,
    relative_epsilon: float = 0.01,
    cost: Cost = "sqeuclidean",
    tolerance: float = 1e-2,
    max_passes: int = 12,
    seed: int = 0,
) -> Solution:
    """Returns entropic optimal transport from a pool to a target, and the scores of the pool.

    The problem is that of `shortlist.ot.solve`, which has further settings. The defaults are those
    of `selector=gotd`.

    Args:
        X: (N, d) vectors of the pool: a numpy array, a memory map or a torch tensor of floats.
        Y: (M, d) vectors of the target.
        relative_epsilon: regularisation, a fraction of the mean cost; 0 for the exact problem.
        cost: ground cost.
        tolerance: L1 error of the target marginal to stop at.
        max_passes: passes over the whole pool at most.
        seed: seed of the sample of the pool.

    Raises:
        ShortlistError: vectors or settings that cannot be used, or too little memory.
    """
    if cost not in COSTS:
        raise InvalidInput(f"there is no cost `{cost}`; {near(cost, COSTS)}")
    solved = solve_problem(
        X,
        Y,
        epsilon=relative_epsilon,
        cost=cost,
        tolerance=tolerance,
        max_passes=max_passes,
        generator=torch.Generator().manual_seed(seed),
    )
    return Solution(
        scores=-solved.g.cpu().numpy(),
        f=solved.f.cpu().numpy(),
        g=solved.g.cpu().numpy(),
        converged=solved.converged,
        marginal_error=solved.target_error,
        cost=solved.dual,
        gap=solved.gap,
        transport=solved,
    )
