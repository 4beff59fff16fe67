"""The mean cost between two corpora: what a relative epsilon is relative to."""
# The stubs of torch leave these unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import math
from dataclasses import dataclass

import torch

from shortlist.vectors import (
    Array,
    check_pair,
    float32_products,
    gather_rows,
    read_rows,
    rows_per_block,
)

from .costs import Cost, Geometry
from .inputs import masses, strata
from .stream import refuse_bad_rows

PAIRED_ROWS = 16384  # rows that the mean Euclidean cost is taken over
READ_ENTRIES = 2**22  # of the pool at a time: 16 MB in float32


@dataclass(frozen=True)
class CostScale:
    """What one reading of the pool tells about its costs, before any product with the targets.

    Attributes:
        mean: sum_ij a_i b_j C_ij.
        largest: Upper bound of the costs.
        length: Root mean square of the lengths of the prepared rows.
    """

    mean: float
    largest: float
    length: float


def measure_costs(geometry: Geometry, pool: Array, b: torch.Tensor, a: torch.Tensor) -> CostScale:
    """Returns the scale of the costs between `pool` (N, d), masses b, and the targets, masses a.

    Squared Euclidean and cosine need the pool's mean vector and mean squared length only: exact,
    in float64, whatever the order of the pool or its shards.

    Deviation: the Euclidean cost would need every pair. Its mean is taken over `PAIRED_ROWS` rows,
    the middles of strata of equal mass in the order of the pool, where there are more; two orders
    of one pool then give epsilons that differ in the third or fourth digit.

    Raises:
        InvalidInput: A pool row that is not finite (or zero, under the cosine cost), by number.
    """
    device, dtype = geometry.points.device, geometry.points.dtype
    mean = torch.zeros(geometry.points.shape[1], device=device, dtype=torch.float64)
    square, longest = 0.0, 0.0
    step = max(1, READ_ENTRIES // len(mean))
    for start in range(0, len(pool), step):
        stop = min(start + step, len(pool))
        rows = geometry.rows(read_rows(pool, start, stop, device, dtype))
        squares, weight = torch.linalg.vecdot(rows, rows).double(), b[start:stop]
        refuse_bad_rows(squares, start, geometry.cost)
        mean += weight @ rows.double()
        square += float(weight @ squares)
        longest = max(longest, float(squares.max()))
    length = math.sqrt(square)
    if geometry.cost == "cosine":
        return CostScale(float(1 - mean @ (a @ geometry.points.double())), 2.0, length)
    reach = math.sqrt(longest) + math.sqrt(float(geometry.squares.max()))
    if geometry.cost == "euclidean":
        return CostScale(_mean_of_pairs(geometry, pool, b, a), reach, length)
    middle = a @ geometry.points.double()
    found = square + float(a @ geometry.squares.double()) - 2 * float(mean @ middle)
    return CostScale(found, reach**2, length)


def scale_of(pool: Array, target: Array, *, cost: Cost = "sqeuclidean") -> float:
    """Returns the mean cost between `pool` (N, d) and `target` (M, d), uniform masses.

    It is the `scale` of a `solve` at uniform masses; `measure_costs` says how it is taken.

    Raises:
        InvalidInput: Vectors that do not go together or cannot be worked with, by name.
    """
    n, m, _ = check_pair(pool, target)
    place = torch.device("cpu")
    a, b = masses(None, m, "target masses", place), masses(None, n, "pool masses", place)
    with float32_products():
        geometry = Geometry.of(read_rows(target, 0, m, place, torch.float32), cost)
        return measure_costs(geometry, pool, b, a).mean


def _mean_of_pairs(geometry: Geometry, pool: Array, b: torch.Tensor, a: torch.Tensor) -> float:
    points = geometry.points
    numbers, weight = strata(b, PAIRED_ROWS, None)
    rows = geometry.rows(gather_rows(pool, numbers, points.device, points.dtype))
    total, step = 0.0, rows_per_block(len(points), points.device)
    out = rows.new_empty(min(step, len(rows)), len(points))
    for start in range(0, len(rows), step):
        tile = rows[start : start + step]
        row_means = geometry.part(tile, out[: len(tile)]).double() @ a
        total += float(row_means @ weight[start : start + step])
    return total
