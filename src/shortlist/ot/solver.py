"""Solves a transport problem: regime, sample, corrections by streamed passes, certificate."""

import logging
import math
import time
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from shortlist.errors import InvalidInput
from shortlist.vectors import (
    Array,
    RowSubset,
    check_pair,
    device_of,
    fast_products_exist,
    float32_products,
    gather_rows,
    read_rows,
    rows_per_block,
)

from .certificate import Transport, dual_value, pool_marginal_error, primal_value
from .newton import SMALLEST_MARGINAL, Sample, anneal, refine, sinkhorn_step
from .problem import (
    Cost,
    EpsilonTooSmall,
    Geometry,
    ParameterNames,
    Penalties,
    Progress,
    Regime,
    cost_statistics,
    marginal_error,
    normalized_masses,
    stratified_sample,
)
from .reference import solve_exact
from .resources import Forecast, forecast
from .stream import PoolPass, fast_blocks_exact, pool_pass

log = logging.getLogger(__name__)

CONTRACTION = 0.2  # of the error by one correction, before one is measured (measured: 0.06 to 0.15)
CORRECTION_FACTOR = 1.3  # error left by a correction over the product of the errors of f and of the
# sample (measured: 1.1 to 1.5)
COARSE_ERROR = 0.1  # sampling error of a sample's f above which a larger sample saves time
PARTIAL_SHARES = tuple(share / 40 for share in range(1, 25))  # of the pool, for a partial pass


@float32_products()
def solve(
    pool: Array,
    target: Array,
    *,
    epsilon: float,
    relative: bool = True,
    cost: Cost = "sqeuclidean",
    a: Array | None = None,
    b: Array | None = None,
    target_penalty: float = math.inf,
    pool_penalty: float = math.inf,
    tolerance: float = 5e-3,
    max_passes: int = 12,
    start: Transport | Array | None = None,
    regime: Regime | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
    generator: torch.Generator | None = None,
    stored_bytes: int | None = None,
    progress: Progress | None = None,
    names: ParameterNames | None = None,
) -> Transport:
    """Returns the potentials of entropic (or exact) transport between `pool` and `target`.

    Semi-dual: with g the c-transform of f, the problem is concave in f alone (Genevay et al. 2016,
    eq. 5; Cuturi and Peyre 2018). f is solved on a stratified sample of the pool, by annealing and
    Newton's method; then a pass over the whole pool gives g, the true target marginal p and the
    certificate at once; and f is corrected on the sample, whose curvature approximates the pool's:
    it is solved for the marginal a_i (p_sample / p_pool)_i, so that the pool's becomes a_i. Each
    correction lowers the error about tenfold, so two or three passes are enough. All but the last
    may run in bfloat16 where the CPU has matrix units for it.

    Args:
        pool: (N, d), torch tensor or numpy array (a memory map is read block by block), any float.
        target: (M, d).
        epsilon: Regularisation; 0 for the exact problem.
        relative: Whether epsilon and the penalties are multiples of the mean cost, or absolute.
        cost: Ground cost.
        a: (M,) target masses, normalised here; uniform by default.
        b: (N,) pool masses (e.g. `cluster_masses`), normalised here; uniform by default.
        target_penalty: KL penalty rho of the target marginal; infinite: met exactly.
        pool_penalty: Likewise for the pool marginal.
        tolerance: L1 error of the target marginal over the whole pool to stop at, as a share of
            the mass that is wanted there.
        max_passes: Passes over the whole pool at most, where it is streamed. A dense solve computes
            all costs once and then works on them, up to 12 Newton steps per level of epsilon.
        start: Warm start, a potential f (M,) or an earlier result.
        regime: Overrides the choice of `forecast`.
        dtype: Arithmetic of the products, float32 or float64.
        device: Where to compute; by default where the pool is.
        generator: Draws the sample; without one the middle of every stratum is taken, which would
            fail for a pool that repeats itself with the period of the strata.
        stored_bytes: Memory for the costs and the plan that are stored, which decides the sample;
            by default as `forecast` says.
        progress: Called with (passes so far, last target error).
        names: Names of these settings for error messages.

    Raises:
        InvalidInput: Vectors, masses or settings that cannot be used, by name.
        DoesNotFit: The forecast exceeds the free memory, naming the setting that would fit.
    """
    begin = time.perf_counter()
    names = names or ParameterNames()
    n, m, d = check_pair(pool, target)
    _check_settings(epsilon, target_penalty, pool_penalty, tolerance, max_passes, dtype)
    place = device_of(pool, device)
    masses_a = normalized_masses(a, m, "target masses", place)
    masses_b = normalized_masses(b, n, "pool masses", place)
    has_mass = masses_a > 0
    plan = forecast(
        n,
        m,
        d,
        epsilon=epsilon,
        regime=regime,
        dtype=dtype,
        device=place,
        stored_bytes=stored_bytes,
        names=names,
    )
    # A dense problem is done within seconds, and may be one of many.
    log.log(logging.DEBUG if plan.regime == "dense" else logging.INFO, plan.sentence)
    penalties = Penalties(target_penalty, pool_penalty)
    if plan.regime == "exact":
        if not penalties.balanced:
            raise InvalidInput(
                f"the exact regime meets both marginals; set {names.epsilon} above 0 for penalties"
            )
        cpu, double = torch.device("cpu"), torch.float64
        has_mass = has_mass.cpu()
        geometry = Geometry.of(read_rows(target, slice(m), cpu, double), cost).subset(has_mass)
        rows = read_rows(pool, slice(n), cpu, double)
        result = solve_exact(rows, geometry, masses_a.cpu()[has_mass], masses_b.cpu(), tolerance)
        return _with_all_targets(result, has_mass, begin)
    geometry = Geometry.of(read_rows(target, slice(m), place, dtype), cost).subset(has_mass)
    state = SolveState(
        pool,
        target,
        has_mass,
        geometry,
        masses_a[has_mass],
        masses_b,
        penalties,
        plan,
        generator,
        progress,
    )
    state.measure(epsilon, relative, names)
    first = _start(start, has_mass, place)
    if plan.regime == "dense":
        f, last = _solve_dense(state, first, tolerance)
    else:
        f, last = _solve_streamed(state, first, tolerance, max_passes)
    return _with_all_targets(state.result(f, last, tolerance), has_mass, begin)


