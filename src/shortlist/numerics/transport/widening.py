"""A part of the pool visited before all of it, where that saves a pass over all of it."""

import logging
import math

from torch import Tensor

from .inputs import strata
from .problem import Problem, Progress

log = logging.getLogger(__name__)

AIM = 0.8  # of the tolerance: the error that is foreseen is a mean, and the pool's may be above it
CURVATURE = 1.3  # error left by a correction, over the product of both errors (seen: 1.1 to 1.5)
SHARES = tuple(share / 20 for share in range(1, 13))  # of the pool, that may be visited ahead


def widened(
    problem: Problem, f: Tensor, p: Tensor, tolerance: float, progress: Progress | None
) -> Tensor | None:
    """Returns the marginal at f of a part of the pool, or None where visiting one saves nothing.

    f meets the sample's marginal p; the pool's differs by sampling noise, which the sample itself
    tells (`Sample.noise`). Noise falls as the root of the rows: a correction against a part of the
    pool may leave the first full pass within the tolerance, which then is the last.
    """
    sample, pool = problem.sample(), problem.rows
    rows = 1 / float(sample.b.square().sum())  # as many as would have this noise, were they equal
    wanted = float(problem.penalties.wanted(problem.a, f).sum())
    noise = sample.noise(p) * float(p.sum()) / wanted
    share = share_ahead(noise, rows, pool, tolerance)
    if share == 0 or sample.numbers is None:
        return None
    rest = problem.b.clone()
    rest[sample.numbers.to(rest.device)] = 0
    numbers, weight = strata(rest, round(share * pool), problem.generator)
    seen = problem.look(f, problem.rough, progress, math.inf, rows=numbers, weight=weight)
    log.info("transport: %.0f %% of the pool visited ahead", 100 * share)
    own = rows / (rows + len(numbers))
    return own * p + (1 - own) * seen.marginal


def share_ahead(noise: float, sample: float, pool: int, tolerance: float) -> float:
    """Returns which share of the pool to visit ahead for the fewest rows in all; 0 for none.

    Args:
        noise: L1 error of one row's marginal.
        sample: Rows of the sample.
        pool: Rows of the pool.
        tolerance: Error to come to.
    """

    def error(rows: float) -> float:
        return noise * math.sqrt(max(0.0, 1 / rows - 1 / pool))

    first, goal = error(sample), AIM * tolerance
    rate = min(0.9, max(CURVATURE * first, 0.02))

    def passes(left: float) -> int:
        return 1 if left <= goal else 1 + math.ceil(math.log(left / goal) / -math.log(rate))

    costs = {0.0: float(passes(first))}
    for share in SHARES:
        rows = sample + share * pool
        if rows < pool:
            left = math.hypot(error(rows), CURVATURE * first**2)
            costs[share] = share + passes(left)
    return min(costs, key=lambda share: (costs[share], share))
