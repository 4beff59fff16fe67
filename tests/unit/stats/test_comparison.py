"""Comparisons against scipy, against brute force, and against boards whose truth is known."""

from __future__ import annotations

from itertools import chain, combinations

import numpy as np
import pytest
from scipy import stats

from shortlist.stats.comparison import (
    all_pairs,
    compare,
    half_width,
    holm,
    power,
    seeds_needed,
    smallest_difference,
)


def boards(
    number: int,
    methods: int,
    seeds: int,
    items: int,
    effects: np.ndarray | float = 0.0,
    by_item: float = 0.3,
    wild: float = 1.0,
) -> np.ndarray:
    """Contributions (number, methods, seeds, items): seeds, items and methods x items vary."""
    draw = np.random.default_rng(7).normal
    shape = (number, methods, seeds, items)
    shared = draw(0, 1, (number, 1, 1, items)) + draw(0, 0.3, (number, 1, seeds, 1))
    between_seeds = draw(0, 0.05, (number, methods, seeds, 1))
    between_seeds[:, 0] *= wild
    own = draw(0, by_item, (number, methods, 1, items)) + between_seeds
    return shared + own + draw(0, 0.4, shape) + np.broadcast_to(effects, methods)[:, None, None]


def winners(p: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Which boards show a method that is better than every other."""
    better = (p < 0.05) & (mean > 0)
    return (better | np.eye(p.shape[-1], dtype=bool)).all(-1).any(-1)


def test_two_methods_over_seeds_are_the_paired_t_test() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 6))
    found = compare(np.stack([a, b]))
    assert found.p[0, 1] == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=1e-10)
    interval = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert found.mean[0, 1] - half_width(found.stderr[0, 1], found.df[0, 1]) == pytest.approx(
        interval.low
    )
    assert found.mean[1, 0] == -found.mean[0, 1]


def test_a_clear_difference_is_clear_to_the_rank_test_too() -> None:
    generator = np.random.default_rng(1)
    shared = generator.normal(size=12)
    a, b = shared + 0.5 + generator.normal(0, 0.1, 12), shared
    assert stats.wilcoxon(a, b).pvalue < 0.001
    assert compare(np.stack([a, b])).p[0, 1] < 0.001
    assert stats.wilcoxon(a - 0.5, b).pvalue > 0.05
    assert compare(np.stack([a - 0.5, b])).p[0, 1] > 0.05


def test_several_methods_share_the_residual_of_methods_and_seeds() -> None:
    values = np.random.default_rng(2).normal(size=(5, 4))
    residual = values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()
    pooled = 2 * (residual**2).sum() / (4 * 3) / 4
    found = compare(values)
    for a, b in combinations(range(5), 2):
        own = (values[a] - values[b]).var(ddof=1) / 4
        assert found.seed_variance[a, b] == pytest.approx(max(own, pooled))
        assert found.df[a, b] == pytest.approx(12)


def test_the_variance_over_items_alone_is_that_of_a_paired_bootstrap() -> None:
    # One and the same model at both seeds: only the items are left to chance.
    a, b = boards(1, 2, 1, 400)[0, :, 0]
    items = np.stack([np.stack([a, a]), np.stack([b, b])])
    found = compare(items.mean(-1), items)
    drawn = stats.bootstrap(
        (a, b),
        lambda x, y, axis: (x - y).mean(axis),
        paired=True,
        n_resamples=4000,
        rng=np.random.default_rng(3),
    )
    # 4,000 draws know a standard error to 1.1 %.
    assert found.stderr[0, 1] == pytest.approx(drawn.standard_error, rel=0.05)


def test_the_variance_over_seeds_and_items_is_that_of_a_bootstrap_over_both() -> None:
    # With many seeds and items the bootstrap's own inflation (it counts the residual three times)
    # is small, and the draws must agree with the closed form.
    items = boards(1, 2, 40, 300)[0]
    found = compare(items.mean(-1), items)
    difference = items[0] - items[1]
    generator = np.random.default_rng(4)
    draws = [
        difference[np.ix_(generator.integers(0, 40, 40), generator.integers(0, 300, 300))].mean()
        for _ in range(3000)
    ]
    assert found.stderr[0, 1] == pytest.approx(np.std(draws, ddof=1), rel=0.08)


def test_at_most_one_in_twenty_boards_without_a_difference_shows_a_winner() -> None:
    items = boards(1000, 5, 3, 60)
    found = compare(items.mean(-1), items)
    corrected = all_pairs(found.p)
    assert winners(corrected, found.mean).mean() <= 0.05
    assert (corrected < 0.05).any((-2, -1)).mean() <= 0.05  # nor any difference at all
    over_random = holm(found.p[:, 1:, 0])
    assert (over_random < 0.05).any(-1).mean() <= 0.05


@pytest.mark.parametrize("seeds", [2, 5])
def test_the_level_holds_without_items_too(seeds: int) -> None:
    values = boards(2000, 4, seeds, 2, by_item=0.0).mean(-1)
    corrected = all_pairs(compare(values).p)
    rate = (corrected < 0.05).any((-2, -1)).mean()
    assert rate <= 0.05 + 0.01  # two standard errors of 2,000 boards


def test_one_wild_method_does_not_make_the_others_find_differences() -> None:
    values = boards(2000, 5, 4, 2, by_item=0.0, wild=6.0).mean(-1)
    corrected = all_pairs(compare(values).p)
    assert winners(corrected, compare(values).mean).mean() <= 0.05


def test_what_is_planted_is_found_more_often_than_by_an_unpaired_test() -> None:
    items = boards(400, 4, 3, 60, effects=np.array([0.35, 0.0, 0.0, 0.0]))
    found = compare(items.mean(-1), items)
    paired = holm(found.p[:, 0, 1:])
    values = items.mean(-1)
    welch = stats.ttest_ind(values[:, :1], values[:, 1:], axis=-1, equal_var=False).pvalue
    means = items.mean(-2)
    errors = items.mean(2).var(-1, ddof=1) / items.shape[-1]  # the usual stderr over items
    z = (means.mean(-1)[:, :1] - means.mean(-1)[:, 1:]) / np.sqrt(errors[:, :1] + errors[:, 1:])
    by_z = holm(2 * stats.norm.sf(np.abs(z)))
    power = (paired < 0.05).mean()
    assert power > 0.8
    assert power > (holm(np.asarray(welch)) < 0.05).mean() + 0.2
    assert power > (by_z < 0.05).mean() + 0.2


def test_equal_methods_are_not_told_apart_and_neither_is_what_has_no_spread() -> None:
    same = np.tile(np.random.default_rng(5).normal(size=3), (3, 1))
    assert (compare(same).p == 1).all()
    assert (compare(np.array([[0.6, 0.6], [0.5, 0.5]])).p == 1).all()


def test_holm_is_the_closed_test_of_bonferroni() -> None:
    for p in np.random.default_rng(6).uniform(0, 0.2, (20, 5)):
        subsets = [
            np.array(s) for s in chain.from_iterable(combinations(range(5), k) for k in range(1, 6))
        ]
        closed = [
            max(min(1.0, len(s) * p[s].min()) for s in subsets if i in s) for i in range(len(p))
        ]
        assert holm(p) == pytest.approx(closed)


def test_the_seeds_needed_are_those_at_which_four_in_five_boards_decide() -> None:
    spread, size = 0.02, 0.02
    needed = seeds_needed(size, spread**2, 0.0, methods=2, alpha=0.05)
    assert needed is not None
    generator = np.random.default_rng(9)
    for seeds, enough in ((needed, True), (needed - 2, False)):
        values = np.zeros((4000, 2, seeds))
        values[:, 0] = size + generator.normal(0, spread, (4000, seeds))
        decided = (compare(values).p[:, 0, 1] < 0.05).mean()
        assert (decided > 0.785) == enough  # two standard errors of 4,000 boards below 0.8


@pytest.mark.parametrize("seeds", [2, 4, 30])
def test_the_power_for_two_methods_is_that_of_students_test(seeds: int) -> None:
    for t in (0.5, 2.0, 5.0):
        critical = stats.t.ppf(0.975, seeds - 1)
        law = stats.nct(seeds - 1, t)
        found = power(t * 0.02 / seeds**0.5, 0.02**2, 0.0, seeds, 2, 0.05)
        # 24 quantiles of the chi-square distribution
        assert found == pytest.approx(law.sf(critical) + law.cdf(-critical), abs=0.004)


@pytest.mark.parametrize("methods", [2, 5])
def test_four_in_five_boards_show_the_smallest_difference(methods: int) -> None:
    seeds, items, alpha, number = 4, 60, 0.05 / (methods - 1), 2000
    # Variances of a difference of two methods of `boards`: 0.05 between seeds, 0.3 and 0.4 of items.
    by_seed = 2 * (0.05**2 + 0.4**2 / items)
    by_item = 2 * 0.3**2 / items
    size = smallest_difference(by_seed, by_item, seeds, methods, alpha)
    assert power(size, by_seed, by_item, seeds, methods, alpha) == pytest.approx(0.8, abs=1e-3)
    effects = np.zeros(methods)
    # The standard error of 2,000 boards is 0.01.
    for effect, low, high in ((size, 0.77, 0.83), (size / 3, 0.0, 0.4)):
        effects[0] = effect
        found = boards(number, methods, seeds, items, effects)
        p = compare(found.mean(-1), found).p[:, 0, 1]
        assert low < (p < alpha).mean() < high


def test_a_single_seed_shows_no_difference_and_values_without_spread_show_any() -> None:
    assert smallest_difference(0.01, 0.0, 1, 3, 0.05) == np.inf
    assert smallest_difference(0.0, 0.0, 3, 3, 0.05) == 0.0
    sizes = [smallest_difference(0.01, 0.001, seeds, 3, 0.05) for seeds in (2, 3, 5, 50)]
    assert sizes == sorted(sizes, reverse=True)


def test_no_number_of_seeds_makes_up_for_too_few_items() -> None:
    assert seeds_needed(0.01, 0.02**2, 0.02**2, 2, 0.05) is None
    assert seeds_needed(0.0, 0.02**2, 0.0, 2, 0.05) is None
    few, many = (seeds_needed(size, 0.01, 0.0, 2, 0.05) for size in (0.2, 0.05))
    assert few is not None and many is not None and few < many
