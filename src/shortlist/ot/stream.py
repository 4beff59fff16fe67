"""What a target potential f implies for candidates: passes over the pool, c-transform and plan."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from shortlist.errors import InvalidInput
from shortlist.vectors import (
    Array,
    RowSubset,
    check_vectors,
    device_of,
    fast_products_exact,
    fast_products_exist,
    float32_products,
    read_rows,
    row_slices,
    rows_per_block,
)

from .problem import Cost, Geometry, LogKernel, normalized_masses, refuse_bad_rows


@dataclass(frozen=True)
class PoolPass:
    """Sums over the pool at one target potential f.

    P is the plan of (f, g), w_j = sum_i P_ij its pool marginal.

    Attributes:
        g: (N,) candidate potential, float64.
        target_marginal: (M,) p_i = sum_j P_ij, float64.
        pool_error: sum_j of |row mass of the plan - w_j|, of the blocks as computed: it contains
            the rounding of the sums, not that of the costs or of g (see
            `certificate.pool_marginal_error`).
        cost_sums: (M,) sum_j P_ij C_ij; empty without `certify`.
        g_sums: (M,) sum_j P_ij g_j; empty without `certify`.
        log_density_sums: (M,) sum_j P_ij log(w_j / b_j), zero if balanced; empty without `certify`.
        pool_mass: sum_j w_j (1 if balanced).
        pool_divergence: KL(w | b).
        log_target_marginal: (M,) log p where the caller gave `update_g`; then the other sums are
            not computed. Empty otherwise.
    """

    g: Tensor
    target_marginal: Tensor
    pool_error: float
    cost_sums: Tensor
    g_sums: Tensor
    log_density_sums: Tensor
    pool_mass: float
    pool_divergence: float
    log_target_marginal: Tensor = field(default_factory=lambda: torch.empty(0))


def row_logsumexp(logits: Tensor, softmax: Tensor) -> Tensor:
    """Returns the log-sum-exp of every row, (n,), float64, from a softmax already computed.

    log sum exp L = max L - log max softmax(L): two maxima are cheaper than a second exponential,
    and the largest probability of a row is at least 1 / M, so that nothing underflows.
    """
    return logits.amax(1).double() - softmax.amax(1).double().log()


def penalized_potential(h: Tensor, epsilon: float, pool_penalty: float) -> Tensor:
    """Returns g from the balanced c-transform h: h itself, or h rho / (rho + epsilon)."""
    return h if math.isinf(pool_penalty) else h * (pool_penalty / (pool_penalty + epsilon))


def pool_pass(
    geometry: Geometry,
    pool: Array | RowSubset,
    b: Tensor,
    f: Tensor,
    log_a: Tensor,
    epsilon: float,
    *,
    pool_penalty: float = math.inf,
    fast: bool = False,
    certify: bool = True,
    update_g: Callable[[slice, Tensor], Tensor] | None = None,
    stored_costs: tuple[Tensor, Tensor] | None = None,
    progress: Callable[[float], None] | None = None,
) -> PoolPass:
    """Returns the sums of one streamed pass over the pool.

    h_j = -epsilon log sum_i a_i exp((f_i - C_ij) / epsilon); g = h in the balanced problem. A block
    of pool rows against all targets gives the rows' g and their part of the target marginal at
    once: product, softmax, one small product back.

    Args:
        geometry: Targets.
        pool: (N, d).
        b: (N,) pool masses, float64, on the targets' device.
        f: (M,) target potential, float64.
        log_a: (M,) logarithm of the target masses, float64.
        epsilon: Absolute.
        pool_penalty: KL penalty rho of the pool marginal; infinite means exact.
        fast: Whether products may be computed in bfloat16 (see `vectors.fast_products_exact`).
        certify: Whether to compute the sums that the primal value needs.
        update_g: Takes (rows, h) and returns the g to use, for solvers with damped updates.
        stored_costs: (shifted costs (N, M), offsets (N,)) of all rows, where they are in memory:
            the pool is then not read and nothing is multiplied.
        progress: Called after every block with the share of the pool done.

    Raises:
        InvalidInput: A pool row that is not finite (or zero, under the cosine cost), by number.
    """
    device, dtype = geometry.points.device, geometry.points.dtype
    n, m = len(pool), len(f)
    step = rows_per_block(m, device)
    kernel = LogKernel(geometry, f, log_a, epsilon)
    logits_buffer = torch.empty(min(step, n), m, device=device, dtype=dtype)
    plan_buffer = torch.empty_like(logits_buffer)
    ones = torch.ones(m, device=device, dtype=dtype)
    g = torch.empty(n, device=device, dtype=torch.float64)
    # Sums over the plan of 1, the offset, g, the log density and the log kernel, by target.
    sums = torch.zeros(5, m, device=device, dtype=torch.float64)
    scalars = torch.zeros(3, device=device, dtype=torch.float64)
    log_marginal = torch.full((m,), -math.inf, device=device, dtype=torch.float64)
    for block in row_slices(n, step):
        logits, share = (part[: block.stop - block.start] for part in (logits_buffer, plan_buffer))
        if stored_costs is None:
            rows = geometry.prepare(read_rows(pool, block, device, dtype))
            with float32_products(fast=fast):
                kernel.logits(rows, logits)
            offset = geometry.offset(rows).double()
        else:
            kernel.logits_of_costs(stored_costs[0][block], logits)
            offset = stored_costs[1][block]
        torch.softmax(logits, 1, out=share)
        lse = row_logsumexp(logits, share)
        h = offset - epsilon * (lse + kernel.shift)
        refuse_bad_rows(h, block.start, geometry.cost)
        potential = penalized_potential(h, epsilon, pool_penalty)
        if update_g is not None:
            potential = update_g(block, h)
        g[block] = potential
        mass = b[block]
        log_density = (potential - h) / epsilon
        if update_g is not None:
            # g is not the c-transform of f: the masses exp(log_density) span more than any float
            # holds (h / epsilon in the hundreds), so the columns are summed as logarithms.
            shift = mass.log() + log_density - lse
            top = shift.max()
            column = torch.logsumexp(logits + (shift - top).to(dtype)[:, None], 0).double() + top
            log_marginal = torch.logaddexp(log_marginal, column)
            if progress is not None:
                progress(block.stop / n)
            continue
        exact = math.isinf(pool_penalty)
        weight = mass if exact else mass * log_density.exp()
        with float32_products():
            # Products with one vector each: as one narrow matrix product they take ten times as
            # long.
            factors = [weight]
            if certify:
                factors += [weight * offset, weight * potential]
                factors += [] if exact else [weight * log_density]
                row_mass = torch.mv(share, ones).double()
                scalars[0] += weight @ (row_mass - 1).abs()
            for index, factor in enumerate(factors):
                sums[index] += torch.mv(share.T, factor.to(dtype)).double()
            if certify:
                sums[4] += torch.mv(logits.mul_(share).T, weight.to(dtype)).double()
        scalars[1] += weight.sum()
        scalars[2] += (weight * log_density - weight + mass).sum()
        if progress is not None:
            progress(block.stop / n)
    marginal, offset_sums, g_sums, log_density_sums, log_kernel_sums = sums
    if certify:
        # shifted_ij = f_i + epsilon (log a_i - log kernel_ij), summed over the plan
        cost_sums = (
            marginal * (f + epsilon * (log_a - kernel.shift))
            - epsilon * log_kernel_sums
            + offset_sums
        )
    else:
        cost_sums = g_sums = log_density_sums = sums.new_empty(0)
    return PoolPass(
        g,
        marginal,
        float(scalars[0]),
        cost_sums,
        g_sums,
        log_density_sums,
        float(scalars[1]),
        float(scalars[2]),
        log_marginal,
    )


def fast_blocks_exact(rows: int, geometry: Geometry) -> bool:
    """Returns whether fast products of blocks of `rows` are exact, and save enough to probe for."""
    targets, dimensions = geometry.points.shape
    if rows * targets * dimensions < 2**24:  # under a millisecond: nothing to gain
        return False
    if not fast_products_exist(geometry.points.device, geometry.points.dtype):
        return False
    return fast_products_exact(rows, dimensions, targets)


class CTransform:
    """Potential g of any candidates from the target potential alone, prepared once for many
    batches.

    g_j = -epsilon log sum_i a_i exp((f_i - C_ij) / epsilon), times rho / (rho + epsilon) if the
    pool marginal is penalised. With epsilon = 0: g_j = min_i C_ij - f_i. With f = 0 it is the soft
    distance to the nearest targets. The GOT-D score of a candidate is -calibrate(g): larger is
    chosen first.
    """

    def __init__(
        self,
        target: Array,
        f: Array,
        *,
        epsilon: float,
        cost: Cost = "sqeuclidean",
        a: Array | None = None,
        pool_penalty: float = math.inf,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        """Prepares the kernel.

        Args:
            target: (M, d).
            f: (M,) target potential.
            epsilon: Absolute.
            cost: Ground cost.
            a: (M,) target masses; uniform by default. A target without mass has no influence.
            pool_penalty: As in the fit, absolute.
            dtype: Arithmetic of the products, float32 or float64.
            device: Where to compute; by default where the target is.

        Raises:
            InvalidInput: Shapes that do not go together, vectors that are not finite, epsilon < 0.
        """
        m, self.dimensions = check_vectors(target, "target")
        place = device_of(target, device)
        self.epsilon, self.pool_penalty = epsilon, pool_penalty
        if not 0 <= self.epsilon < math.inf:
            raise InvalidInput(f"epsilon must be finite and not negative: {self.epsilon}")
        potential = torch.as_tensor(f).to(device=place, dtype=torch.float64)
        if potential.shape != (m,):
            raise InvalidInput(f"f must hold one value a target, {m}: {tuple(potential.shape)}")
        masses = normalized_masses(a, m, "target masses", place)
        has_mass = masses > 0
        with float32_products():
            geometry = Geometry.of(read_rows(target, slice(m), place, dtype), cost)
        self.geometry = geometry.subset(has_mass)
        self.f = potential[has_mass]
        log_a = masses[has_mass].log()
        self._kernel = (
            LogKernel(self.geometry, self.f, log_a, self.epsilon) if self.epsilon else None
        )

    @float32_products()
    def __call__(self, candidates: Array) -> Tensor:
        """Returns the potential of `candidates` (n, d), torch or numpy: (n,), float64.

        Raises:
            InvalidInput: Vectors of other dimensions, or not finite, by row number.
        """
        n, dimensions = check_vectors(candidates, "candidates")
        if dimensions != self.dimensions:
            raise InvalidInput(
                "candidates and target must come from one featurizer: candidates have "
                f"{dimensions} dimensions, target {self.dimensions}"
            )
        geometry, epsilon = self.geometry, self.epsilon
        device, dtype = geometry.points.device, geometry.points.dtype
        step = min(rows_per_block(len(self.f), device), n)
        out = torch.empty(step, len(self.f), device=device, dtype=dtype)
        g = torch.empty(n, device=device, dtype=torch.float64)
        fast = fast_blocks_exact(step, geometry)
        for block in row_slices(n, step):
            rows = geometry.prepare(read_rows(candidates, block, device, dtype))
            buffer, offset = out[: len(rows)], geometry.offset(rows).double()
            with float32_products(fast=fast):
                if self._kernel is None:
                    shifted = geometry.shifted_costs(rows, buffer).double()
                    h = (shifted - self.f).amin(1) + offset
                else:
                    logits = self._kernel.logits(rows, buffer)
                    lse = row_logsumexp(logits, torch.softmax(logits, 1))
                    h = offset - epsilon * (lse + self._kernel.shift)
            refuse_bad_rows(h, block.start, geometry.cost)
            g[block] = penalized_potential(h, epsilon, self.pool_penalty)
        return g


@dataclass(frozen=True)
class Plan:
    """Rows of a transport plan: where the mass of some documents goes.

    Attributes:
        shares: (b, M) share of each document's mass that goes to each target; rows sum to one.
        costs: (b, M) cost between them.
    """

    shares: Tensor
    costs: Tensor


def transport_plan(
    documents: Tensor,
    targets: Tensor,
    f: Tensor,
    *,
    epsilon: float,
    cost: Cost,
    a: Tensor | None = None,
) -> Plan:
    """Returns the rows P_ij / b_j of the plan that the target potential f implies.

    P_ij = a_i b_j exp((f_i + g_j - C_ij) / epsilon), and g_j makes a row sum to one (of a penalised
    pool marginal: to the share of b_j that is moved, which is divided out here), so P_ij / b_j is
    the softmax over i of log a_i + (f_i - C_ij) / epsilon. With epsilon = 0 all mass goes to the
    target at which C_ij - f_i is least, as in the canonical potential of the exact problem.

    Args:
        documents: (b, d).
        targets: (M, d).
        f: (M,) target potential.
        epsilon: Absolute.
        cost: Ground cost.
        a: (M,) target masses; uniform by default.
    """
    costs = Geometry.of(targets.to(documents), cost).costs(documents)
    gain = f.to(costs) - costs
    if epsilon == 0:
        best = torch.zeros_like(gain)
        return Plan(best.scatter_(1, gain.argmax(1, keepdim=True), 1.0), costs)
    bias = 0.0 if a is None else a.to(costs).log()
    return Plan(torch.softmax(gain / epsilon + bias, 1), costs)
