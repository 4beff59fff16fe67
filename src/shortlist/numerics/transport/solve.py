"""One call that chooses the regime, solves, polishes over the whole pool, and certifies."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from shortlist.errors import InvalidInput

from .certificate import dual_value, primal_value
from .costs import Cost, Geometry, largest_cost, mean_cost, tile_rows
from .exact import solve_exact
from .forecast import STORED_BYTES, Forecast, forecast
from .inputs import Array, check_pair, gather, masses, read, strata
from .precision import products, quick_products_exist
from .result import Regime, Transport
from .sample import FLOOR, Penalties, Sample, anneal, refine, sinkhorn_step
from .scale import SCALE_ROWS
from .stream import Visit, exact_shortcut, visit

log = logging.getLogger(__name__)

Progress = Callable[[float, float], None]


CONTRACTION = 0.2  # of the error by one correction, before any was measured (seen: 0.06 to 0.15)


@products()
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
    grown: bool = False,
    regime: Regime | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
    generator: torch.Generator | None = None,
    stored_bytes: int = STORED_BYTES,
    memory_limit: int | None = None,
    time_limit: float | None = None,
    progress: Progress | None = None,
) -> Transport:
    """Returns the potentials of entropic (or exact) transport between `pool` and `target`.

    Semi-dual: with g the c-transform of f, the problem is concave in f alone (Genevay et al. 2016,
    eq. 5; Cuturi and Peyre 2018). f is solved on a stratified sample of the pool, by annealing and
    Newton's method; then the whole pool is visited, which gives g, the true target marginal p and
    the certificate at once; and f is corrected on the sample, which stands in for the pool's
    curvature: it is asked for the marginal a_i (p_sample / p_pool)_i, so that the pool comes to a_i.
    Each correction lowers the error about tenfold, so two or three visits are enough. All but the
    last may run in bfloat16 where the processor has matrix units for it.

    Args:
        pool: (N, d), torch tensor or numpy array (a memory map is read tile by tile), any float.
        target: (M, d).
        epsilon: Regularisation; 0 for the exact problem.
        relative: Whether epsilon is a share of the mean cost, or absolute.
        cost: Ground cost.
        a: Target masses, normalised here; uniform by default.
        b: Pool masses (e.g. sizes of duplicate clusters), normalised here; uniform by default.
        target_penalty: KL penalty rho of the target marginal in units of the cost; infinite: exact.
        pool_penalty: Likewise for the pool marginal.
        tolerance: L1 error of the target marginal over the whole pool to stop at.
        max_passes: Visits of the whole pool at most.
        start: Warm start, a potential f or an earlier result.
        grown: Says that the pool begins with the rows that `start`, a result, was solved on, and
            the target is the same. At uniform masses and the same absolute epsilon only the new
            rows are visited first, and if f still holds, nothing else is.
        regime: Overrides the choice of `forecast`.
        dtype: Arithmetic of the products, float32 or float64.
        device: Where to compute; by default where the pool is.
        generator: Draws the sample; without one the middle of every stratum is taken, which a
            pool that repeats itself in step with the strata would defeat.
        stored_bytes: Memory for the costs and the plan that are kept.
        memory_limit: Bytes that may be used; by default four fifths of what is free.
        time_limit: Seconds that the forecast may come to.
        progress: Called with (passes so far, last target error).

    Raises:
        InvalidInput: Vectors, masses or settings that cannot be worked with, by name.
        DoesNotFit: The forecast exceeds memory or time, naming the setting that would fit.
    """
    begin = time.perf_counter()
    n, m, d = check_pair(pool, target)
    _check_settings(epsilon, target_penalty, pool_penalty, tolerance, max_passes, dtype)
    place = torch.device(device) if device is not None else _place(pool)
    weight_a = masses(a, m, "target masses", place)
    weight_b = masses(b, n, "pool masses", place)
    kept = weight_a > 0
    plan = forecast(
        n,
        m,
        d,
        epsilon=epsilon,
        regime=regime,
        dtype=dtype,
        device=place,
        stored_bytes=stored_bytes,
        memory_limit=memory_limit,
        time_limit=time_limit,
    )
    log.info(plan.sentence)
    penalties = Penalties(target_penalty, pool_penalty)
    if plan.regime == "exact":
        if not penalties.balanced:
            raise InvalidInput(
                "the exact regime meets both marginals; set epsilon > 0 for penalties"
            )
        geometry = Geometry.of(read(target, 0, m, torch.device("cpu"), torch.float64), cost)
        rows = read(pool, 0, n, torch.device("cpu"), torch.float64)
        found = solve_exact(
            rows, geometry.keep(kept.cpu()), weight_a[kept].cpu(), weight_b.cpu(), tolerance, cost
        )
        return _spread(found, kept.cpu(), begin)
    geometry = Geometry.of(read(target, 0, m, place, dtype), cost).keep(kept)
    problem = _Problem(pool, geometry, weight_a[kept], weight_b, penalties, plan, generator)
    problem.measure(epsilon, relative)
    first = _first(start, kept, place)
    previous = start if grown and isinstance(start, Transport) else None
    if grown and (previous is None or len(previous.g) > n):
        raise InvalidInput(
            "grown=True needs an earlier result over no more rows than the pool has, as start; "
            f"pool rows: {n}"
        )
    if plan.regime == "dense":
        f, last, done = problem.dense(first, tolerance, progress)
    else:
        f, last, done = problem.streamed(first, previous, tolerance, max_passes, progress)
    return _spread(problem.result(f, last, done, tolerance), kept, begin)


@dataclass
class _Problem:
    """The state of one solve; nothing of it outlives `solve`."""

    pool: Array
    geometry: Geometry
    a: Tensor
    b: Tensor
    penalties: Penalties
    plan: Forecast
    generator: torch.Generator | None
    epsilon: float = 0.0
    scale: float = 0.0
    exact: bool = False  # whether quick products are float32 products all the same
    rough: bool = False  # whether they are not, but good enough for all visits except the last
    seen: int = 0  # rows visited in streamed passes
    full: int = 0
    _sample: Sample | None = field(default=None)

    @property
    def rows(self) -> int:
        return len(self.b)

    @property
    def weighted(self) -> bool:
        return float(self.b.max()) > float(self.b.min())

    @property
    def passes(self) -> float:
        sampled = 0 if self._sample is None else self._sample.visited
        return (self.seen + sampled) / self.rows

    def measure(self, epsilon: float, relative: bool) -> None:
        """Sets the mean cost, the absolute epsilon, and whether rough products are good enough."""
        geometry, dtype = self.geometry, self.geometry.points.dtype
        numbers, weight = strata(self.b, SCALE_ROWS, self.generator)
        rows = geometry.rows(gather(self.pool, numbers, geometry.points.device, dtype))
        bad = ~torch.isfinite(rows).all(1)
        if bool(bad.any()):
            why = "finite and not zero (cost=cosine)" if geometry.cost == "cosine" else "finite"
            raise InvalidInput(
                f"pool vectors must be {why}; drop or repair pool row: "
                f"{int(numbers[int(bad.nonzero()[0])])}"
            )
        self.scale = mean_cost(geometry, rows, weight, self.a)
        self.epsilon = epsilon * self.scale if relative else epsilon
        if not self.epsilon > 0:
            raise InvalidInput(
                "epsilon is relative to a mean cost of zero: every pool vector equals the target; "
                "set relative=False and an absolute epsilon"
            )
        reach = largest_cost(geometry, rows)
        # A logit of this size is off by less than a twentieth after rounding.
        digits = 0.05 / torch.finfo(dtype).eps
        if reach / self.epsilon > digits:
            raise InvalidInput(
                f"epsilon is too small for {dtype}: costs reach {reach:.3g}, so it must be at "
                f"least {reach / digits:.3g}; set a larger epsilon or dtype=float64; found: "
                f"{self.epsilon:.3g}"
            )
        tile = min(tile_rows(len(self.a), rows.device), self.rows)
        self.exact = exact_shortcut(tile, geometry)
        if not self.exact and quick_products_exist(rows.device, dtype):
            lengths = rows.square().sum(1).mean().sqrt() * geometry.squares.mean().sqrt()
            noise = 2 * float(lengths) / self.epsilon * 2**-9 / math.sqrt(rows.shape[1])
            self.rough = noise < 0.1

    def sample(self) -> Sample:
        """Returns the pool sample, made when first asked for."""
        if self._sample is None:
            points = self.geometry.points
            numbers, weight = strata(self.b, self.plan.sample_rows, self.generator)
            raw = gather(self.pool, numbers, points.device, points.dtype)
            self._sample = Sample(
                self.geometry,
                self.geometry.rows(raw),
                weight,
                self.a.log(),
                self.penalties,
                stored=self.plan.stored,
                quick=self.exact or self.rough,
                numbers=numbers,
            )
        return self._sample

    def centred(self, f: Tensor) -> Tensor:
        return f - self.a @ f if self.penalties.balanced else f

    def error(self, p: Tensor, f: Tensor) -> float:
        return float((p - self.penalties.wanted(self.a, f)).abs().sum())

    def look(
        self,
        f: Tensor,
        rough: bool,
        progress: Progress | None,
        known: float,
        skip: int = 0,
        kept: tuple[Tensor, Tensor] | None = None,
    ) -> Visit:
        """Returns a visit of the pool from row `skip` on."""
        before, count = self.passes, self.rows - skip

        def tick(share: float) -> None:
            if progress is not None:
                progress(before + share * count / self.rows, known)

        weight = self.b[skip:] / self.b[skip:].sum() if skip else self.b
        found = visit(
            self.geometry,
            self.pool[skip:] if skip else self.pool,
            weight,
            f,
            self.a.log(),
            self.epsilon,
            pool_penalty=self.penalties.pool,
            quick=self.exact or rough,
            certify=not rough,
            kept=kept,
            progress=tick,
        )
        self.seen += count
        self.full += skip == 0
        return found

    def dense(
        self, start: Tensor | None, tolerance: float, progress: Progress | None
    ) -> tuple[Tensor, Visit, bool]:
        """Returns (f, visit, converged) where the sample is the whole pool."""
        sample = self.sample()
        # Below, as streamed solves end below: their last correction overshoots the tolerance too.
        goal = 0.5 * tolerance
        if start is None:
            f, _, known = anneal(
                sample, torch.zeros_like(self.a), self.a, self.epsilon, self.scale, goal
            )
        else:
            f, _, known = refine(sample, start, self.a, self.epsilon, goal, sweeps=5, steps=30)
        f = self.centred(f)
        last = self.look(f, False, progress, known, kept=sample.kept)
        return f, last, self.error(last.marginal, f) <= tolerance

    def streamed(
        self,
        start: Tensor | None,
        previous: Transport | None,
        tolerance: float,
        max_passes: int,
        progress: Progress | None,
    ) -> tuple[Tensor, Visit, bool]:
        """Returns (f, visit, converged) for a pool of which only a sample is kept."""
        if start is None:
            sample = self.sample()
            zero = torch.zeros_like(self.a)
            f, _, _ = anneal(sample, zero, self.a, self.epsilon, self.scale, 0.5 * tolerance)
        else:
            f = start
        f = self.centred(f)
        rough, known, rate, best = self.rough and start is None, math.inf, CONTRACTION, math.inf
        kept_f, kept_p, lowest, lowest_f, stalled = f, self.a, math.inf, f, 0
        trail: list[tuple[Tensor, Tensor]] = []  # (f, its correction), for the extrapolation
        grown = None if previous is None else self._grown(previous, f, progress)
        last_turn = max_passes - 1 + (grown is not None)
        for turn in range(last_turn + 1):
            if grown is not None and turn == 0:
                last, exact, final = grown, True, False
            else:
                # Three visits without a new lowest error: float32 has no more to give.
                final = turn == last_turn or stalled >= 3
                f = lowest_f if stalled >= 3 else f
                exact = not rough or final
                last = self.look(f, not exact, progress, known)
            before, known = known, self.error(last.marginal, f)
            if progress is not None:
                progress(self.passes, known)
            log.info("transport pass %d: target error %.2e", turn + 1, known)
            if exact and (known <= tolerance or final):
                return f, last, known <= tolerance
            stalled = 0 if known < 0.9 * lowest else stalled + 1
            if known < lowest:
                lowest, lowest_f = known, f
            if known < 0.9 * best:
                best, kept_f, kept_p = known, f, last.marginal
                asked = self._corrected(f, last.marginal, max(0.03 * known, 0.1 * tolerance))
                trail = [*trail[-3:], (f, self.centred(asked) - f)]
                f = _extrapolated(trail, self.a)
            else:  # the sample misleads here: a Sinkhorn step from the best so far always helps
                f = sinkhorn_step(kept_f, kept_p, self.a, self.epsilon, self.penalties)
                kept_f, best, trail = f, math.inf, []
            f = self.centred(f)
            if math.isfinite(before):
                rate = min(1.0, known / before)
            rough = self.rough and known * rate > tolerance and turn < last_turn - 1
        raise AssertionError("unreachable: the last turn returns")

    def _corrected(self, f: Tensor, p: Tensor, tolerance: float) -> Tensor:
        """Returns f moved so that the pool's marginal comes to a, by the sample's curvature."""
        sample = self.sample()
        ratio = p.clamp_min(FLOOR) / sample.marginal(f, self.epsilon).clamp_min(FLOOR)
        asked = self.a / ratio.clamp(1e-3, 1e3)
        if self.penalties.balanced:
            asked = asked / asked.sum()
        return refine(sample, f, asked, self.epsilon, tolerance, sweeps=0, steps=4)[0]

    def _grown(self, previous: Transport, f: Tensor, progress: Progress | None) -> Visit | None:
        """Returns the visit of a grown pool from its new rows alone, if the old sums still hold."""
        old = len(previous.g)
        uniform = not (self.weighted or previous.weighted)
        same = math.isclose(previous.epsilon, self.epsilon, rel_tol=1e-9)
        sums = previous.evidence
        if not (old < self.rows and uniform and same and self.penalties.balanced) or (
            previous.cost != self.geometry.cost or len(sums.gain) != len(self.a)
        ):
            return None
        self._refuse_other_rows(previous, f)
        new, share = self.look(f, False, progress, math.inf, skip=old), old / self.rows

        def mixed(first: Tensor, second: Tensor) -> Tensor:
            return share * first.to(second.device) + (1 - share) * second

        return Visit(
            torch.cat([sums.g.to(new.g.device), new.g]),
            mixed(sums.marginal, new.marginal),
            share * sums.pool_error + (1 - share) * new.pool_error,
            mixed(sums.cost, new.cost),
            mixed(sums.gain, new.gain),
            mixed(sums.tilt, new.tilt),
            1.0,
            0.0,
        )

    def _refuse_other_rows(self, previous: Transport, f: Tensor) -> None:
        """Raises if a few of the pool's first rows do not have the potentials `previous` gave them."""
        old = len(previous.g)
        numbers = torch.linspace(0, old - 1, min(old, 64), dtype=torch.float64).long()
        points = self.geometry.points
        some = gather(self.pool, numbers, points.device, points.dtype)
        weight = self.b.new_full((len(some),), 1 / len(some))
        g = visit(self.geometry, some, weight, f, self.a.log(), self.epsilon, certify=False).g
        away = (g - previous.g[numbers.to(previous.g.device)].to(g.device)).abs()
        if float(away.max()) > 1e-3 * self.scale:
            raise InvalidInput(
                "grown=True needs the rows of the earlier result first and the same target; set "
                f"grown=False; pool row: {int(numbers[int(away.argmax())])}"
            )

    def result(self, f: Tensor, last: Visit, done: bool, tolerance: float) -> Transport:
        """Returns the record of what was found."""
        dual = dual_value(last, f, self.a, self.b, self.epsilon, self.penalties)
        primal = primal_value(last, self.geometry, f, self.a, self.epsilon, self.penalties)
        if not done:
            log.warning("transport did not reach its tolerance %g", tolerance)
        return Transport(
            f=f,
            g=last.g,
            converged=done,
            target_error=self.error(last.marginal, f),
            pool_error=last.pool_error,
            primal=primal,
            dual=dual,
            gap=primal - dual,
            epsilon=self.epsilon,
            scale=self.scale,
            tolerance=tolerance,
            cost=self.geometry.cost,
            penalties=self.penalties,
            passes=self.passes,
            full_passes=self.full,
            seconds=0.0,
            dtype=self.geometry.points.dtype,
            regime=self.plan.regime,
            target_marginal=last.marginal,
            weighted=self.weighted,
            evidence=last,
        )


