"""Reference solvers: the exact linear program, and Sinkhorn as GOT-D's released code runs it."""
# The stubs of POT leave these unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportMissingTypeStubs=false

import logging
import math
import time

import numpy as np
import torch
from torch import Tensor

from shortlist.errors import InvalidInput
from shortlist.vectors import Array, check_pair, device_of, float32_products, read_rows

from .certificate import Transport, dual_value, pool_marginal_error, primal_value
from .problem import (
    Geometry,
    Penalties,
    cost_statistics,
    normalized_masses,
    refuse_bad_rows,
)
from .stream import fast_blocks_exact, pool_pass

log = logging.getLogger(__name__)


def solve_exact(
    pool: Tensor, geometry: Geometry, a: Tensor, b: Tensor, tolerance: float
) -> Transport:
    """Returns exact transport by network simplex (POT), with the canonical pool potential.

    The dual of a linear program is not unique; g_j = min_i C_ij - f_i is taken, the largest
    feasible one, so that unseen candidates are scored by the same formula (`CTransform` with
    epsilon = 0).

    Args:
        pool: (N, d), float64.
        geometry: Targets, float64.
        a: (M,) target masses, positive.
        b: (N,) pool masses.
        tolerance: L1 error of the marginals to count as converged.

    References:
        Bonneel et al. 2011, as implemented in POT (`ot.emd`).
    """
    import ot  # POT takes half a second to import and only this regime needs it

    begin = time.perf_counter()
    costs = geometry.costs(pool)
    refuse_bad_rows(costs.sum(1), 0, geometry.cost)
    plan, facts = ot.emd(
        np.ascontiguousarray(b.numpy()),
        np.ascontiguousarray(a.numpy()),
        costs.numpy(),
        numItermax=10**7,
        log=True,
    )
    f = torch.from_numpy(np.asarray(facts["v"], dtype=np.float64))
    f = f - a @ f
    g = (costs - f).amin(1)
    coupling = torch.from_numpy(np.asarray(plan, dtype=np.float64))
    target_error = float((coupling.sum(0) - a).abs().sum())
    pool_error = float((coupling.sum(1) - b).abs().sum())
    error = max(target_error, pool_error)
    return Transport(
        f=f,
        a=a,
        g=g,
        converged=facts["warning"] is None and error <= max(tolerance, 1e-9),
        target_error=target_error,
        pool_error=pool_error,
        pool_error_worst=float((coupling.sum(1)[b > 0] / b[b > 0] - 1).abs().max()),
        primal=float((coupling * costs).sum()),
        dual=float(a @ f + b @ g),
        epsilon=0.0,
        mean_cost=cost_statistics(geometry, pool, b, a).mean,
        tolerance=tolerance,
        cost=geometry.cost,
        penalties=Penalties(),
        passes=1.0,
        full_passes=1,
        seconds=time.perf_counter() - begin,
        dtype=torch.float64,
        regime="exact",
        target_marginal=coupling.sum(0),
    )


@float32_products()
def released_sinkhorn(
    pool: Array,
    target: Array,
    *,
    epsilon: float,
    momentum: float,
    threshold: float,
    max_iterations: int,
    device: torch.device | str | None = None,
) -> Transport:
    """Returns the potentials at which plain Sinkhorn with momentum stops, converged or not.

    From f = g = 0, over the whole pool: g <- (1 - w) g + w T(f), then f <- (1 - w) f + w T(g), with
    momentum w and c-transform T, until the L1 error of the pool marginal is within `threshold`.
    Squared Euclidean cost, absolute epsilon, uniform masses. Both half-steps share one pass over
    the pool, so that an iteration costs half of what it does elsewhere; the iterates are the same.

    `pool_error` is the released stopping statistic; `target_error`, `primal` and `dual` are those
    of (f, T(f)). f is not shifted, to reproduce the released iterates.

    Args:
        pool: (N, d).
        target: (M, d).
        epsilon: Absolute; released: 0.1.
        momentum: Released: 1.3.
        threshold: Released: 0.1.
        max_iterations: Released: 2000.
        device: Where to compute; by default where the pool is.

    Raises:
        InvalidInput: Vectors or settings that cannot be used.

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
    place = device_of(pool, device)
    a = normalized_masses(None, m, "target masses", place)
    b = normalized_masses(None, n, "pool masses", place)
    geometry = Geometry.of(read_rows(target, slice(m), place, torch.float32), "sqeuclidean")
    fast = fast_blocks_exact(min(1024, n), geometry)
    f, g = torch.zeros_like(a), torch.zeros_like(b)
    error, iteration = math.inf, 0
    while True:
        block_errors: list[Tensor] = []
        updated = torch.empty_like(g)

        def update(
            rows: slice,
            h: Tensor,
            old: Tensor = g,
            new: Tensor = updated,
            errors: list[Tensor] = block_errors,
        ) -> Tensor:
            errors.append((b[rows] * torch.expm1((old[rows] - h) / epsilon)).abs().sum())
            new[rows] = (1 - momentum) * old[rows] + momentum * h
            return new[rows]

        sums = pool_pass(
            geometry, pool, b, f, a.log(), epsilon, fast=fast, certify=False, update_g=update
        )
        if iteration:  # the pool error of the previous iterates, which this pass computes
            error = float(torch.stack(block_errors).sum())
        if error <= threshold or iteration >= max_iterations:
            break
        f = f + momentum * epsilon * (a.log() - sums.log_target_marginal)
        g, iteration = updated, iteration + 1
    last = pool_pass(geometry, pool, b, f, a.log(), epsilon, fast=fast)
    penalties = Penalties()
    if error > threshold:
        log.warning("released Sinkhorn stopped at max_iterations, pool error %.2e", error)
    worst = pool_marginal_error(
        geometry, pool, target, a > 0, b, f, a.log(), g, epsilon, penalties
    )[1]
    return Transport(
        f=f,
        a=a,
        g=g,
        converged=error <= threshold,
        target_error=float((last.target_marginal - a).abs().sum()),
        pool_error=error,
        pool_error_worst=worst,
        primal=primal_value(last, geometry, f, a, epsilon, penalties),
        dual=dual_value(last, f, a, b, epsilon, penalties),
        epsilon=epsilon,
        mean_cost=cost_statistics(geometry, pool, b, a).mean,
        tolerance=threshold,
        cost="sqeuclidean",
        penalties=penalties,
        passes=float(iteration + 2),
        full_passes=iteration + 2,
        seconds=time.perf_counter() - begin,
        dtype=torch.float32,
        regime="streamed",
        target_marginal=last.target_marginal,
    )
