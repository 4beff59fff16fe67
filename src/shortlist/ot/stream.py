"""One visit of the whole pool: the c-transform of f, and every sum that certifies it."""

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
    fast_products_exact,
    fast_products_exist,
    float32_products,
    read_rows,
    rows_per_block,
)

from .costs import Cost, Geometry, Kernel
from .inputs import masses


@dataclass(frozen=True)
class Visit:
    """Sums over the pool at one target potential f; P is the plan of (f, g), w its pool marginal.

    Attributes:
        g: Candidate potential, (N,), float64.
        marginal: Target marginal of the plan, p_i = sum_j P_ij, (M,), float64.
        pool_error: sum_j of |row mass of the plan - w_j|, on the tiles as computed: it sees what
            the sums lose, not what the costs or g lost before (`checking` does).
        cost: sum_j P_ij C_ij, (M,); empty unless asked for.
        gain: sum_j P_ij g_j, (M,); empty unless asked for.
        tilt: sum_j P_ij log(w_j / b_j), (M,); empty unless asked for (zero if balanced).
        pool_mass: sum_j w_j (1 if balanced).
        pool_divergence: KL(w | b).
        log_marginal: Logarithm of the target marginal, (M,), where the caller moved g (`adjust`);
            then the other sums are not gathered. Empty otherwise.
    """

    g: Tensor
    marginal: Tensor
    pool_error: float
    cost: Tensor
    gain: Tensor
    tilt: Tensor
    pool_mass: float
    pool_divergence: float
    log_marginal: Tensor = field(default_factory=lambda: torch.empty(0))


def row_potential(logits: Tensor, plan: Tensor) -> Tensor:
    """Returns the log-sum-exp of every row from a softmax already made.

    log sum exp L = max L - log max softmax(L): two maxima are cheaper than a second exponential,
    and the largest probability of a row is at least 1 / M, so that nothing underflows.
    """
    return logits.amax(1).double() - plan.amax(1).double().log()


def soften(h: Tensor, epsilon: float, pool_penalty: float) -> Tensor:
    """Returns g from the balanced c-transform h: h itself, or h rho / (rho + epsilon)."""
    return h if math.isinf(pool_penalty) else h * (pool_penalty / (pool_penalty + epsilon))


