"""The front between two targets, against every subset of a small pool."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.diagnostics.pareto import front_between_targets, pareto_front

# Small integers tie often, and their sums are exact.
WHOLE = st.integers(-6, 6).map(float)


@st.composite
def pools(draw: Any, numbers: Any = WHOLE) -> tuple[np.ndarray, np.ndarray, int]:
    n = draw(st.integers(1, 9))
    first, second = (draw(st.lists(numbers, min_size=n, max_size=n)) for _ in range(2))
    return np.array(first), np.array(second), draw(st.integers(1, n))


def every(first: np.ndarray, second: np.ndarray, k: int) -> dict[tuple[float, float], list[Any]]:
    """All k-subsets by their pair of sums."""
    found: dict[tuple[float, float], list[Any]] = {}
    for subset in itertools.combinations(range(len(first)), k):
        point = (math.fsum(first[list(subset)]), math.fsum(second[list(subset)]))
        found.setdefault(point, []).append(subset)
    return found


def hull(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Corners of the upper right hull, from the best first sum to the best second (Andrew 1979)."""
    undominated = sorted(
        (p for p in points if not any(q != p and q[0] >= p[0] and q[1] >= p[1] for q in points)),
        reverse=True,
    )
    kept: list[tuple[float, float]] = []
    for p in undominated:
        while len(kept) > 1:
            (x0, y0), (x1, y1) = kept[-2:]
            if (x1 - x0) * (p[1] - y0) - (y1 - y0) * (p[0] - x0) > 0:  # a turn to the left
                break
            kept.pop()
        kept.append(p)
    return kept


def id_bits(n: int) -> np.ndarray:
    return np.arange(n, dtype=np.uint64)


@settings(max_examples=200)
@given(pools())
def test_the_corners_are_those_of_the_hull_of_every_subset(pool: Any) -> None:
    first, second, k = pool
    subsets = every(first, second, k)
    front = pareto_front(first, second, k, id_bits(len(first)), 10_000)
    assert front.complete
    assert [(c.first, c.second) for c in front.points] == hull(list(subsets))
    assert all(tuple(c.rows) in subsets[c.first, c.second] for c in front.points)


@settings(max_examples=100)
@given(pools(st.floats(-1, 1, width=16)))
def test_no_subset_beats_a_corner_in_both_sums(pool: Any) -> None:
    first, second, k = pool
    subsets = every(first, second, k)
    for point in pareto_front(first, second, k, id_bits(len(first)), 10_000).points:
        for a, b in subsets:
            better = a >= point.first and b >= point.second
            assert not better or (a, b) == (point.first, point.second)


@given(pools(), st.floats(0, 1))
def test_at_any_weight_the_corner_whose_range_holds_it_is_the_best_of_all_subsets(
    pool: Any, weight: float
) -> None:
    first, second, k = pool
    front = pareto_front(first, second, k, id_bits(len(first)), 10_000)
    (point, *_) = [c for c in front.points if c.start <= weight <= c.stop]
    best = max((1 - weight) * a + weight * b for a, b in every(first, second, k))
    assert (1 - weight) * point.first + weight * point.second == pytest.approx(best, abs=1e-9)


def test_ranges_of_weights_join_from_0_to_1() -> None:
    rng = np.random.default_rng(0)
    front = pareto_front(rng.random(200), rng.random(200), 20, id_bits(200), 10_000)
    starts = [point.start for point in front.points]
    assert len(starts) > 10 and starts[0] == 0.0 and front.points[-1].stop == 1.0
    assert starts[1:] == [point.stop for point in front.points[:-1]]
    assert all(np.diff(starts) > 0)


def test_equal_documents_go_by_id_in_whatever_row_they_stand() -> None:
    first, second = np.zeros(4), np.zeros(4)
    ids = np.array([7, 3, 9, 1], dtype=np.uint64)
    (point,) = pareto_front(first, second, 2, ids, 100).points
    assert sorted(ids[point.rows].tolist()) == [1, 3]


def test_an_excluded_document_is_in_no_selection() -> None:
    first, second = np.array([3.0, 2.0, 1.0, 0.0]), np.array([-np.inf, 0.0, 1.0, 2.0])
    front = pareto_front(first, second, 2, id_bits(4), 100)
    assert all(0 not in point.rows for point in front.points)


def test_a_front_that_was_not_searched_to_its_end_says_so_and_holds_true_corners() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.random(100), rng.random(100)
    whole = pareto_front(first, second, 10, id_bits(100), 10_000)
    part = pareto_front(first, second, 10, id_bits(100), 9)
    assert whole.complete and not part.complete
    known = {(point.first, point.second) for point in whole.points}
    assert 2 < len(part.points) < len(whole.points)
    assert {(point.first, point.second) for point in part.points} <= known


def test_the_selection_of_a_weighted_sum_is_the_point_whose_range_holds_its_weight() -> None:
    rng = np.random.default_rng(2)
    scores = {"music": rng.random(60), "stars": rng.random(60)}
    weights = {"music": 0.7, "stars": 0.3}
    total = 0.7 * scores["music"] + 0.3 * scores["stars"]
    made = front_between_targets(scores, weights, np.argsort(-total)[:8], id_bits(60))
    assert made.weight == pytest.approx(0.3) and made.away == ()
    (row,) = [row for row in made.rows() if row["lambda_from"] <= 0.3 <= row["lambda_to"]]
    assert (row["value_a"], row["value_b"]) == pytest.approx(made.values)
    assert made.rows()[0]["changed"] == 0 < made.rows()[-1]["changed"]


def test_of_a_target_to_stay_away_from_smaller_scores_are_better() -> None:
    scores = {"clean": np.array([3.0, 2.0, 1.0, 0.0]), "toxic": np.array([3.0, 0.0, 1.0, 2.0])}
    made = front_between_targets(
        scores, {"clean": 1.0, "toxic": -1.0}, np.array([1, 1]), id_bits(4)
    )
    assert made.away == ("toxic",) and made.values == (2.0, -0.0) and made.weight == 0.5
    assert [point.rows.tolist() for point in made.front.points] == [[0], [1]]


def test_a_record_holds_at_most_33_points_from_end_to_end() -> None:
    rng = np.random.default_rng(3)
    scores = {"a": rng.random(300), "b": rng.random(300)}
    made = front_between_targets(scores, {"a": 0.5, "b": 0.5}, np.arange(40), id_bits(300))
    rows, facts = made.rows(), made.facts()
    assert len(rows) > 33 == len(facts["points"]) and facts["of"] == len(rows)
    assert facts["points"][0] == rows[0] and facts["points"][-1] == rows[-1]
