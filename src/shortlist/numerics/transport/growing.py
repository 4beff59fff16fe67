"""A pool that grew by a shard: sums over rows add, so that only the new rows need a visit."""

import math

import torch
from torch import Tensor

from shortlist.errors import InvalidInput

from .inputs import gather
from .problem import Problem, Progress
from .result import Transport
from .stream import Visit, visit


def grown_visit(
    problem: Problem, previous: Transport, f: Tensor, progress: Progress | None
) -> Visit | None:
    """Returns the visit of a grown pool from its new rows alone, if the old sums still hold."""
    old = len(previous.g)
    uniform = not (problem.weighted or previous.weighted)
    same = math.isclose(previous.epsilon, problem.epsilon, rel_tol=1e-9)
    sums = previous.evidence
    if not (old < problem.rows and uniform and same and problem.penalties.balanced) or (
        previous.cost != problem.geometry.cost or len(sums.gain) != len(problem.a)
    ):
        return None
    _refuse_other_rows(problem, previous, f)
    new, share = problem.look(f, False, progress, math.inf, skip=old), old / problem.rows

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


def _refuse_other_rows(problem: Problem, previous: Transport, f: Tensor) -> None:
    """Raises if a few of the pool's first rows do not have the potentials `previous` gave them."""
    old = len(previous.g)
    numbers = torch.linspace(0, old - 1, min(old, 64), dtype=torch.float64).long()
    points = problem.geometry.points
    some = gather(problem.pool, numbers, points.device, points.dtype)
    weight = problem.b.new_full((len(some),), 1 / len(some))
    g = visit(problem.geometry, some, weight, f, problem.a.log(), problem.epsilon, certify=False).g
    away = (g - previous.g[numbers.to(previous.g.device)].to(g.device)).abs()
    if float(away.max()) > 1e-3 * problem.scale:
        raise InvalidInput(
            "grown=True needs the rows of the earlier result first and the same target; set "
            f"grown=False; pool row: {int(numbers[int(away.argmax())])}"
        )
