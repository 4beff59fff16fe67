"""The dual value of (f, g), and a feasible plan's primal value that bounds how far it can be off."""

import math

import torch
from torch import Tensor

from .costs import Geometry
from .sample import Penalties, linear
from .stream import Visit


def _kl(p: Tensor, a: Tensor) -> float:
    return float((torch.xlogy(p, p / a) - p + a).sum())


def dual_value(
    found: Visit, f: Tensor, a: Tensor, b: Tensor, epsilon: float, penalties: Penalties
) -> float:
    """Returns the dual objective at (f, g), for masses that sum to one.

    <a, f> + <b, g> - epsilon (sum P - 1), with <a, f> replaced by -rho <a, exp(-f / rho) - 1>
    where the target marginal is penalised by rho, and likewise for the pool. Never above the
    optimum (weak duality).
    """
    # g is optimal given f, so the plan's mass is that of its pool marginal.
    return (
        linear(a, f, penalties.target)
        + linear(b, found.g, penalties.pool)
        - epsilon * (found.pool_mass - 1)
    )


def primal_value(
    found: Visit, geometry: Geometry, f: Tensor, a: Tensor, epsilon: float, penalties: Penalties
) -> float:
    """Returns an upper bound of the optimum: the objective of a feasible plan, or just above it.

    The objective is <C, P> + epsilon KL(P | a x b) + rho_a KL(P 1 | a) + rho_b KL(P^T 1 | b). The
    plan of (f, g) meets the pool marginal but not quite the target's. Targets that got too much
    are scaled down by s_i = a_i / p_i, and the mass theta that this frees goes, from the rows it
    came from, to the targets that got too little (Altschuler et al. 2017, Algorithm 2). Its cost
    is bounded by Minkowski's inequality through the targets' own distances, its divergence by
    convexity, so that the sums of one visit are enough: no second pass. Both bounds vanish with
    theta, half of the marginal error.

    Deviation: with a penalised pool and exact target marginal every target is scaled to a_i, and
    the pool's divergence is bounded by Jensen's inequality, for the same reason.
    """
    p, q, rho_a, rho_b = found.marginal, found.cost, penalties.target, penalties.pool
    log_kernel = (p * f + found.gain - q) / epsilon  # sum_j P_ij log(P_ij / (a_i b_j))
    mass = float(p.sum())
    if math.isfinite(rho_a):
        own = float(q.sum()) + epsilon * (float(log_kernel.sum()) - mass + 1)
        pool = 0.0 if math.isinf(rho_b) else rho_b * found.pool_divergence
        return own + rho_a * _kl(p, a) + pool
    safe = p.clamp_min(torch.finfo(p.dtype).tiny)
    if math.isfinite(rho_b):
        s = a / safe
        own = float(s @ q) + epsilon * float(s @ log_kernel + torch.xlogy(s * p, s).sum())
        pool = float(s @ found.tilt + torch.xlogy(s * p, s).sum())  # masses are 1 and 1
        return own + rho_b * pool
    s = (a / safe).clamp_max(1.0)
    scaled = s * p
    deficit = (a - scaled).clamp_min(0)
    excess = p - scaled
    theta = max(float(deficit.sum()), 0.0)
    entropy = float(s @ log_kernel + torch.xlogy(scaled, s).sum())
    entropy -= float(scaled.sum()) * math.log(float(scaled.sum()))
    value = float(s @ q)
    if theta > 0:
        moved, factor = float((1 - s) @ q), geometry.lipschitz_squares
        y, squares = geometry.points.double(), geometry.squares.double()
        shift = float(excess @ squares + deficit @ squares)
        shift -= 2 / theta * float((excess @ y) @ (deficit @ y))
        shift = factor * max(shift, 0.0)
        if geometry.cost == "euclidean":
            value += moved + math.sqrt(theta * shift)
        else:
            value += (math.sqrt(max(moved, 0.0)) + math.sqrt(shift)) ** 2
        share = deficit / theta
        entropy += theta * (float(torch.xlogy(share, share / a).sum()) - math.log(theta))
    return value + epsilon * entropy
