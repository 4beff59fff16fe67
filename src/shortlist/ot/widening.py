"""More rows before the first full pass: a larger sample, or a part of the pool visited ahead."""

import logging
import math

from torch import Tensor

from .inputs import strata
from .newton import refine
from .problem import Problem, Progress

log = logging.getLogger(__name__)

CURVATURE = 1.3  # error left by a correction, over the product of both errors (seen: 1.1 to 1.5)
COARSE = 0.1  # error foreseen of a sample's f over the pool, from which a larger sample is worth it
SHARES = tuple(share / 40 for share in range(1, 25))  # of the pool, that may be visited ahead


def finer(problem: Problem, f: Tensor, p: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """Returns (f, marginal on the sample), on a larger sample where the first one is too coarse.

    At a small epsilon a target is served by few rows of the pool, and fewer of the sample: its
    curvature then says little of the pool's, and corrections by it hardly help.
    """
    most, size = problem.plan.sample_most, len(problem.sample().rows)
    rows = 1 / float(problem.sample().b.square().sum())
    foreseen = _relative_noise(problem, f, p) * math.sqrt(max(0.0, 1 / rows - 1 / problem.rows))
    if foreseen <= COARSE or most < 1.5 * size:
        return f, p
    log.info("transport: the sample is made larger, %s rows", f"{most:,}")
    f, p, _ = refine(
        problem.enlarge(most), f, problem.a, problem.epsilon, 0.5 * tolerance, sweeps=10
    )
    return f, p


def _relative_noise(problem: Problem, f: Tensor, p: Tensor) -> float:
    wanted = float(problem.penalties.wanted(problem.a, f).sum())
    return problem.sample().noise(p) * float(p.sum()) / wanted


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
    goal = tolerance * aim(len(p))
    share = share_ahead(_relative_noise(problem, f, p), rows, pool, goal)
    if share == 0 or sample.numbers is None:
        return None
    rest = problem.b.clone()
    rest[sample.numbers.to(rest.device)] = 0
    numbers, weight = strata(rest, round(share * pool), problem.generator)
    seen = problem.look(f, problem.rough, progress, math.inf, rows=numbers, weight=weight)
    log.info("transport: %.0f %% of the pool visited ahead", 100 * share)
    own = rows / (rows + len(numbers))
    return own * p + (1 - own) * seen.marginal


def aim(targets: int) -> float:
    """Returns the share of a tolerance to aim at with an error that is foreseen.

    A fifth is for what the model of it leaves out (seen: up to 6 %) and so that the top of the
    ranking is right to 99 % too (200,000 x 2,000 at 5 %), the rest twice its
    spread: a sum of so many absolute normal errors varies by 0.75 / sqrt(M) of itself.
    """
    return max(0.5, 0.8 - 1.5 / math.sqrt(targets))


def share_ahead(noise: float, sample: float, pool: int, goal: float) -> float:
    """Returns which share of the pool to visit ahead for the fewest rows in all; 0 for none.

    Args:
        noise: L1 error of one row's marginal.
        sample: Rows of the sample.
        pool: Rows of the pool.
        goal: Error to come to.
    """

    def error(rows: float) -> float:
        return noise * math.sqrt(max(0.0, 1 / rows - 1 / pool))

    first = error(sample)
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