def _check_settings(
    epsilon: float,
    target_penalty: float,
    pool_penalty: float,
    tolerance: float,
    max_passes: int,
    dtype: torch.dtype,
) -> None:
    if not 0 <= epsilon < math.inf:
        raise InvalidInput(f"epsilon must be finite and not negative: {epsilon}")
    if not (target_penalty > 0 and pool_penalty > 0):
        raise InvalidInput(f"penalties must be above 0: {target_penalty}, {pool_penalty}")
    if not 0 < tolerance < 2:
        raise InvalidInput(f"tolerance is an L1 error of a marginal, between 0 and 2: {tolerance}")
    if max_passes < 1:
        raise InvalidInput(f"max_passes must be at least 1: {max_passes}")
    if dtype not in (torch.float32, torch.float64):
        raise InvalidInput(f"dtype must be float32 or float64: {dtype}")


def _start(start: Transport | Array | None, has_mass: Tensor, place: torch.device) -> Tensor | None:
    """Returns the warm start of the targets with mass."""
    if start is None:
        return None
    values = start.f if isinstance(start, Transport) else start
    f = torch.as_tensor(values).to(device=place, dtype=torch.float64)
    if f.shape != has_mass.shape or not bool(torch.isfinite(f).all()):
        raise InvalidInput(
            f"start must hold one finite value a target, {len(has_mass)}: {tuple(f.shape)}"
        )
    return f[has_mass]


def _with_all_targets(result: Transport, has_mass: Tensor, begin: float) -> Transport:
    """Returns the result with targets without mass inserted (f = 0, marginal 0), and its time."""
    seconds = time.perf_counter() - begin
    if bool(has_mass.all()):
        return replace(result, seconds=seconds)

    def expanded(values: Tensor) -> Tensor:
        full = torch.zeros(len(has_mass), dtype=torch.float64, device=values.device)
        full[has_mass] = values
        return full

    f, a, marginal = map(expanded, (result.f, result.a, result.target_marginal))
    return replace(result, f=f, a=a, target_marginal=marginal, seconds=seconds)


