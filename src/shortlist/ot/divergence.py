"""Uses of a solve: distance between two corpora, and how much the ranking hangs on epsilon."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from shortlist.vectors import Array

from .costs import Cost
from .problem import EpsilonTooSmall, Progress
from .result import Transport, calibrate, overlap
from .solver import solve


@dataclass(frozen=True)
class Divergence:
    """The debiased divergence between two corpora, and how far its three solves came.

    Attributes:
        value: OT(x, y) - (OT(x, x) + OT(y, y)) / 2.
        epsilon: Absolute, of all three.
        cross: The solve between the two.
        first: The first corpus against itself.
        second: The second against itself.
    """

    value: float
    epsilon: float
    cross: Transport
    first: Transport
    second: Transport

    @property
    def converged(self) -> bool:
        """Returns whether all three solves came within the tolerance."""
        return self.cross.converged and self.first.converged and self.second.converged


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
) -> Divergence:
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
    left = value(first, first, b, b, cross.epsilon, False)
    right = value(second, second, a, a, cross.epsilon, False)
    debiased = cross.dual - (left.dual + right.dual) / 2
    return Divergence(debiased, cross.epsilon, cross, left, right)


@dataclass(frozen=True)
class Sensitivity:
    """How much of the top survives when epsilon is halved.

    Attributes:
        overlap: Share of the top documents at epsilon that are also top at epsilon / 2; None where
            the arithmetic cannot resolve that half.
        fraction: Which share of the pool counts as top.
        epsilon: Absolute, of the first solve.
        converged: Whether the second solve converged; None where there was none.
        reason: Why there was none, in a sentence.
    """

    overlap: float | None
    fraction: float
    epsilon: float
    converged: bool | None
    reason: str = ""


def epsilon_sensitivity(
    pool: Array,
    target: Array,
    *,
    f: Tensor,
    g: Tensor,
    epsilon: float,
    cost: Cost = "sqeuclidean",
    fraction: float = 0.05,
    a: Array | None = None,
    b: Array | None = None,
    target_penalty: float = math.inf,
    pool_penalty: float = math.inf,
    tolerance: float = 5e-3,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
    generator: torch.Generator | None = None,
    stored_bytes: int | None = None,
    progress: Progress | None = None,
) -> Sensitivity:
    """Returns the overlap of the top `fraction` at epsilon with that of a solve at epsilon / 2.

    The second solve starts from f. An epsilon whose half is too small for the arithmetic has no
    such figure; the solve at epsilon itself stands.

    Args:
        pool: (N, d), as in the solve at epsilon.
        target: (M, d), likewise; so are masses, penalties, tolerance, dtype and device.
        f: (M,) target potential at epsilon.
        g: (N,) candidate potential at epsilon.
        epsilon: Absolute.
        cost: Ground cost.
        fraction: Share of the pool that counts as top.
        a: (M,) target masses.
        b: (N,) pool masses.
        target_penalty: Absolute, in the unit of the cost.
        pool_penalty: Likewise.
        tolerance: L1 error of the target marginal.
        dtype: Arithmetic of the products.
        device: Where to compute.
        generator: As in `solve`.
        stored_bytes: As in `solve`.
        progress: As in `solve`.
    """
    try:
        half = solve(
            pool,
            target,
            epsilon=epsilon / 2,
            relative=False,
            cost=cost,
            a=a,
            b=b,
            target_penalty=target_penalty,
            pool_penalty=pool_penalty,
            tolerance=tolerance,
            start=f,
            stored_bytes=stored_bytes,
            dtype=dtype,
            device=device,
            generator=generator,
            progress=progress,
        )
    except EpsilonTooSmall as refusal:
        return Sensitivity(None, fraction, epsilon, None, f"half of epsilon: {refusal}")
    shared = overlap(-calibrate(g), half.score, fraction)
    return Sensitivity(shared, fraction, epsilon, half.converged)
