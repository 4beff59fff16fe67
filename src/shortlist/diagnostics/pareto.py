"""Pareto front between two targets: selections that none of their size beats in both."""

import heapq
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shortlist.selectors.base import fill_worst_rank

READ = 2e8  # numbers that all top-k selections of a front read together: a few seconds
MIN_SOLVES, MAX_SOLVES = 100, 4000  # top-k selections of a front, whatever the size of the pool
RECORDED = 33  # points that a record holds; `pareto.csv` holds all

Sums = tuple[float, float]  # sums of the first and of the second scores of a selection


@dataclass(frozen=True)
class ParetoPoint:
    """A selection that maximises the weighted sum of both scores for a range of weights.

    Attributes:
        start: smallest weight of the second score at which the selection is optimal; equals `stop`
            of the preceding point.
        stop: largest such weight.
        rows: (k,) selected rows, ascending.
        first: sum of the first scores.
        second: sum of the second scores.
    """

    start: float
    stop: float
    rows: NDArray[np.int64]
    first: float
    second: float


@dataclass(frozen=True)
class ParetoFront:
    """The points of a front, from the best by the first score to the best by the second.

    Attributes:
        points: the selections.
        complete: False where the allowed number of solves was spent before all points were found.
    """

    points: tuple[ParetoPoint, ...]
    complete: bool


@dataclass(frozen=True)
class TargetFront:
    """The front between two targets, beside the selection that was made.

    Attributes:
        targets: names of the two targets.
        away: those of negative weight, whose scores enter with the opposite sign.
        front: the front of selections of as many documents as the selection has.
        weight: weight of the second target, relative to the absolute weights of both.
        values: mean scores of the selection for the two targets.
    """

    targets: tuple[str, str]
    away: tuple[str, ...]
    front: ParetoFront
    weight: float
    values: tuple[float, float]

    def rows(self) -> list[dict[str, float]]:
        """Returns the rows of `pareto.csv`, one per point.

        `lambda` is the middle of the range of weights of the second target, `value_a` and `value_b`
        are mean scores, `changed` is the share of documents that the best selection for the first
        target alone does not contain.
        """
        start = self.front.points[0].rows
        k = len(start)
        return [
            {
                "lambda": (point.start + point.stop) / 2,
                "lambda_from": point.start,
                "lambda_to": point.stop,
                "value_a": point.first / k,
                "value_b": point.second / k,
                "changed": int((~np.isin(point.rows, start, assume_unique=True)).sum()) / k,
            }
            for point in self.front.points
        ]

    def facts(self) -> dict[str, Any]:
        """Returns the front as plain data for a record: at most `RECORDED` points, evenly spaced
        along the list.
        """
        rows = self.rows()
        shown = np.unique(np.linspace(0, len(rows) - 1, min(RECORDED, len(rows))).round())
        return {
            "targets": list(self.targets),
            "away": list(self.away),
            "points": [rows[int(at)] for at in shown],
            "of": len(rows),
            "complete": self.front.complete,
            "chosen": {
                "lambda": self.weight,
                "value_a": self.values[0],
                "value_b": self.values[1],
            },
        }


def front_between_targets(
    scores: Mapping[str, NDArray[np.float64]],
    weights: Mapping[str, float],
    selected: NDArray[np.int64],
    id_bits: NDArray[np.uint64],
) -> TargetFront:
    """Returns the front between two targets for selections of as many documents as the one made.

    The scores are those that the weighted sum adds up, so the selection itself is the point whose
    range contains its weight, unless a floor, a random draw or a token budget changed it.

    Args:
        scores: (n,) scores for each of the two targets, by name; documents at -inf are excluded.
        weights: weight of each target; the scores of one with a negative weight are negated, so
            that larger is better on both axes.
        selected: rows of the selection; repeated rows count once.
        id_bits: (n,) 64 bits of each id.
    """
    (a, b), rows = weights, np.unique(selected)
    away = tuple(name for name in (a, b) if weights[name] < 0)
    first, second = (
        np.where(np.isneginf(scores[name]), -np.inf, sign * fill_worst_rank(scores[name]))
        for name, sign in ((a, -1.0 if a in away else 1.0), (b, -1.0 if b in away else 1.0))
    )
    solves = int(min(MAX_SOLVES, max(MIN_SOLVES, READ / len(id_bits))))
    return TargetFront(
        targets=(a, b),
        away=away,
        front=pareto_front(first, second, len(rows), id_bits, solves),
        weight=abs(weights[b]) / sum(abs(weight) for weight in weights.values()),
        values=(float(first[rows].mean()), float(second[rows].mean())),
    )