@dataclass
class SolveState:
    """A problem while it is solved: inputs, scale, sample and the work done so far.

    Attributes:
        pool: (N, d).
        target: (M', d) all targets.
        has_mass: (M',) which targets have mass; M of them.
        geometry: Targets with mass, and so are `a` and every f.
        a: (M,).
        b: (N,).
        penalties: In units of the cost, once `measure` has run.
        plan: The forecast: regime and sample size.
        generator: Draws samples.
        progress: Called with (passes so far, last target error).
        epsilon: Absolute.
        mean_cost: Mean cost between pool and target.
        fast_exact: Whether fast products are as exact as float32 ones.
        low_precision: Whether they are not, but exact enough for all passes except the last.
        rows_processed: Pool rows of all passes, and of samples that were replaced.
        full_passes: Passes over the whole pool.
    """

    pool: Array
    target: Array
    has_mass: Tensor
    geometry: Geometry
    a: Tensor
    b: Tensor
    penalties: Penalties
    plan: Forecast
    generator: torch.Generator | None
    progress: Progress | None
    epsilon: float = 0.0
    mean_cost: float = 0.0
    fast_exact: bool = False
    low_precision: bool = False
    rows_processed: int = 0
    full_passes: int = 0
    _sample: Sample | None = field(default=None)

    @property
    def passes(self) -> float:
        """Returns the rows processed so far, all passes together, divided by N."""
        sampled = 0 if self._sample is None else self._sample.rows_processed
        return (self.rows_processed + sampled) / len(self.b)

    def measure(self, epsilon: float, relative: bool, names: ParameterNames) -> None:
        """Sets mean cost, epsilon, penalties and precision, from one reading of the pool.

        Raises:
            InvalidInput: Rows that are not finite, or a mean cost of zero.
            EpsilonTooSmall: An epsilon below the rounding of the costs.
        """
        geometry, dtype = self.geometry, self.geometry.points.dtype
        costs = cost_statistics(geometry, self.pool, self.b, self.a)
        self.mean_cost = costs.mean
        unit = self.mean_cost if relative else 1.0
        if not epsilon * unit > 0:
            raise InvalidInput(
                f"{names.epsilon} is relative to a mean cost of zero: every pool vector equals the "
                "target; look at the vectors, or give an absolute epsilon"
            )
        self.epsilon, self.penalties = epsilon * unit, self.penalties.scaled(unit)
        rounding = torch.finfo(dtype).eps * geometry.rounding_factor * costs.largest
        # A logit of this size is off by less than a twentieth after rounding.
        least = 20 * rounding
        if self.epsilon < least:
            other = f" or {names.float64}" if names.float64 else ""
            raise EpsilonTooSmall(
                f"{names.epsilon} is too small for {str(dtype).removeprefix('torch.')}, as costs "
                f"reach {costs.largest:.3g}; set {names.epsilon}={least / unit:.3g} or "
                f"more{other}; found: {epsilon:.3g}"
            )
        device = geometry.points.device
        block = min(rows_per_block(len(self.a), device), len(self.b))
        self.fast_exact = fast_blocks_exact(block, geometry)
        if not self.fast_exact and fast_products_exist(device, dtype):
            lengths = costs.row_norm * float(geometry.squared_norms.mean().sqrt())
            # Typical error of a logit in bfloat16, whose unit roundoff is 2**-9.
            error = 2 * lengths / self.epsilon * 2**-9 / math.sqrt(geometry.points.shape[1])
            self.low_precision = error < 0.1

    def sample(self) -> Sample:
        """Returns the pool sample, drawn at the first call."""
        return self._sample or self.draw_sample(self.plan.sample_rows)

    def draw_sample(self, rows: int) -> Sample:
        """Returns a sample of so many rows, which replaces the one there was."""
        if self._sample is not None:
            self.rows_processed += self._sample.rows_processed
        self._sample = None  # frees its memory before the next allocates its own
        points = self.geometry.points
        numbers, masses = stratified_sample(self.b, rows, self.generator)
        raw = gather_rows(self.pool, numbers, points.device, points.dtype)
        self._sample = Sample(
            self.geometry,
            self.geometry.prepare(raw),
            masses,
            self.a.log(),
            self.penalties,
            stored=self.plan.stored,
            # Dense costs are also certified, for which low precision is not enough.
            fast=self.fast_exact or (self.low_precision and self.plan.regime != "dense"),
            numbers=numbers,
        )
        return self._sample

    def centred(self, f: Tensor) -> Tensor:
        """Returns f shifted to <a, f> = 0, where the problem leaves a constant open."""
        return f - self.a @ f if self.penalties.balanced else f

    def error(self, marginal: Tensor, f: Tensor) -> float:
        """Returns the L1 error of the target marginal at f, as a share of the mass wanted."""
        return marginal_error(marginal, self.penalties.wanted_marginal(self.a, f))

    def run_pass(
        self,
        f: Tensor,
        error: float,
        *,
        low_precision: bool = False,
        part: tuple[Tensor, Tensor] | None = None,
        stored_costs: tuple[Tensor, Tensor] | None = None,
    ) -> PoolPass:
        """Returns a pass over the pool at f, or over a part of it.

        Args:
            f: (M,).
            error: Last known target error, for the progress report.
            low_precision: Whether products may be in bfloat16.
            part: (row numbers, their masses). The sums that only the certificate needs are not
                computed for a part or in low precision.
            stored_costs: As in `pool_pass`.
        """
        pool = self.pool if part is None else RowSubset(self.pool, part[0])
        before, count = self.passes, len(pool)

        def report(share: float) -> None:
            if self.progress is not None:
                self.progress(before + share * count / len(self.b), error)

        sums = pool_pass(
            self.geometry,
            pool,
            self.b if part is None else part[1],
            f,
            self.a.log(),
            self.epsilon,
            pool_penalty=self.penalties.pool,
            fast=self.fast_exact or low_precision,
            certify=not low_precision and part is None,
            stored_costs=stored_costs,
            progress=report,
        )
        self.rows_processed += count
        self.full_passes += part is None
        return sums

    def result(self, f: Tensor, last: PoolPass, tolerance: float) -> Transport:
        """Returns the result with its certificate; the pool marginal is checked in float64."""
        log_a, penalties = self.a.log(), self.penalties
        mean, worst = pool_marginal_error(
            self.geometry,
            self.pool,
            self.target,
            self.has_mass,
            self.b,
            f,
            log_a,
            last.g,
            self.epsilon,
            penalties,
        )
        target_error = self.error(last.target_marginal, f)
        pool_error = max(last.pool_error / last.pool_mass, mean)
        converged = max(target_error, pool_error) <= tolerance
        if not converged:
            log.warning(
                "transport did not reach its tolerance %g: target error %.1e, pool error %.1e",
                tolerance,
                target_error,
                pool_error,
            )
        return Transport(
            f=f,
            a=self.a,
            g=last.g,
            converged=converged,
            target_error=target_error,
            pool_error=pool_error,
            pool_error_worst=worst,
            primal=primal_value(last, self.geometry, f, self.a, self.epsilon, penalties),
            dual=dual_value(last, f, self.a, self.b, self.epsilon, penalties),
            epsilon=self.epsilon,
            mean_cost=self.mean_cost,
            tolerance=tolerance,
            cost=self.geometry.cost,
            penalties=penalties,
            passes=self.passes,
            full_passes=self.full_passes,
            seconds=0.0,
            dtype=self.geometry.points.dtype,
            regime=self.plan.regime,
            target_marginal=last.target_marginal,
        )


