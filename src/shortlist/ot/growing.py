"""A pool that grew by a shard: sums over rows add, so that only the new rows need a visit."""

import math

import torch
from torch import Tensor

from shortlist.errors import InvalidInput

from .earlier import Earlier
from .inputs import gather
from .problem import Problem, Progress
from .stream import Visit, visit

LOOKED_AT = 64  # old rows whose potentials are computed again
ROUNDINGS = 32  # that two computations of one potential may differ by


def grown_visit(
    problem: Problem, earlier: Earlier, f: Tensor, progress: Progress | None
) -> Visit | None:
    """Returns the visit of a grown pool from its new rows alone, if the old sums still hold.

    Raises:
        InvalidInput: The earlier solve was one of other rows, targets, target masses or costs.
    """
    sums, old = earlier.sums, len(earlier.rows)
    _refuse_others(problem, earlier, f)
    new = torch.ones(problem.rows, dtype=torch.bool)
    new[earlier.rows] = False
    plain = earlier.plain and problem.penalties.balanced and not problem.weighted
    if not (plain and earlier.epsilon == problem.epsilon and len(sums.gain) and bool(new.any())):
        return None
    numbers, share = new.nonzero().flatten(), old / problem.rows
    found = problem.look(f, False, progress, math.inf, rows=numbers)

    def mixed(first: Tensor, second: Tensor) -> Tensor:
        return share * first.to(second.device) + (1 - share) * second

    g = torch.empty(problem.rows, dtype=torch.float64, device=found.g.device)
    g[earlier.rows.to(g.device)], g[numbers.to(g.device)] = sums.g.to(g.device), found.g
    return Visit(
        g,
        mixed(sums.marginal, found.marginal),
        share * sums.pool_error + (1 - share) * found.pool_error,
        mixed(sums.cost, found.cost),
        mixed(sums.gain, found.gain),
        mixed(sums.tilt, found.tilt),
        1.0,
        0.0,
    )


def _refuse_others(problem: Problem, earlier: Earlier, f: Tensor) -> None:
    """Raises unless masses and cost are the earlier ones and a few old rows have their potentials."""
    sums, a = earlier.sums, earlier.a.to(problem.a.device)
    same = len(sums.marginal) == len(problem.a) and torch.allclose(
        a[a > 0], problem.a, rtol=1e-9, atol=0.0
    )
    if not same or earlier.cost != problem.geometry.cost:
        raise InvalidInput(
            "a grown pool needs the targets, target masses and cost of the earlier solve; solve it "
            f"without the earlier one; targets: {len(problem.a)}, earlier: {len(sums.marginal)}"
        )
    old = len(earlier.rows)
    places = torch.linspace(0, old - 1, min(old, LOOKED_AT), dtype=torch.float64).long()
    numbers, order = earlier.rows[places].sort()
    points = problem.geometry.points
    some = gather(problem.pool, numbers, points.device, points.dtype)
    weight = problem.b.new_full((len(some),), 1 / len(some))
    found = visit(
        problem.geometry,
        some,
        weight,
        f,
        problem.a.log(),
        earlier.epsilon,
        pool_penalty=problem.penalties.pool,
        certify=False,
    )
    away = (found.g - sums.g[places[order].to(sums.g.device)].to(found.g.device)).abs()
    if float(away.max()) > ROUNDINGS * problem.rounding:
        raise InvalidInput(
            "a grown pool needs the rows of the earlier solve with the vectors they had, and the "
            "same targets; solve it without the earlier one; pool row: "
            f"{int(numbers[int(away.argmax())])}"
        )
