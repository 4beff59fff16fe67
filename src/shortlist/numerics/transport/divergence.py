"""Uses of a solve: distance between two corpora, and how much the ranking hangs on epsilon."""

from dataclasses import dataclass

import torch

from .costs import Cost
from .inputs import Array
from .problem import Progress
from .result import Transport, overlap
from .solver import solve


def sinkhorn_divergence(
    first: Array,
    second: Array,
    *,
    epsilon: float,
    relative: bool = True,
    cost: Cost = "sqeuclidean",
    a: Array | None = None,
    b: Array | None = None,
    tolerance: float = 1e-3,
    dtype: torch.dtype = torch.float32,
    generator: torch.Generator | None = None,
) -> float:
    """Returns the debiased Sinkhorn divergence between two corpora.

    S(x, y) = OT(x, y) - (OT(x, x) + OT(y, y)) / 2 with one epsilon throughout (relative: to the
    mean cost between the two). Zero for a corpus against itself; not negative for these costs, up
    to the tolerance. Dual values are used: their error is of second order in the marginal error.

    Args:
        first: (N, d), masses `b`.
        second: (M, d), masses `a`.
        epsilon: Regularisation, above 0.
        relative: Whether epsilon is a share of the mean cost between the two.
        cost: Ground cost.
        a: Masses of `second`.
        b: Masses of `first`.
        tolerance: L1 error of the target marginal.
        dtype: Arithmetic of the products.
        generator: As in `solve`.

    References:
        Feydy et al. 2019, "Interpolating between Optimal Transport and MMD using Sinkhorn
        Divergences", eq. 3.
    """

    def value(
        x: Array, y: Array, mass_x: Array | None, mass_y: Array | None, level: float, share: bool
    ) -> Transport:
        return solve(
            x,
            y,
            epsilon=level,
            relative=share,
            cost=cost,
            a=mass_y,
            b=mass_x,
            tolerance=tolerance,
            dtype=dtype,
            generator=generator,
        )

    cross = value(first, second, b, a, epsilon, relative)
    own = [
        value(x, x, mass, mass, cross.epsilon, False).dual for x, mass in ((first, b), (second, a))
    ]
    return cross.dual - sum(own) / 2


@dataclass(frozen=True)
class Sensitivity:
    """How much of the top survives when epsilon is halved.

    Attributes:
        overlap: Share of the top documents at epsilon that are also top at epsilon / 2.
        fraction: Which share of the pool counts as top.
        epsilon: Absolute, of the first solve.
        converged: Whether the second solve converged.
    """

    overlap: float
    fraction: float
    epsilon: float
    converged: bool


def epsilon_sensitivity(
    found: Transport,
    pool: Array,
    target: Array,
    *,
    fraction: float = 0.05,
    a: Array | None = None,
    b: Array | None = None,
    tolerance: float | None = None,
    generator: torch.Generator | None = None,
    progress: Progress | None = None,
) -> Sensitivity:
    """Returns the overlap of the top `fraction` between `found` and a solve at half its epsilon.

    The second solve starts from the first one's f, on the same pool, target, cost and penalties.
    """
    half = solve(
        pool,
        target,
        epsilon=found.epsilon / 2,
        relative=False,
        cost=found.cost,
        a=a,
        b=b,
        target_penalty=found.penalties.target,
        pool_penalty=found.penalties.pool,
        tolerance=found.tolerance if tolerance is None else tolerance,
        start=found.f,
        dtype=found.dtype,
        device=found.g.device,
        generator=generator,
        progress=progress,
    )
    return Sensitivity(
        overlap(found.score, half.score, fraction), fraction, found.epsilon, half.converged
    )