def _extrapolated(trail: list[tuple[Tensor, Tensor]], a: Tensor) -> Tensor:
    """Returns the next f by Anderson's mixing of the corrections so far.

    The sample's curvature is not quite the pool's: what one correction leaves, the next one leaves
    again in the same proportion. The affine combination of all (f, correction) whose correction is
    smallest, in the norm weighted by a, takes that out (Walker and Ni 2011, eq. 2.1).
    """
    f, move = trail[-1]
    if len(trail) == 1:
        return f + move
    weight = a.sqrt()
    moves = torch.stack([move - other for _, other in trail[:-1]], 1)
    places = torch.stack([f - other for other, _ in trail[:-1]], 1)
    left, right = (moves * weight[:, None]).cpu().numpy(), (move * weight).cpu().numpy()
    mix = torch.as_tensor(np.linalg.lstsq(left, right, rcond=None)[0]).to(f.device)
    return f + move - (places + moves) @ mix


def _place(pool: Array) -> torch.device:
    return pool.device if isinstance(pool, Tensor) else torch.device("cpu")


def _first(start: Transport | Array | None, kept: Tensor, place: torch.device) -> Tensor | None:
    if start is None:
        return None
    values = start.f if isinstance(start, Transport) else start
    f = torch.as_tensor(values).to(device=place, dtype=torch.float64)
    if f.shape != kept.shape or not bool(torch.isfinite(f).all()):
        raise InvalidInput(
            f"start must hold one finite value a target, {len(kept)}: {tuple(f.shape)}"
        )
    return f[kept]


def _spread(found: Transport, kept: Tensor, begin: float) -> Transport:
    """Returns the result with targets without mass put back (f = 0, marginal 0), and its time."""
    seconds = time.perf_counter() - begin
    if bool(kept.all()):
        return replace(found, seconds=seconds)
    f = torch.zeros(len(kept), dtype=torch.float64, device=found.f.device)
    p = torch.zeros_like(f)
    f[kept], p[kept] = found.f, found.target_marginal
    return replace(found, f=f, target_marginal=p, seconds=seconds)


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