def visit(
    geometry: Geometry,
    pool: Array | RowSubset,
    b: Tensor,
    f: Tensor,
    log_a: Tensor,
    epsilon: float,
    *,
    pool_penalty: float = math.inf,
    quick: bool = False,
    certify: bool = True,
    adjust: Callable[[slice, Tensor], Tensor] | None = None,
    kept: tuple[Tensor, Tensor] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Visit:
    """Returns the sums of one streamed pass over the pool.

    h_j = -epsilon log sum_i a_i exp((f_i - C_ij) / epsilon); g = h in the balanced problem. A tile
    of pool rows against all targets gives the row's g and its share of the target marginal in one
    visit: product, softmax, one small product back.

    Args:
        geometry: Targets.
        pool: (N, d).
        b: Pool masses, (N,), float64, on the targets' device.
        f: Target potential, (M,), float64.
        log_a: Logarithm of the target masses, (M,), float64.
        epsilon: Absolute.
        pool_penalty: KL penalty rho of the pool marginal; infinite means exact.
        quick: Allows what quick products do on this machine (see `fast_products_exact`).
        adjust: Takes (rows, h) and returns the g to use instead, for solvers that move slower.
        certify: Gathers the sums that the primal value needs.
        kept: (part, offset) of the costs of all rows, (N, M) and (N,), where they are in memory
            already: the pool is then not read and nothing is multiplied.
        progress: Called after every tile with the share of the pool seen.

    Raises:
        InvalidInput: A pool row that is not finite (or zero, under the cosine cost), by number.
    """
    device, dtype = geometry.points.device, geometry.points.dtype
    n, m = len(pool), len(f)
    step = rows_per_block(m, device)
    kernel = Kernel(geometry, f, log_a, epsilon)
    logits = torch.empty(min(step, n), m, device=device, dtype=dtype)
    plan = torch.empty_like(logits)
    ones = torch.ones(m, device=device, dtype=dtype)
    g = torch.empty(n, device=device, dtype=torch.float64)
    # Target sums of the plan against: 1, the offset, g, the tilt, the log kernel.
    sums = torch.zeros(5, m, device=device, dtype=torch.float64)
    scalars = torch.zeros(3, device=device, dtype=torch.float64)
    log_marginal = torch.full((m,), -math.inf, device=device, dtype=torch.float64)
    for start in range(0, n, step):
        stop = min(start + step, n)
        if kept is None:
            rows = geometry.rows(read_rows(pool, start, stop, device, dtype))
            with float32_products(fast=quick):
                tile = kernel.logits(rows, logits[: stop - start])
            offset = geometry.offset(rows).double()
        else:
            tile, offset = logits[: stop - start], kept[1][start:stop]
            torch.add(kernel.plain_bias, kept[0][start:stop], alpha=-1 / epsilon, out=tile)
        share = torch.softmax(tile, 1, out=plan[: stop - start])
        lse = row_potential(tile, share)
        h = offset - epsilon * (lse + kernel.shift)
        refuse_bad_rows(h, start, geometry.cost)
        found = soften(h, epsilon, pool_penalty)
        if adjust is not None:
            found = adjust(slice(start, stop), h)
        g[start:stop] = found
        mass = b[start:stop]
        tilt = (found - h) / epsilon
        if adjust is not None:
            # g is not the c-transform of f: the masses exp(tilt) span more than any float holds
            # (h / epsilon in the hundreds), so the columns are summed as logarithms.
            shift = mass.log() + tilt - lse
            top = shift.max()
            column = torch.logsumexp(tile + (shift - top).to(dtype)[:, None], 0).double() + top
            log_marginal = torch.logaddexp(log_marginal, column)
            if progress is not None:
                progress(stop / n)
            continue
        exact = math.isinf(pool_penalty)
        weight = mass if exact else mass * tilt.exp()
        with float32_products():
            # Products with one vector each: as one narrow matrix product they take ten times as long.
            wanted = [weight]
            if certify:
                wanted += [weight * offset, weight * found] + ([] if exact else [weight * tilt])
                row_mass = torch.mv(share, ones).double()
                scalars[0] += weight @ (row_mass - 1).abs()
            for index, vector in enumerate(wanted):
                sums[index] += torch.mv(share.T, vector.to(dtype)).double()
            if certify:
                sums[4] += torch.mv(tile.mul_(share).T, weight.to(dtype)).double()
        scalars[1] += weight.sum()
        scalars[2] += (weight * tilt - weight + mass).sum()
        if progress is not None:
            progress(stop / n)
    marginal, offsets, gain, tilts, entropy = sums
    if not certify:
        cost = gain = tilts = sums.new_empty(0)
    else:
        # part_ij = f_i + epsilon (log a_i - log kernel_ij), summed against the plan
        cost = marginal * (f + epsilon * (log_a - kernel.shift)) - epsilon * entropy + offsets
    return Visit(
        g,
        marginal,
        float(scalars[0]),
        cost,
        gain,
        tilts,
        float(scalars[1]),
        float(scalars[2]),
        log_marginal,
    )


def exact_shortcut(rows: int, geometry: Geometry) -> bool:
    """Returns whether quick products of such tiles are exact, and worth probing for."""
    targets, dimensions = geometry.points.shape
    if rows * targets * dimensions < 2**24:  # under a millisecond: nothing to gain
        return False
    if not fast_products_exist(geometry.points.device, geometry.points.dtype):
        return False
    return fast_products_exact(rows, dimensions, targets)


def refuse_bad_rows(h: Tensor, start: int, cost: Cost) -> None:
    """Raises InvalidInput if a potential is not finite, naming the first such pool row."""
    finite = torch.isfinite(h)
    if not bool(finite.all()):
        row = start + int((~finite).nonzero()[0])
        why = "finite and not zero (cost=cosine)" if cost == "cosine" else "finite"
        raise InvalidInput(f"pool vectors must be {why}; drop or repair pool row: {row}")


class CTransform:
    """Potential g of any candidates from the target potential alone, prepared once for many batches.

    Call it with candidates (n, d), torch or numpy (memory maps are read a tile at a time): it
    returns g, (n,), float64. See `c_transform` for formula and arguments.
    """

    def __init__(
        self,
        target: Array,
        f: Array,
        *,
        epsilon: float,
        cost: Cost = "sqeuclidean",
        a: Array | None = None,
        scale: float = 1.0,
        pool_penalty: float = math.inf,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        m, self.dimensions = check_vectors(target, "target")
        place = _device(target, device)
        self.epsilon, self.pool_penalty = epsilon * scale, pool_penalty
        if not 0 <= self.epsilon < math.inf:
            raise InvalidInput(f"epsilon must be finite and not negative: {self.epsilon}")
        potential = torch.as_tensor(f).to(device=place, dtype=torch.float64)
        if potential.shape != (m,):
            raise InvalidInput(f"f must hold one value a target, {m}: {tuple(potential.shape)}")
        weights = masses(a, m, "target masses", place)
        kept = weights > 0
        with float32_products():
            self.geometry = Geometry.of(read_rows(target, 0, m, place, dtype), cost).keep(kept)
        self.f = potential[kept]
        log_a = weights[kept].log()
        self.kernel = Kernel(self.geometry, self.f, log_a, self.epsilon) if self.epsilon else None

    @float32_products()
    def __call__(self, candidates: Array) -> Tensor:
        """Returns the potential of `candidates`, (n,), float64.

        Raises:
            InvalidInput: Vectors of other dimensions, or not finite, by row number.
        """
        n, found = check_vectors(candidates, "candidates")
        if found != self.dimensions:
            raise InvalidInput(
                "candidates and target must come from one featurizer: candidates have "
                f"{found} dimensions, target {self.dimensions}"
            )
        geometry, epsilon = self.geometry, self.epsilon
        device, dtype = geometry.points.device, geometry.points.dtype
        step = min(rows_per_block(len(self.f), device), n)
        out = torch.empty(step, len(self.f), device=device, dtype=dtype)
        g = torch.empty(n, device=device, dtype=torch.float64)
        quick = exact_shortcut(step, geometry)
        for start in range(0, n, step):
            stop = min(start + step, n)
            rows = geometry.rows(read_rows(candidates, start, stop, device, dtype))
            buffer, offset = out[: stop - start], geometry.offset(rows).double()
            with float32_products(fast=quick):
                if self.kernel is None:
                    part = geometry.part(rows, buffer).double()
                    h = (part - self.f).amin(1) + offset
                else:
                    tile = self.kernel.logits(rows, buffer)
                    lse = row_potential(tile, torch.softmax(tile, 1))
                    h = offset - epsilon * (lse + self.kernel.shift)
            refuse_bad_rows(h, start, geometry.cost)
            g[start:stop] = soften(h, epsilon, self.pool_penalty)
        return g


def c_transform(
    candidates: Array,
    target: Array,
    f: Array,
    *,
    epsilon: float,
    cost: Cost = "sqeuclidean",
    a: Array | None = None,
    scale: float = 1.0,
    pool_penalty: float = math.inf,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Returns the potential g of any candidates, (n,), float64, from the target potential alone.

    g_j = -epsilon log sum_i a_i exp((f_i - C_ij) / epsilon), times rho / (rho + epsilon) if the
    pool marginal is penalised. With epsilon = 0: g_j = min_i C_ij - f_i. With f = 0 it is the soft
    distance to the nearest targets. Streams over tiles of candidates. For many small batches make
    a `CTransform` once.

    The GOT-D score of a candidate is -calibrate(g): larger is chosen first.

    Args:
        candidates: (n, d), torch or numpy (memory maps are read a tile at a time).
        target: (M, d).
        f: Target potential, (M,).
        epsilon: Absolute, or relative to `scale`.
        cost: Ground cost.
        a: Target masses, (M,); uniform by default. A target without mass plays no part.
        scale: What epsilon is multiplied with, e.g. the mean cost of the fit.
        pool_penalty: As in the fit.
        dtype: Arithmetic of the products, float32 or float64.
        device: Where to compute; by default where the candidates are.

    Raises:
        InvalidInput: Shapes that do not go together, vectors that are not finite, epsilon < 0.
    """
    prepared = CTransform(
        target,
        f,
        epsilon=epsilon,
        cost=cost,
        a=a,
        scale=scale,
        pool_penalty=pool_penalty,
        dtype=dtype,
        device=_device(candidates, device),
    )
    return prepared(candidates)


def _device(array: Array, device: torch.device | str | None) -> torch.device:
    if device is not None:
        return torch.device(device)
    return array.device if isinstance(array, Tensor) else torch.device("cpu")
