"""Sinkhorn divergence between corpora and domains, and sensitivity of a ranking to epsilon."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shortlist.vectors import Array

from .certificate import Transport, calibrate, overlap
from .problem import Cost, EpsilonTooSmall, mean_cost
from .solver import solve

DOMAIN_TOLERANCE = 1e-3  # L1 error of a marginal: of second order in a divergence


@dataclass(frozen=True)
class Divergence:
    """The debiased divergence between two corpora, and its three solves.

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
        """Returns whether all three solves are within the tolerance."""
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
        a: (M,) masses of `second`; uniform by default.
        b: (N,) masses of `first`; uniform by default.
        tolerance: L1 error of the target marginal.
        dtype: Arithmetic of the products.

    References:
        Feydy et al. 2019, "Interpolating between Optimal Transport and MMD using Sinkhorn
        Divergences", eq. 3.
    """
    transport = partial(solve, cost=cost, tolerance=tolerance, dtype=dtype)
    cross = transport(first, second, a=a, b=b, epsilon=epsilon, relative=relative)
    left = transport(first, first, a=b, b=b, epsilon=cross.epsilon, relative=False)
    right = transport(second, second, a=a, b=a, epsilon=cross.epsilon, relative=False)
    debiased = cross.dual - (left.dual + right.dual) / 2
    return Divergence(debiased, cross.epsilon, cross, left, right)


def domain_divergences(
    domains: Mapping[str, NDArray[np.float32]],
    targets: Mapping[str, NDArray[np.float32]],
    *,
    relative_epsilon: float,
    cost: Cost,
) -> dict[str, dict[str, float]]:
    """Returns the Sinkhorn divergence of every domain to every target, by both names.

    One absolute epsilon for all of them, a share of the mean cost over all domains and targets: a
    divergence falls with epsilon, so that domains under different ones could not be compared.

    Args:
        domains: (n, d) vectors of a sample of each domain.
        targets: (m, d) vectors of a sample of each target.
        relative_epsilon: That share, above 0.
        cost: Ground cost, in whose unit the divergences are.

    References:
        Kang et al. 2024, appendix C.2: the OT distance between a sample of each domain and the
        target decides which domains are kept. Deviation: the released code uses the regularised
        cost at epsilon 0.5 without debiasing; a broad domain is then charged for its own spread,
        and the number moves with epsilon. The divergence removes both.
    """
    costs = [mean_cost(x, y, cost=cost) for x in domains.values() for y in targets.values()]
    epsilon = relative_epsilon * float(np.mean(costs))
    return {
        domain: {
            name: sinkhorn_divergence(
                x, y, epsilon=epsilon, relative=False, cost=cost, tolerance=DOMAIN_TOLERANCE
            ).value
            for name, y in targets.items()
        }
        for domain, x in domains.items()
    }


@dataclass(frozen=True)
class Sensitivity:
    """How much of the top of a ranking survives when epsilon is halved.

    Attributes:
        overlap: Share of the top documents at epsilon that are also top at epsilon / 2; None where
            the arithmetic cannot resolve that half.
        converged: Whether the second solve converged; None where there was none.
        reason: Why there was none, in a sentence.
    """

    overlap: float | None
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
    device: torch.device | None = None,
    stored_bytes: int | None = None,
) -> Sensitivity:
    """Returns the overlap of the top `fraction` at epsilon with that of a solve at epsilon / 2.

    The second solve starts from f. Where half of epsilon is too small for the arithmetic there is
    no such figure; the solve at epsilon itself stands.

    Args:
        pool: (N, d), as in the solve at epsilon.
        target: (M, d), likewise; so are masses, penalties, tolerance and device.
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
        device: Where to compute.
        stored_bytes: As in `solve`.
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
            device=device,
        )
    except EpsilonTooSmall as refusal:
        return Sensitivity(None, None, f"half of epsilon: {refusal}")
    return Sensitivity(overlap(-calibrate(g), half.score, fraction), half.converged)