def _solve_dense(
    state: SolveState, start: Tensor | None, tolerance: float
) -> tuple[Tensor, PoolPass]:
    """Returns (f, last pass) where the sample is the whole pool."""
    sample = state.sample()
    # Half of the tolerance, as streamed solves end below it: their last correction overshoots too.
    goal = 0.5 * tolerance
    if start is None:
        zero = torch.zeros_like(state.a)
        f, _, error = anneal(sample, zero, state.a, state.epsilon, state.mean_cost, goal)
    else:
        f, _, error = refine(sample, start, state.a, state.epsilon, goal, sweeps=5, steps=30)
    f = state.centred(f)
    return f, state.run_pass(f, error, stored_costs=sample.stored_costs)


def _solve_streamed(
    state: SolveState, start: Tensor | None, tolerance: float, max_passes: int
) -> tuple[Tensor, PoolPass]:
    """Returns (f, last pass) for a pool of which only a sample is stored."""
    f = _first_potential(state, tolerance) if start is None else start
    f = state.centred(f)
    low_precision = state.low_precision and start is None
    error, rate, best_error = math.inf, CONTRACTION, math.inf
    best_f, best_marginal = f, state.a
    lowest_error, lowest_f, stalled = math.inf, f, 0
    corrections: list[tuple[Tensor, Tensor]] = []  # (f, its correction), for the extrapolation
    last_number = max_passes - 1
    for number in range(max_passes):
        # After three passes without a new lowest error float32 allows no further progress.
        final = number == last_number or stalled >= 3
        f = lowest_f if stalled >= 3 else f
        exact = not low_precision or final
        last = state.run_pass(f, error, low_precision=not exact)
        before, error = error, state.error(last.target_marginal, f)
        if state.progress is not None:
            state.progress(state.passes, error)
        log.info("transport pass %d: target error %.2e", number + 1, error)
        if exact and (error <= tolerance or final):
            return f, last
        stalled = 0 if error < 0.9 * lowest_error else stalled + 1
        if error < lowest_error:
            lowest_error, lowest_f = error, f
        if error < 0.9 * best_error:
            best_error, best_f, best_marginal = error, f, last.target_marginal
            goal = max(0.03 * error, 0.1 * tolerance)
            corrected = state.centred(_corrected(state, f, last.target_marginal, goal))
            corrections = [*corrections[-3:], (f, corrected - f)]
            f = _extrapolated(corrections, state.a)
        else:  # the sample misleads here: a Sinkhorn step from the best f so far always helps
            f = sinkhorn_step(best_f, best_marginal, state.a, state.epsilon, state.penalties)
            best_f, best_error, corrections = f, math.inf, []
        f = state.centred(f)
        if math.isfinite(before):
            rate = min(1.0, error / before)
        low_precision = (
            state.low_precision and error * rate > tolerance and number < last_number - 1
        )
    raise AssertionError("unreachable: the last pass returns")


