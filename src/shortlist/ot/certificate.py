"""The result of a solve and its certificate: marginal errors, dual, primal bounds, calibration."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from shortlist.vectors import Array, gather_rows, read_rows, row_slices

from .problem import Cost, Geometry, Penalties, Regime, dual_term, stratified_sample
from .stream import PoolPass

CHECKED_ROWS = 512
CHECKED_ENTRIES = 2**21  # costs at a time: 16 MB in float64


@dataclass(frozen=True)
class Transport:
    """Potentials of optimal transport between a pool and a target, and their certificate.

    Convention: candidates j are the pool (N) with masses b_j, targets i (M) have masses a_i;
    g_j = -epsilon log sum_i a_i exp((f_i - C_ij) / epsilon), and the plan is
    P_ij = a_i b_j exp((f_i + g_j - C_ij) / epsilon). The objective is
    <C, P> + epsilon KL(P | a x b). f is shifted so that <a, f> = 0 (balanced problem), hence a
    potential g reads as a cost.

    Attributes:
        f: (M,) target potential, float64. Zero for a target without mass.
        a: (M,) target masses, float64, summing to one.
        g: (N,) candidate potential, float64.
        converged: Whether both errors are within the tolerance asked for. If not, the ranking may
            still be usable, but the caller must look.
        target_error: L1 error of the target marginal, measured over the whole pool, as a share of
            the mass that is wanted there (all of it, if balanced).
        pool_error: L1 error of the pool marginal, likewise: the larger of what the last pass
            summed and of what float64 gives on a sample of rows (`pool_marginal_error`).
        pool_error_worst: Largest relative error of a row's mass among the rows of that sample.
        primal: Upper bound of the optimum from a feasible plan.
        dual: Lower bound of the optimum.
        epsilon: Absolute regularisation; 0 for the exact problem.
        mean_cost: Mean cost between pool and target (see `problem.cost_statistics`).
        tolerance: Target error that was asked for.
        cost: Ground cost.
        penalties: KL penalties of the marginals, in units of the cost.
        passes: Pool rows processed, all passes together, divided by N.
        full_passes: Passes over the whole pool.
        seconds: Wall-clock time.
        dtype: Arithmetic of the products; sums are float64 throughout.
        regime: How it was solved.
        target_marginal: (M,) target marginal of the plan over the pool, float64.
    """

    f: Tensor
    a: Tensor
    g: Tensor
    converged: bool
    target_error: float
    pool_error: float
    pool_error_worst: float
    primal: float
    dual: float
    epsilon: float
    mean_cost: float
    tolerance: float
    cost: Cost
    penalties: Penalties
    passes: float
    full_passes: int
    seconds: float
    dtype: torch.dtype
    regime: Regime
    target_marginal: Tensor

    @property
    def gap(self) -> float:
        """Returns the duality gap, primal - dual."""
        return self.primal - self.dual

    @property
    def score(self) -> Tensor:
        """Returns the GOT-D score of every candidate, (N,): larger is chosen first."""
        return -calibrate(self.g)


def calibrate(g: Tensor) -> Tensor:
    """Returns the calibrated gradient of the transport cost in each document's mass, (N,).

    g_j - sum_{k != j} g_k / (N - 1): the derivative when one document gains mass and all others
    lose it equally. An increasing affine map of g, so the ranking is that of -g.

    References:
        Just et al. 2023 (LAVA), section 3.2; Kang et al. 2024 (GOT-D), section 3. The released
        GOT-D code divides by N in place of N - 1; the ranking is the same.
    """
    n = len(g)
    if n == 1:
        return torch.zeros_like(g)
    return (g - g.double().mean()) * (n / (n - 1))


def overlap(first: Tensor, second: Tensor, fraction: float) -> float:
    """Returns the share of the top `fraction` by `first` (the largest) also top by `second`."""
    k = max(1, round(fraction * len(first)))
    chosen = torch.zeros(len(first), dtype=torch.bool)
    chosen[torch.topk(first, k).indices.cpu()] = True
    return float(chosen[torch.topk(second, k).indices.cpu()].double().mean())


def pool_marginal_error(
    geometry: Geometry,
    pool: Array,
    target: Array,
    has_mass: Tensor,
    b: Tensor,
    f: Tensor,
    log_a: Tensor,
    g: Tensor,
    epsilon: float,
    penalties: Penalties,
) -> tuple[float, float]:
    """Returns (mean, largest) relative error of the rows' masses at (f, g).

    Row j of the plan weighs b_j exp((g_j - h_j) / epsilon), h the exact c-transform of f, and
    should weigh b_j (b_j exp(-g_j / rho) where that marginal is penalised). h is computed again
    from the vectors as they are stored, in float64, so that rounding of costs, of the softmax and
    of g itself shows, which cancels where the same block is summed again. Rows are the middles of
    `CHECKED_ROWS` strata of equal mass: the mean estimates the pool's L1 error, the largest is of
    the rows checked.

    `geometry` and `has_mass` (M,) say which of the targets (M, d) have mass; f and log_a are over
    those.
    """
    device, double = geometry.points.device, torch.float64
    exact = Geometry.of(read_rows(target, slice(len(target)), device, double), geometry.cost)
    exact = exact.subset(has_mass)
    numbers, masses = stratified_sample(b, CHECKED_ROWS, None)
    errors: list[Tensor] = []
    wanted: list[Tensor] = []
    for block in row_slices(len(numbers), max(1, CHECKED_ENTRIES // len(f))):
        part = numbers[block]
        rows = exact.prepare(gather_rows(pool, part, device, double))
        shifted = exact.shifted_costs(rows, rows.new_empty(len(rows), len(f)))
        logits = shifted.neg_().add_(f).div_(epsilon)
        h = exact.offset(rows) - epsilon * torch.logsumexp(logits.add_(log_a), 1)
        potential, rho = g[part.to(device)], penalties.pool
        wanted.append(torch.ones_like(potential) if math.isinf(rho) else (-potential / rho).exp())
        errors.append((((potential - h) / epsilon).exp() - wanted[-1]).abs())
    error, full = torch.cat(errors), torch.cat(wanted)
    return float(masses @ error / (masses @ full)), float((error / full).max())


def dual_value(
    sums: PoolPass, f: Tensor, a: Tensor, b: Tensor, epsilon: float, penalties: Penalties
) -> float:
    """Returns the dual objective at (f, g), for masses that sum to one.

    <a, f> + <b, g> - epsilon (sum P - 1), with <a, f> replaced by -rho <a, exp(-f / rho) - 1>
    where the target marginal is penalised by rho, and likewise for the pool. Never above the
    optimum (weak duality).
    """
    # g is optimal given f, so the plan's mass is that of its pool marginal.
    return (
        dual_term(a, f, penalties.target)
        + dual_term(b, sums.g, penalties.pool)
        - epsilon * (sums.pool_mass - 1)
    )


def primal_value(
    sums: PoolPass, geometry: Geometry, f: Tensor, a: Tensor, epsilon: float, penalties: Penalties
) -> float:
    """Returns an upper bound of the optimum: the objective of a feasible plan, or just above it.

    The objective is <C, P> + epsilon KL(P | a x b) + rho_a KL(P 1 | a) + rho_b KL(P^T 1 | b). The
    plan of (f, g) meets the pool marginal but not quite the target's. Targets that got too much
    are scaled down by s_i = a_i / p_i, and the mass theta that this frees goes, from the rows it
    came from, to the targets that got too little (Altschuler et al. 2017, Algorithm 2). Its cost
    is bounded by Minkowski's inequality through the targets' own distances, its divergence by
    convexity, so that the sums of one pass are enough: no second pass. Both bounds vanish with
    theta, half of the marginal error.

    Deviation: with a penalised pool and exact target marginal every target is scaled to a_i, and
    the pool's divergence is bounded by Jensen's inequality, for the same reason.
    """
    p, q, rho_a, rho_b = sums.target_marginal, sums.cost_sums, penalties.target, penalties.pool
    log_kernel = (p * f + sums.g_sums - q) / epsilon  # sum_j P_ij log(P_ij / (a_i b_j))
    mass = float(p.sum())
    if math.isfinite(rho_a):
        value = float(q.sum()) + epsilon * (float(log_kernel.sum()) - mass + 1)
        pool = 0.0 if math.isinf(rho_b) else rho_b * sums.pool_divergence
        return value + rho_a * float((torch.xlogy(p, p / a) - p + a).sum()) + pool
    safe = p.clamp_min(torch.finfo(p.dtype).tiny)
    if math.isfinite(rho_b):
        s = a / safe
        value = float(s @ q) + epsilon * float(s @ log_kernel + torch.xlogy(s * p, s).sum())
        pool = float(s @ sums.log_density_sums + torch.xlogy(s * p, s).sum())  # masses are 1 and 1
        return value + rho_b * pool
    s = (a / safe).clamp_max(1.0)
    scaled = s * p
    deficit = (a - scaled).clamp_min(0)
    excess = p - scaled
    theta = max(float(deficit.sum()), 0.0)
    entropy = float(s @ log_kernel + torch.xlogy(scaled, s).sum())
    entropy -= float(scaled.sum()) * math.log(float(scaled.sum()))
    value = float(s @ q)
    if theta > 0:
        moved, factor = float((1 - s) @ q), geometry.squared_distance_factor
        y, squares = geometry.points.double(), geometry.squared_norms.double()
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
