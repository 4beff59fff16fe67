"""Randomness belongs to the document: what order the rows come in changes nothing that is drawn."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shortlist.errors import InvalidInput
from shortlist.stats.sampling import (
    draw_key,
    gumbel,
    order,
    uniform,
    with_replacement,
    within_budget,
)

IDS = np.random.default_rng(0).integers(0, 2**64, size=100_000, dtype=np.uint64)


def test_uniform_numbers_fill_the_interval_evenly() -> None:
    counts, _ = np.histogram(uniform(IDS, 7), bins=100, range=(0, 1))
    statistic = float(((counts - 1000) ** 2 / 1000).sum())
    assert statistic < 160  # chi-square with 99 degrees: above 160 with probability 1e-4


def test_uniform_numbers_of_consecutive_ids_fill_the_interval_evenly() -> None:
    counts, _ = np.histogram(
        uniform(np.arange(100_000, dtype=np.uint64), 7), bins=100, range=(0, 1)
    )
    assert float(((counts - 1000) ** 2 / 1000).sum()) < 160  # as above


def test_neither_zero_nor_one_is_drawn_at_the_ends_of_the_range() -> None:
    drawn = uniform(np.array([0, 1, 2**63, 2**64 - 1], dtype=np.uint64), 2**63 - 1)
    assert ((drawn > 0) & (drawn < 1)).all()


def test_two_keys_give_unrelated_numbers() -> None:
    correlation = np.corrcoef(uniform(IDS, 1), uniform(IDS, 2))[0, 1]
    assert abs(correlation) < 4 / np.sqrt(len(IDS))  # 4 standard errors


@given(st.permutations(range(50)), st.integers(0, 2**63 - 1))
def test_a_permutation_of_the_documents_permutes_their_numbers(rows: list[int], key: int) -> None:
    np.testing.assert_array_equal(uniform(IDS[:50], key)[rows], uniform(IDS[:50][rows], key))


@given(st.permutations(range(50)))
def test_a_permutation_of_the_documents_chooses_the_same_ids_in_the_same_order(
    rows: list[int],
) -> None:
    scores = np.repeat(np.arange(10.0), 5)  # ties, which only the ids decide
    straight = IDS[:50][order(scores, IDS[:50])]
    permuted = IDS[:50][rows][order(scores[rows], IDS[:50][rows])]
    np.testing.assert_array_equal(straight, permuted)


def test_the_order_goes_from_the_largest_score_to_the_smallest() -> None:
    scores = np.array([0.0, -np.inf, 3.0, 1.0])
    assert order(scores, IDS[:4]).tolist() == [2, 3, 0, 1]


def test_the_same_seed_draws_the_same_key() -> None:
    first, second, other = (draw_key(torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert first == second != other


def test_gumbel_numbers_have_the_mean_and_variance_of_gumbel_numbers() -> None:
    drawn = gumbel(IDS, 3)
    # 4 standard errors at 100,000 draws: 4 * 1.2825 / sqrt(n) and, with kurtosis 5.4, of the variance.
    assert abs(drawn.mean() - np.euler_gamma) < 0.017
    assert abs(drawn.var() - np.pi**2 / 6) < 0.05


def test_gumbel_top_two_of_four_has_the_probabilities_of_sampling_without_replacement() -> None:
    weights = np.array([1.0, 2.0, 3.0, 4.0]) / 10
    draws = 20_000
    ids = np.arange(4, dtype=np.uint64)
    noise = np.stack([gumbel(ids, key) for key in range(draws)])
    top = np.argsort(-(np.log(weights) + noise), axis=1)[:, :2]
    for first, second in itertools.permutations(range(4), 2):
        exact = weights[first] * weights[second] / (1 - weights[first])
        found = float(((top[:, 0] == first) & (top[:, 1] == second)).mean())
        # 4.5 standard errors of a proportion: one of twelve exceeds it with probability 1e-4.
        assert abs(found - exact) < 4.5 * np.sqrt(exact * (1 - exact) / draws)


@given(st.integers(0, 60), st.integers(0, 60))
def test_a_larger_budget_contains_a_smaller_ones_documents(one: int, other: int) -> None:
    rows = order(uniform(IDS[:50], 1), IDS[:50])
    small, large = sorted((one, other))
    assert (
        within_budget(rows, None, large)[:small].tolist()
        == within_budget(rows, None, small).tolist()
    )


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(0, 200), st.integers(0, 50)
)
def test_a_token_budget_is_the_longest_prefix_that_fits(
    costs: list[int], amount: int, more: int
) -> None:
    rows, price = np.arange(len(costs))[::-1], np.array(costs)
    kept = within_budget(rows, price, amount)
    assert price[kept].sum() <= amount
    if len(kept) < len(rows):
        assert price[rows[: len(kept) + 1]].sum() > amount
    assert within_budget(rows, price, amount + more)[: len(kept)].tolist() == kept.tolist()


def test_costs_belong_to_rows_of_the_pool_and_not_to_places_in_the_order() -> None:
    assert within_budget(np.array([2, 0, 1]), np.array([5, 9, 1]), 6).tolist() == [2, 0]


@pytest.mark.parametrize("amount", [0, 10])
def test_a_budget_of_documents_cuts_at_the_end_of_the_pool(amount: int) -> None:
    assert len(within_budget(np.arange(4), None, amount)) == min(4, amount)


WEIGHTS = np.array([0.0, 1.0, 2.0, 3.0, 4.0])


def test_draws_with_replacement_are_in_proportion_to_the_weights_and_independent() -> None:
    rows, times = with_replacement(WEIGHTS, IDS[:5], 7, 40_000)
    assert len(rows) == 40_000 and (np.diff(times) >= 0).all()
    chance = WEIGHTS / WEIGHTS.sum()
    error = np.sqrt(chance * (1 - chance) / 40_000)
    assert (np.abs(np.bincount(rows, minlength=5) / 40_000 - chance) <= 4.5 * error).all()
    # What is drawn next does not hang on what was drawn before: all pairs as often as the product.
    pairs = np.bincount(rows[:-1] * 5 + rows[1:], minlength=25).reshape(5, 5) / 39_999
    expected = np.outer(chance, chance)
    assert (np.abs(pairs - expected) <= 4.5 * np.sqrt(expected / 39_999)).all()


@given(st.integers(1, 300), st.integers(0, 300), st.booleans(), st.integers(0, 99))
def test_a_larger_draw_with_replacement_begins_with_a_smaller_one(
    small: int, more: int, priced: bool, key: int
) -> None:
    costs = np.array([1, 5, 2, 7, 3]) if priced else None
    first, _ = with_replacement(WEIGHTS, IDS[:5], key, small, costs)
    second, _ = with_replacement(WEIGHTS, IDS[:5], key, small + more, costs)
    assert second[: len(first)].tolist() == first.tolist()
    if costs is None:
        assert len(second) == small + more
    else:
        assert small + more - 7 < costs[second].sum() <= small + more


@given(st.permutations(range(20)))
def test_a_permutation_of_the_documents_draws_the_same_ids(rows: list[int]) -> None:
    weights, place = np.arange(20.0), np.array(rows)
    plain, _ = with_replacement(weights, IDS[:20], 5, 50)
    moved, _ = with_replacement(weights[place], IDS[:20][place], 5, 50)
    assert IDS[:20][place][moved].tolist() == IDS[:20][plain].tolist()


def test_a_draw_whose_documents_cost_nothing_would_never_end_and_is_refused() -> None:
    with pytest.raises(InvalidInput, match="cost nothing"):
        with_replacement(WEIGHTS, IDS[:5], 0, 10, np.array([9, 0, 0, 0, 0]))