def _first_potential(state: SolveState, tolerance: float) -> Tensor:
    """Returns f solved on the sample, which is enlarged or followed by a partial pass if needed."""
    zero, goal = torch.zeros_like(state.a), 0.5 * tolerance
    f, p, _ = anneal(state.sample(), zero, state.a, state.epsilon, state.mean_cost, goal)
    f, p = enlarge_sample(state, f, p, tolerance)
    f = state.centred(f)
    part = partial_pass(state, f, p, tolerance)
    return f if part is None else _corrected(state, f, part, 0.1 * tolerance)


def _corrected(state: SolveState, f: Tensor, p: Tensor, tolerance: float) -> Tensor:
    """Returns f moved so that the pool's marginal p (M,) becomes a, by the sample's curvature."""
    sample = state.sample()
    of_sample = sample.evaluate(f, state.epsilon).marginal
    ratio = p.clamp_min(SMALLEST_MARGINAL) / of_sample.clamp_min(SMALLEST_MARGINAL)
    wanted = state.a / ratio.clamp(1e-3, 1e3)
    if state.penalties.balanced:
        wanted = wanted / wanted.sum()
    return refine(sample, f, wanted, state.epsilon, tolerance, sweeps=0, steps=4)[0]


def _extrapolated(corrections: list[tuple[Tensor, Tensor]], a: Tensor) -> Tensor:
    """Returns the next f by Anderson's mixing of the corrections so far.

    The sample's curvature is not quite the pool's: what one correction leaves, the next one leaves
    in the same proportion. The affine combination of all (f, correction) whose correction is
    smallest, in the norm weighted by a, removes that (Walker and Ni 2011, eq. 2.1).
    """
    f, step = corrections[-1]
    if len(corrections) == 1:
        return f + step
    weight = a.sqrt()
    steps = torch.stack([step - other for _, other in corrections[:-1]], 1)
    places = torch.stack([f - other for other, _ in corrections[:-1]], 1)
    left, right = (steps * weight[:, None]).cpu().numpy(), (step * weight).cpu().numpy()
    mix = torch.as_tensor(np.linalg.lstsq(left, right, rcond=None)[0]).to(f.device)
    return f + step - (places + steps) @ mix


