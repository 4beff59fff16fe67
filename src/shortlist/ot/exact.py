"""The exact linear program, for problems that are small enough."""
# The stubs of torch and POT leave these unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false

import math
import time

import numpy as np
import torch
from torch import Tensor

from .costs import Cost, Geometry
from .result import Transport
from .sample import Penalties
from .scale import measure_costs
from .stream import refuse_bad_rows


def solve_exact(
    pool: Tensor, geometry: Geometry, a: Tensor, b: Tensor, tolerance: float, cost: Cost
) -> Transport:
    """Returns exact transport by network simplex (POT), with the canonical pool potential.

    The dual of a linear program is not unique; g_j = min_i C_ij - f_i is taken, the largest
    feasible one, so that unseen candidates are scored by the same formula (`c_transform` with
    epsilon = 0).

    Args:
        pool: (N, d), float64.
        geometry: Targets, float64.
        a: Target masses, (M,), positive.
        b: Pool masses, (N,).
        tolerance: L1 error of the marginals to count as converged.
        cost: Ground cost.

    References:
        Bonneel et al. 2011, as implemented in POT (`ot.emd`).
    """
    import ot  # POT takes half a second to import and only this regime needs it

    begin = time.perf_counter()
    rows = geometry.rows(pool)
    offset = geometry.offset(rows)
    part = geometry.part(rows, rows.new_empty(len(rows), len(a)))
    matrix = (part + offset[:, None]).clamp_min(0)
    refuse_bad_rows(matrix.sum(1), 0, cost)
    plan, log = ot.emd(
        np.ascontiguousarray(b.numpy()),
        np.ascontiguousarray(a.numpy()),
        matrix.numpy(),
        numItermax=10**7,
        log=True,
    )
    f = torch.from_numpy(np.asarray(log["v"], dtype=np.float64))
    f = f - a @ f
    g = (matrix - f).amin(1)
    coupling = torch.from_numpy(np.asarray(plan, dtype=np.float64))
    target_error = float((coupling.sum(0) - a).abs().sum())
    pool_error = float((coupling.sum(1) - b).abs().sum())
    primal, dual = float((coupling * matrix).sum()), float(a @ f + b @ g)
    done = log["warning"] is None and max(target_error, pool_error) <= max(tolerance, 1e-9)
    return Transport(
        f=f,
        a=a,
        g=g,
        converged=done,
        target_error=target_error,
        pool_error=pool_error,
        pool_error_worst=float((coupling.sum(1)[b > 0] / b[b > 0] - 1).abs().max()),
        primal=primal,
        dual=dual,
        gap=primal - dual,
        epsilon=0.0,
        scale=measure_costs(geometry, pool, b, a).mean,
        tolerance=tolerance,
        cost=cost,
        penalties=Penalties(math.inf, math.inf),
        passes=1.0,
        full_passes=1,
        seconds=time.perf_counter() - begin,
        dtype=torch.float64,
        regime="exact",
        target_marginal=coupling.sum(0),
    )
