"""What more of one target costs in another: selections that no other one of their size beats."""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Point = tuple[float, float]  # sums of the first and of the second scores


@dataclass(frozen=True)
class Corner:
    """A selection that is best for a range of weights.

    Attributes:
        start: the weight of the second score from which it is the best; `stop` of the corner
            before.
        stop: the weight up to which it is.
        rows: (k,) rows, ascending.
        first: sum of the first scores.
        second: sum of the second scores.
    """

    start: float
    stop: float
    rows: NDArray[np.int64]
    first: float
    second: float


@dataclass(frozen=True)
class Front:
    """The corners of a front, from the best by the first score to the best by the second.

    Attributes:
        corners: the selections.
        complete: whether these are all; otherwise the solves that were allowed ran out.
    """

    corners: tuple[Corner, ...]
    complete: bool


def pareto_front(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    k: int,
    id_words: NDArray[np.uint64],
    most: int,
) -> Front:
    """Returns the k-subsets that maximise (1 - w) sum(first) + w sum(second) for some w in [0, 1].

    These are the corners of the upper right hull of all k-subsets' pairs of sums: no selection of
    the size beats one of them in both. Pareto optimal selections that lie below the hull, best for
    no weight, are not listed. Two neighbouring corners tie at exactly one weight, the breakpoint:
    the slope of the segment between them. A top-k at that weight either finds a selection beyond the
    segment, which is then searched on both its sides, or proves that there is none. Each of v
    corners costs about two top-k selections of n numbers.

    Equal scores go by the other score, then by id.

    Args:
        first: (n,) scores; a row with -inf in either is in no selection.
        second: (n,) scores.
        k: size of the selections, at most the number of rows with finite scores.
        id_words: (n,) 64 bits of each id.
        most: top-k selections to spend at most; the widest gaps come first.

    References:
        Aneja and Nair 1979, "Bicriteria Transportation Problem", section 3.
    """
    rows = np.flatnonzero(np.isfinite(first) & np.isfinite(second))
    rows = rows[np.argsort(id_words[rows], kind="stable")]
    a, b = first[rows], second[rows]

    def best(primary: NDArray[np.float64], ties: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.sort(_top(primary, ties, k))

    ends = [best(a, b), best(b, a)]
    points = [_sums(a, b, chosen) for chosen in ends]
    found = {points[0]: ends[0], points[1]: ends[1]}
    gaps: list[tuple[float, Point, Point]] = []

    def search(left: Point, right: Point) -> None:
        heapq.heappush(gaps, (-(left[0] - right[0]) * (right[1] - left[1]), left, right))

    if points[0] != points[1]:
        search(*points)
    spent = 2
    scale = float(np.abs(a).max(initial=0.0) + np.abs(b).max(initial=0.0)) * k
    while gaps and spent < most:
        _, left, right = heapq.heappop(gaps)  # the largest area between a segment and its corner
        weight = _tie(left, right)
        chosen = best((1 - weight) * a + weight * b, a)
        spent += 1
        point = _sums(a, b, chosen)
        beyond = _along(point, weight) - max(_along(left, weight), _along(right, weight))
        if beyond > 1e-13 * scale and point not in found:
            found[point] = chosen
            search(left, point)
            search(point, right)
    ordered = sorted(found, key=lambda point: (-point[0], point[1]))
    breaks = [0.0, *(_tie(x, y) for x, y in itertools.pairwise(ordered)), 1.0]
    corners = tuple(
        Corner(breaks[i], breaks[i + 1], np.sort(rows[found[point]]), *point)
        for i, point in enumerate(ordered)
    )
    return Front(corners, not gaps)


def _top(primary: NDArray[np.float64], ties: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """Returns the rows of the k largest; equal numbers by `ties`, then in their order."""
    if k >= len(primary):
        return np.arange(len(primary))
    bound = np.partition(primary, len(primary) - k)[len(primary) - k]
    above = np.flatnonzero(primary > bound)
    level = np.flatnonzero(primary == bound)
    level = level[np.argsort(-ties[level], kind="stable")]
    return np.concatenate([above, level[: k - len(above)]])


def _sums(a: NDArray[np.float64], b: NDArray[np.float64], chosen: NDArray[np.int64]) -> Point:
    # Exact sums: equal sets of numbers are equal points, in whatever order they were added.
    return math.fsum(a[chosen].tolist()), math.fsum(b[chosen].tolist())


def _tie(left: Point, right: Point) -> float:
    """Returns the weight of the second score at which both points are worth the same."""
    less, more = left[0] - right[0], right[1] - left[1]
    return less / (less + more)


def _along(point: Point, weight: float) -> float:
    return (1 - weight) * point[0] + weight * point[1]