def pareto_front(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    k: int,
    id_bits: NDArray[np.uint64],
    solves: int,
) -> ParetoFront:
    """Returns the k-subsets that maximise (1 - w) sum(first) + w sum(second) for some w in [0, 1].

    These are the corners of the upper right hull of all k-subsets' pairs of sums: no selection of
    the same size is better in both. Pareto-optimal selections that lie below the hull, optimal for
    no weight, are not listed. Two neighbouring corners tie at exactly one weight, the breakpoint:
    the slope of the segment between them. A top-k selection at that weight either finds a corner
    beyond the segment, and both of its sides are searched in turn, or proves that there is none.
    Each of v corners costs about two top-k selections of n numbers.

    Equal scores are ordered by the other score, then by id.

    Args:
        first: (n,) scores; a row at -inf in either is in no selection.
        second: (n,) scores.
        k: size of the selections, at most the number of rows with finite scores.
        id_bits: (n,) 64 bits of each id.
        solves: largest number of top-k selections; the widest gaps are searched first.

    References:
        Aneja and Nair 1979, "Bicriteria Transportation Problem", section 3.
    """
    rows = np.flatnonzero(np.isfinite(first) & np.isfinite(second))
    rows = rows[np.argsort(id_bits[rows], kind="stable")]
    a, b = first[rows], second[rows]

    def best(primary: NDArray[np.float64], ties: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.sort(_top(primary, ties, k))

    ends = [best(a, b), best(b, a)]
    sums = [_sums(a, b, chosen) for chosen in ends]
    corners = {sums[0]: ends[0], sums[1]: ends[1]}
    gaps: list[tuple[float, Sums, Sums]] = []

    def search(left: Sums, right: Sums) -> None:
        heapq.heappush(gaps, (-(left[0] - right[0]) * (right[1] - left[1]), left, right))

    if sums[0] != sums[1]:
        search(*sums)
    spent = 2
    scale = float(np.abs(a).max(initial=0.0) + np.abs(b).max(initial=0.0)) * k
    while gaps and spent < solves:
        _, left, right = heapq.heappop(gaps)  # the largest area between a segment and its corner
        weight = _tie(left, right)
        chosen = best((1 - weight) * a + weight * b, a)
        spent += 1
        point = _sums(a, b, chosen)
        beyond = _along(point, weight) - max(_along(left, weight), _along(right, weight))
        if beyond > 1e-13 * scale and point not in corners:
            corners[point] = chosen
            search(left, point)
            search(point, right)
    ordered = sorted(corners, key=lambda point: (-point[0], point[1]))
    breaks = [0.0, *(_tie(x, y) for x, y in itertools.pairwise(ordered)), 1.0]
    return ParetoFront(
        tuple(
            ParetoPoint(breaks[i], breaks[i + 1], np.sort(rows[corners[point]]), *point)
            for i, point in enumerate(ordered)
        ),
        complete=not gaps,
    )


def _top(primary: NDArray[np.float64], ties: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """Returns the rows of the k largest; equal numbers are ordered by `ties`, then by row."""
    if k >= len(primary):
        return np.arange(len(primary))
    bound = np.partition(primary, len(primary) - k)[len(primary) - k]
    above = np.flatnonzero(primary > bound)
    level = np.flatnonzero(primary == bound)
    level = level[np.argsort(-ties[level], kind="stable")]
    return np.concatenate([above, level[: k - len(above)]])


def _sums(a: NDArray[np.float64], b: NDArray[np.float64], chosen: NDArray[np.int64]) -> Sums:
    # Correctly rounded sums: equal sets of numbers give equal sums in whatever order they are
    # added.
    return math.fsum(a[chosen].tolist()), math.fsum(b[chosen].tolist())


def _tie(left: Sums, right: Sums) -> float:
    """Returns the weight of the second score at which both weighted sums are equal."""
    less, more = left[0] - right[0], right[1] - left[1]
    return less / (less + more)


def _along(sums: Sums, weight: float) -> float:
    return (1 - weight) * sums[0] + weight * sums[1]
