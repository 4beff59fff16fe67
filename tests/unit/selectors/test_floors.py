"""Floors: the best of one target are in the selection, and what is left is the best that it can be."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.core import Budget
from shortlist.errors import InvalidInput
from shortlist.selectors.base import Choice, ScoredPool, Selector, take
from shortlist.selectors.dsir import DSIR
from shortlist.selectors.multi_target import select_with_floors
from shortlist.stats.sampling import order, seeded

SCORES = st.integers(-5, 5).map(float)


def draw() -> Any:
    return seeded(0, "selection")


def scored(values: Any, costs: Any = None) -> ScoredPool:
    values = np.asarray(values, dtype=np.float64)
    return ScoredPool(values, np.arange(len(values), dtype=np.uint64), costs)


@st.composite
def cases(draw: Any) -> tuple[list[float], list[float], int, float, float]:
    n = draw(st.integers(2, 9))
    a, b = (draw(st.lists(SCORES, min_size=n, max_size=n)) for _ in range(2))
    share = st.sampled_from([0.0, 0.1, 0.2, 0.25, 1 / 3, 0.5])
    return a, b, draw(st.integers(1, n)), draw(share), draw(share)


@given(cases())
def test_floors_are_met_exactly_and_the_rest_is_the_best_of_all_subsets(case: Any) -> None:
    a, b, k, share_a, share_b = case
    each = {"a": scored(a), "b": scored(b)}
    total = scored(np.add(a, b) / 2)
    floors = {name: s for name, s in (("a", share_a), ("b", share_b)) if s}
    if not floors:
        return
    best = {
        name: set(order(each[name].values, each[name].id_bits)[: math.ceil(s * k - 1e-9)].tolist())
        for name, s in floors.items()
    }
    wanted = set().union(*best.values())
    if len(wanted) > k:
        with pytest.raises(InvalidInput, match="more than budget"):
            select_with_floors(Selector(), total, each, floors, Budget(k), draw)
        return
    choice, kept = select_with_floors(Selector(), total, each, floors, Budget(k), draw)
    chosen = set(choice.rows.tolist())
    assert {name: set(one.rows.tolist()) for name, one in kept.items()} == best
    assert all(one.met == one.asked == len(best[name]) for name, one in kept.items())
    assert wanted <= chosen and len(chosen) == k
    assert total.values[choice.rows].sum() == pytest.approx(
        max(
            sum(total.values[row] for row in subset)
            for subset in itertools.combinations(range(len(a)), k)
            if wanted <= set(subset)
        )
    )
    assert list(choice.scores) == sorted(choice.scores, reverse=True)


def test_a_document_good_for_both_counts_for_both_and_leaves_room_for_the_weights() -> None:
    a, b = [9.0, 5.0, 1.0, 0.0, 4.0], [9.0, 1.0, 5.0, 0.0, 4.0]
    each, total = {"a": scored(a), "b": scored(b)}, scored([9.0, 3.0, 3.0, 0.0, 4.0])
    choice, kept = select_with_floors(
        Selector(), total, each, {"a": 0.5, "b": 0.5}, Budget(2), draw
    )
    assert choice.rows.tolist() == [0, 4]
    assert {name: one.rows.tolist() for name, one in kept.items()} == {"a": [0], "b": [0]}


@pytest.mark.parametrize(("share", "asked"), [(0.2, 3), (0.21, 4), (1 / 3, 5), (1.0, 15)])
def test_a_floor_is_the_share_rounded_up_and_not_what_binary_makes_of_it(
    share: float, asked: int
) -> None:
    each, total = {"b": scored(np.arange(20))}, scored(-np.arange(20.0))
    choice, kept = select_with_floors(Selector(), total, each, {"b": share}, Budget(15), draw)
    assert (kept["b"].asked, kept["b"].met) == (asked, asked)
    assert set(range(20 - asked, 20)) <= set(choice.rows.tolist())


def test_a_floor_of_tokens_is_the_fewest_documents_that_amount_to_it() -> None:
    costs = np.array([3, 4, 5, 2, 2])
    each = {"b": scored([5.0, 4.0, 3.0, 2.0, 1.0], costs)}
    total = scored([1.0, 2.0, 3.0, 4.0, 5.0], costs)
    choice, kept = select_with_floors(
        Selector(), total, each, {"b": 0.5}, Budget(12, "tokens"), draw
    )
    assert (kept["b"].rows.tolist(), kept["b"].asked, kept["b"].met) == ([0, 1], 6, 7)
    assert sorted(choice.rows.tolist()) == [0, 1, 3, 4]


def test_what_is_left_of_a_budget_of_tokens_may_be_too_little_for_another_document() -> None:
    costs = np.array([4, 9])
    each, total = {"b": scored([2.0, 1.0], costs)}, scored([1.0, 2.0], costs)
    choice, _ = select_with_floors(Selector(), total, each, {"b": 0.5}, Budget(8, "tokens"), draw)
    assert choice.rows.tolist() == [0]


def test_a_target_with_too_few_documents_is_refused_by_name() -> None:
    each, total = {"b": scored([1.0, -np.inf, -np.inf])}, scored([1.0, 2.0, 3.0])
    with pytest.raises(InvalidInput, match="`b` asks for 2 documents, but the pool has only 1"):
        select_with_floors(Selector(), total, each, {"b": 0.6}, Budget(3), draw)


def test_a_method_that_draws_keeps_the_floor_by_its_own_draw() -> None:
    rng = np.random.default_rng(0)
    each, total = {"b": scored(rng.normal(size=50))}, scored(rng.normal(size=50))
    selector = DSIR(
        smoothing=1.0, floor=0.0, temperature=1.0, minimum_length=0, separate=False,
        proportions=None,
    )  # fmt: skip
    alone = selector.select(each["b"], Budget(4), draw()).rows
    choice, kept = select_with_floors(selector, total, each, {"b": 0.4}, Budget(10), draw)
    assert kept["b"].rows.tolist() == alone.tolist()
    assert set(alone.tolist()) <= set(choice.rows.tolist()) and len(set(choice.rows)) == 10
    assert list(choice.scores) == sorted(choice.scores, reverse=True)


class Repeats(Selector):
    """Takes its best document again and again."""

    def select(self, scores: ScoredPool, budget: Budget, generator: Any) -> Choice:
        first = take(order(scores.values, scores.id_bits), scores, Budget(1)).rows
        rows = np.repeat(first, budget.amount)
        return Choice(rows, scores.values[rows])


def test_a_method_that_does_not_take_what_it_is_offered_is_refused() -> None:
    each, total = {"b": scored([1.0, 2.0, 3.0])}, scored([3.0, 2.0, 1.0])
    with pytest.raises(InvalidInput, match="cannot be met by Repeats"):
        select_with_floors(Repeats(), total, each, {"b": 0.5}, Budget(2), draw)
