"""How well the pool's marginal is really met: potentials against costs in float64, on some rows."""

import math

import torch
from torch import Tensor

from shortlist.vectors import Array, gather_rows, read_rows

from .costs import Geometry
from .inputs import strata
from .sample import Penalties

CHECKED_ROWS = 512
CHECKED_ENTRIES = 2**21  # costs at a time: 16 MB in float64


def pool_misfit(
    geometry: Geometry,
    pool: Array,
    target: Array,
    kept: Tensor,
    b: Tensor,
    f: Tensor,
    log_a: Tensor,
    g: Tensor,
    epsilon: float,
    penalties: Penalties,
) -> tuple[float, float]:
    """Returns (mean, largest) relative error of the rows' masses at (f, g).

    Row j of the plan weighs b_j exp((g_j - h_j) / epsilon), h the exact c-transform of f, and
    should weigh b_j (b_j exp(-g_j / rho) where that marginal is penalised). h is taken anew from
    the vectors as they are stored, in float64: rounding of costs, of the softmax and of g itself,
    which cancels where one and the same tile is summed again, shows. Rows are the middles of
    `CHECKED_ROWS` strata of equal mass: the mean estimates the pool's L1 error, the largest is of
    the rows looked at.
    """
    device, double = geometry.points.device, torch.float64
    exact = Geometry.of(read_rows(target, 0, len(target), device, double), geometry.cost).keep(kept)
    numbers, weight = strata(b, CHECKED_ROWS, None)
    step = max(1, CHECKED_ENTRIES // len(f))
    errors: list[Tensor] = []
    wanted: list[Tensor] = []
    for start in range(0, len(numbers), step):
        part = numbers[start : start + step]
        rows = exact.rows(gather_rows(pool, part, device, double))
        logits = exact.part(rows, rows.new_empty(len(rows), len(f))).neg_().add_(f).div_(epsilon)
        h = exact.offset(rows) - epsilon * torch.logsumexp(logits.add_(log_a), 1)
        found = g[part.to(device)]
        rho = penalties.pool
        wanted.append(torch.ones_like(found) if math.isinf(rho) else (-found / rho).exp())
        errors.append((((found - h) / epsilon).exp() - wanted[-1]).abs())
    error, full = torch.cat(errors), torch.cat(wanted)
    return float(weight @ error / (weight @ full)), float((error / full).max())
