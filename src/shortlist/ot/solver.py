"""One call that checks what came in, chooses the regime, solves, and certifies."""

import logging
import math
import time
from dataclasses import replace

import torch
from torch import Tensor

from shortlist.errors import InvalidInput
from shortlist.vectors import Array, check_pair, float32_products, read_rows

from .costs import Cost, Geometry
from .exact import solve_exact
from .forecasting import forecast
from .inputs import masses
from .polishing import dense, streamed
from .problem import Problem, Progress
from .result import Regime, Transport
from .sample import Penalties
from .words import PLAIN, Words

log = logging.getLogger(__name__)


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
    memory_limit: int | None = None,
    time_limit: float | None = None,
    progress: Progress | None = None,
    words: Words = PLAIN,
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
        relative: Whether epsilon and the penalties are multiples of the mean cost, or absolute.
        cost: Ground cost.
        a: Target masses, normalised here; uniform by default.
        b: Pool masses (e.g. `cluster_masses`), normalised here; uniform by default.
        target_penalty: KL penalty rho of the target marginal; infinite: met exactly.
        pool_penalty: Likewise for the pool marginal.
        tolerance: L1 error of the target marginal over the whole pool to stop at, as a share of
            the mass that is wanted there.
        max_passes: Visits of the whole pool at most, where it is streamed. A dense solve multiplies
            once and then works on the costs it keeps, up to 12 Newton steps a level of epsilon.
        start: Warm start, a potential f or an earlier result.
        regime: Overrides the choice of `forecast`.
        dtype: Arithmetic of the products, float32 or float64.
        device: Where to compute; by default where the pool is.
        generator: Draws the sample; without one the middle of every stratum is taken, which a
            pool that repeats itself in step with the strata would defeat.
        stored_bytes: Memory for the costs and the plan that are kept, which decides the sample; by
            default what `forecast` says.
        memory_limit: Bytes that may be used; by default four fifths of what is free.
        time_limit: Seconds that the forecast may come to.
        progress: Called with (passes so far, last target error).
        words: What the caller calls these settings, for refusals.

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
        words=words,
    )
    log.info(plan.sentence)
    penalties = Penalties(target_penalty, pool_penalty)
    if plan.regime == "exact":
        if not penalties.balanced:
            raise InvalidInput(
                f"the exact regime meets both marginals; set {words.epsilon} above 0 for penalties"
            )
        geometry = Geometry.of(read_rows(target, 0, m, torch.device("cpu"), torch.float64), cost)
        rows = read_rows(pool, 0, n, torch.device("cpu"), torch.float64)
        found = solve_exact(
            rows, geometry.keep(kept.cpu()), weight_a[kept].cpu(), weight_b.cpu(), tolerance, cost
        )
        return _spread(found, kept.cpu(), begin)
    geometry = Geometry.of(read_rows(target, 0, m, place, dtype), cost).keep(kept)
    problem = Problem(
        pool,
        target,
        kept,
        geometry,
        weight_a[kept],
        weight_b,
        penalties,
        plan,
        generator,
        words,
    )
    problem.measure(epsilon, relative)
    first = _first(start, kept, place)
    if plan.regime == "dense":
        f, last = dense(problem, first, tolerance, progress)
    else:
        f, last = streamed(problem, first, tolerance, max_passes, progress)
    return _spread(problem.result(f, last, tolerance), kept, begin)


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
    a = torch.zeros_like(f)
    f[kept], a[kept], p[kept] = found.f, found.a, found.target_marginal
    return replace(found, f=f, a=a, target_marginal=p, seconds=seconds)


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