def enlarge_sample(
    state: SolveState, f: Tensor, p: Tensor, tolerance: float
) -> tuple[Tensor, Tensor]:
    """Returns (f, marginal on the sample), of a larger sample if the first one is too coarse.

    At a small epsilon a target receives mass from few rows of the pool, and fewer of the sample,
    whose curvature then differs much from the pool's, so that corrections by it hardly help.
    """
    most, size = state.plan.sample_most, len(state.sample().rows)
    rows = 1 / float(state.sample().b.square().sum())
    per_row = _relative_sampling_error(state, f, p)
    expected = per_row * math.sqrt(max(0.0, 1 / rows - 1 / len(state.b)))
    if expected <= COARSE_ERROR or most < 1.5 * size:
        return f, p
    log.info("transport: the sample is enlarged to %s rows", f"{most:,}")
    sample = state.draw_sample(most)
    f, p, _ = refine(sample, f, state.a, state.epsilon, 0.5 * tolerance, sweeps=10)
    return f, p


def _relative_sampling_error(state: SolveState, f: Tensor, p: Tensor) -> float:
    wanted = float(state.penalties.wanted_marginal(state.a, f).sum())
    return state.sample().sampling_error(p) * float(p.sum()) / wanted


def partial_pass(state: SolveState, f: Tensor, p: Tensor, tolerance: float) -> Tensor | None:
    """Returns the marginal at f of a part of the pool, (M,), or None where such a pass saves
    nothing.

    f meets the sample's marginal p; the pool's differs by a sampling error, which the sample itself
    estimates (`Sample.sampling_error`) and which falls as the root of the rows: a correction
    against a part of the pool may bring the first full pass within the tolerance, which then is
    the last.
    """
    sample, pool_rows = state.sample(), len(state.b)
    rows = 1 / float(sample.b.square().sum())  # the number of equal masses with the same error
    goal = tolerance * predicted_error_share(len(p))
    share = partial_pass_share(_relative_sampling_error(state, f, p), rows, pool_rows, goal)
    if share == 0 or sample.numbers is None:
        return None
    rest = state.b.clone()
    rest[sample.numbers.to(rest.device)] = 0
    part = stratified_sample(rest, round(share * pool_rows), state.generator)
    sums = state.run_pass(f, math.inf, low_precision=state.low_precision, part=part)
    log.info("transport: partial pass over %.0f %% of the pool", 100 * share)
    sample_share = rows / (rows + len(part[0]))
    return sample_share * p + (1 - sample_share) * sums.target_marginal


def predicted_error_share(targets: int) -> float:
    """Returns the share of a tolerance that a predicted error may use.

    A fifth is reserved for what the model of the error neglects (measured: up to 6 %) and so that
    the top of the ranking is right to 99 % too (200,000 x 2,000 at 5 %), the rest for twice its
    spread: a sum of so many absolute normal errors varies by 0.75 / sqrt(M) of itself.
    """
    return max(0.5, 0.8 - 1.5 / math.sqrt(targets))


def partial_pass_share(row_error: float, sample: float, pool: int, goal: float) -> float:
    """Returns the share of the pool for a partial pass with the fewest rows in all; 0 for none.

    Args:
        row_error: L1 error of one row's marginal.
        sample: Rows of the sample.
        pool: Rows of the pool.
        goal: Error to reach.
    """

    def error(rows: float) -> float:
        return row_error * math.sqrt(max(0.0, 1 / rows - 1 / pool))

    first = error(sample)
    rate = min(0.9, max(CORRECTION_FACTOR * first, 0.02))

    def passes(left: float) -> int:
        return 1 if left <= goal else 1 + math.ceil(math.log(left / goal) / -math.log(rate))

    costs = {0.0: float(passes(first))}
    for share in PARTIAL_SHARES:
        rows = sample + share * pool
        if rows < pool:
            left = math.hypot(error(rows), CORRECTION_FACTOR * first**2)
            costs[share] = share + passes(left)
    return min(costs, key=lambda share: (costs[share], share))
