"""Greedy orders against brute force and against themselves written the plain way."""

import itertools
import math

import numpy as np
import pytest

from shortlist.selectors import coverage
from shortlist.selectors.coverage import FacilityLocation, Submodular, farthest_first, herd
from shortlist.selectors.similarity import round_robin


def test_a_round_robin_takes_all_first_places_before_any_second() -> None:
    lists = np.array([[5, 1, 2], [5, 3, 0], [4, 5, 1]])
    assert round_robin(lists).tolist() == [5, 4, 1, 3, 2, 0]


def test_a_round_robin_is_that_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    lists = np.array([rng.permutation(40)[:15] for _ in range(9)])
    taken: list[int] = []
    for place in range(15):
        taken += [row for row in lists[:, place].tolist() if row not in taken][:99]
    assert round_robin(lists).tolist() == list(dict.fromkeys(taken))


def value(similar: np.ndarray, rows: tuple[int, ...], relevance: float) -> float:
    chosen = np.maximum(similar[:, list(rows)], 0).astype(np.float64)
    return float(chosen.max(1).sum() + relevance * chosen.max(0).sum()) if rows else 0.0


def dense(seed: int, targets: int, pool: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Similarities, and the same as sorted lists of all rows."""
    similar = np.random.default_rng(seed).uniform(-0.3, 1, (targets, pool)).astype(np.float32)
    rows = np.argsort(-similar, axis=1)
    return similar, rows, np.take_along_axis(similar, rows, axis=1)


@pytest.mark.parametrize("relevance", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_the_lazy_greedy_takes_what_the_naive_greedy_takes(relevance: float, seed: int) -> None:
    similar, rows, values = dense(seed, 6, 30)
    ties = np.arange(30, dtype=np.uint64)
    order, gains = FacilityLocation(30, relevance, 12).greedy(rows, values, ties)
    taken: list[int] = []
    for step in range(12):
        now = value(similar, tuple(taken), relevance)
        rest = [row for row in range(30) if row not in taken]
        worth = [value(similar, (*taken, row), relevance) - now for row in rest]
        if max(worth) < 1e-9:
            break  # all are equal then: any order of the rest is greedy
        assert gains[step] == pytest.approx(max(worth), abs=1e-6)
        taken.append(rest[int(np.argmax(worth))])
    assert order[: len(taken)].tolist() == taken and len(taken) >= 4


def information(similar: np.ndarray, rows: list[int], relevance: float) -> float:
    """Concave over modular by its definition, in numbers of Python."""
    near = [[max(float(value), 0.0) for value in line] for line in similar]
    covered = sum(math.sqrt(sum(line[row] for row in rows)) for line in near)
    return covered + relevance * sum(math.sqrt(sum(line[row] for line in near)) for row in rows)


@pytest.mark.parametrize("relevance", [0.0, 0.5])
@pytest.mark.parametrize("seed", range(4))
def test_the_greedy_of_concave_over_modular_is_the_naive_one(relevance: float, seed: int) -> None:
    similar, rows, values = dense(seed, 6, 30)
    ties = np.arange(30, dtype=np.uint64)
    selector = Submodular("concave_over_modular", 30, relevance, 30)
    order, gains = selector.greedy(rows, values, ties)
    taken: list[int] = []
    for _ in range(30):
        rest = [row for row in range(30) if row not in taken]
        taken.append(max(rest, key=lambda row: information(similar, [*taken, row], relevance)))
    assert order.tolist() == taken
    assert gains.sum() == pytest.approx(information(similar, taken, relevance), rel=1e-9)


def test_graph_cut_ranks_by_the_sum_of_similarities_to_the_targets() -> None:
    similar, rows, values = dense(0, 6, 30)
    order, _ = Submodular("graph_cut", 30, 1.0, 30).greedy(
        rows, values, np.arange(30, dtype=np.uint64)
    )
    assert order.tolist() == np.argsort(-np.maximum(similar, 0).astype(float).sum(0)).tolist()


@pytest.mark.parametrize("seed", range(6))
def test_the_greedy_value_is_within_one_minus_one_over_e_of_the_best(seed: int) -> None:
    similar, rows, values = dense(seed, 7, 11)
    ties = np.arange(11, dtype=np.uint64)
    order, gains = FacilityLocation(11, 0.2, 4).greedy(rows, values, ties)
    fours = [value(similar, four, 0.2) for four in itertools.combinations(range(11), 4)]
    best = max(fours)
    found = value(similar, tuple(order.tolist()), 0.2)
    assert gains.sum() == pytest.approx(found, abs=1e-5)
    assert found >= (1 - 1 / np.e) * best - 1e-9
    assert min(fours) < 0.9 * best  # the problem is not one that any four solve


def test_equal_gains_are_taken_in_the_order_of_the_ties_and_unlisted_rows_never() -> None:
    rows, values = np.array([[4, 2]]), np.array([[0.5, 0.5]], dtype=np.float32)
    ties = np.array([0, 1, 9, 3, 5, 2], np.uint64)
    order, _ = FacilityLocation(6, 1.0, 6).greedy(rows, values, ties)
    assert order.tolist() == [4, 2]


def plain_farthest_first(points: np.ndarray, limit: int) -> list[int]:
    apart = ((points - points.mean(0)) ** 2).sum(1)
    order = [int(apart.argmin())]
    apart = np.full(len(points), np.inf)
    while len(order) < limit:
        apart = np.minimum(apart, ((points - points[order[-1]]) ** 2).sum(1))
        apart[order] = -1
        order.append(int(apart.argmax()))
    return order


@pytest.mark.parametrize(("candidates", "centres"), [(2048, 64), (7, 5), (40, 64), (3, 1)])
def test_farthest_first_in_blocks_is_farthest_first(
    monkeypatch: pytest.MonkeyPatch, candidates: int, centres: int
) -> None:
    monkeypatch.setattr(coverage, "_CANDIDATES", candidates)
    monkeypatch.setattr(coverage, "_CENTRES", centres)
    monkeypatch.setattr(coverage, "_ROWS", 50)
    points = np.random.default_rng(1).normal(size=(300, 6)).astype(np.float32)
    order, radii = farthest_first(points, 120)
    assert order.tolist() == plain_farthest_first(points.astype(np.float64), 120)
    assert (np.diff(radii[1:]) <= 1e-6).all()
    assert sorted(farthest_first(points, 900)[0].tolist()) == list(range(300))


@pytest.mark.parametrize("seed", range(6))
def test_the_radius_of_farthest_first_is_at_most_twice_the_best(seed: int) -> None:
    points = np.random.default_rng(seed).normal(size=(13, 2)).astype(np.float32)
    apart = np.sqrt(((points[:, None] - points) ** 2).sum(2))

    def radius(rows: tuple[int, ...]) -> float:
        return float(apart[list(rows)].min(0).max())

    best = min(radius(rows) for rows in itertools.combinations(range(13), 3))
    order, radii = farthest_first(points, 4)
    found = radius(tuple(order[:3].tolist()))
    assert best <= found <= 2 * best + 1e-6
    assert radii[3] == pytest.approx(found, rel=1e-5)  # the next pick's distance is the radius


def test_rows_that_are_all_the_same_are_all_taken_once() -> None:
    assert sorted(farthest_first(np.ones((5, 2), np.float32), 5)[0].tolist()) == list(range(5))


def discrepancy(points: np.ndarray, mean: np.ndarray) -> float:
    """The maximum mean discrepancy under the linear kernel."""
    return float(np.linalg.norm(points.mean(0) - mean))


def test_herding_follows_the_mean_better_than_random_and_than_the_nearest() -> None:
    rng = np.random.default_rng(0)
    pool = rng.normal(size=(400, 10)) + 0.3
    unit = pool / np.linalg.norm(pool, axis=1, keepdims=True)
    target = rng.normal(size=(50, 10)) * ([3.0] * 5 + [0.3] * 5)
    mean = (target / np.linalg.norm(target, axis=1, keepdims=True)).mean(0)
    order, apart = herd(pool, mean, 100)
    nearest = np.argsort(-unit @ mean)
    for size in (5, 10, 20, 50, 100):
        found = discrepancy(unit[order[:size]], mean)
        assert apart[size - 1] == pytest.approx(found, abs=1e-9)
        random = [discrepancy(unit[rng.permutation(400)[:size]], mean) for _ in range(20)]
        assert found < min(random) and found < discrepancy(unit[nearest[:size]], mean)
    assert apart[99] < apart[49] < apart[19] < apart[9] < apart[4]  # it falls as picks are added


def test_herding_is_that_of_its_definition() -> None:
    rng = np.random.default_rng(1)
    pool, mean = rng.normal(size=(30, 4)), rng.normal(size=4)
    unit = pool / np.linalg.norm(pool, axis=1, keepdims=True)
    taken: list[int] = []
    for count in range(12):
        # w = mean + count * mean - sum of those taken
        worth = unit @ ((count + 1) * mean - unit[taken].sum(0))
        worth[taken] = -np.inf
        taken.append(int(worth.argmax()))
    assert herd(pool, mean, 12)[0].tolist() == taken
    assert len(set(herd(pool, mean, 99)[0].tolist())) == 30
