"""Sinkhorn as GOT-D's released code ran it: momentum, a loose stopping rule, no polishing."""

import logging
import math
import time

import torch
from torch import Tensor

from shortlist.errors import InvalidInput
from shortlist.vectors import Array, check_pair, float32_products, read_rows

from .certificate import dual_value, primal_value
from .checking import pool_misfit
from .costs import Geometry
from .inputs import masses
from .problem import Progress
from .result import Transport
from .sample import Penalties
from .scale import measure_costs
from .stream import exact_shortcut, visit

log = logging.getLogger(__name__)


@float32_products()
def released_sinkhorn(
    pool: Array,
    target: Array,
    *,
    epsilon: float,
    momentum: float,
    threshold: float,
    max_iterations: int,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
    progress: Progress | None = None,
) -> Transport:
    """Returns the potentials at which plain Sinkhorn with momentum stops, converged or not.

    From f = g = 0, over the whole pool: g <- (1 - w) g + w T(f), then f <- (1 - w) f + w T(g), with
    momentum w and c-transform T, until the L1 error of the pool marginal is within `threshold`.
    Squared Euclidean cost, absolute epsilon, uniform masses. Both half-steps share one visit of
    the pool, so that an iteration costs half of what it does elsewhere; the iterates are the same.

    `pool_error` is the released stopping statistic; `target_error`, `primal` and `dual` are those
    of (f, T(f)). f is not shifted, as the iterates are what this reproduces.

    Args:
        pool: (N, d).
        target: (M, d).
        epsilon: Absolute; released: 0.1.
        momentum: Released: 1.3.
        threshold: Released: 0.1.
        max_iterations: Released: 2000.
        dtype: Arithmetic of the products.
        device: Where to compute; by default where the pool is.
        progress: Called with (iterations so far, last pool error).

    Raises:
        InvalidInput: Vectors or settings that cannot be worked with.

    References:
        Kang et al. 2024, appendix C.3 and the released selection notebook (ott-jax `Sinkhorn`).
    """
    begin = time.perf_counter()
    n, m, _ = check_pair(pool, target)
    if not 0 < epsilon < math.inf or not 0 < momentum < 2 or not threshold > 0:
        raise InvalidInput(
            "epsilon and threshold must be above 0 and momentum between 0 and 2: "
            f"{epsilon}, {threshold}, {momentum}"
        )
    place = pool.device if isinstance(pool, Tensor) else torch.device("cpu")
    place = place if device is None else torch.device(device)
    a, b = masses(None, m, "target masses", place), masses(None, n, "pool masses", place)
    geometry = Geometry.of(read_rows(target, 0, m, place, dtype), "sqeuclidean")
    quick = exact_shortcut(min(1024, n), geometry)
    f, g = torch.zeros_like(a), torch.zeros_like(b)
    error, turn = math.inf, 0
    while True:
        misfit: list[Tensor] = []
        updated = torch.empty_like(g)

        def blend(
            rows: slice,
            h: Tensor,
            old: Tensor = g,
            new: Tensor = updated,
            out: list[Tensor] = misfit,
        ) -> Tensor:
            out.append((b[rows] * torch.expm1((old[rows] - h) / epsilon)).abs().sum())
            new[rows] = (1 - momentum) * old[rows] + momentum * h
            return new[rows]

        found = visit(
            geometry, pool, b, f, a.log(), epsilon, quick=quick, certify=False, adjust=blend
        )
        if turn:  # the iterates of the turn before, seen from this visit
            error = float(torch.stack(misfit).sum())
            if progress is not None:
                progress(turn, error)
        if error <= threshold or turn >= max_iterations:
            break
        f = f + momentum * epsilon * (a.log() - found.log_marginal)
        g, turn = updated, turn + 1
    last = visit(geometry, pool, b, f, a.log(), epsilon, quick=quick)
    penalties = Penalties()
    dual = dual_value(last, f, a, b, epsilon, penalties)
    primal = primal_value(last, geometry, f, a, epsilon, penalties)
    scale = measure_costs(geometry, pool, b, a).mean
    if error > threshold:
        log.warning("released Sinkhorn stopped at max_iterations, pool error %.2e", error)
    worst = pool_misfit(geometry, pool, target, a > 0, b, f, a.log(), g, epsilon, penalties)[1]
    return Transport(
        f=f,
        a=a,
        g=g,
        converged=error <= threshold,
        target_error=float((last.marginal - a).abs().sum()),
        pool_error=error,
        pool_error_worst=worst,
        primal=primal,
        dual=dual,
        gap=primal - dual,
        epsilon=epsilon,
        scale=scale,
        tolerance=threshold,
        cost="sqeuclidean",
        penalties=penalties,
        passes=float(turn + 2),
        full_passes=turn + 2,
        seconds=time.perf_counter() - begin,
        dtype=dtype,
        regime="streamed",
        target_marginal=last.marginal,
    )
