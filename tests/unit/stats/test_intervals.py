"""Estimates and their standard errors, against the closed form and the bootstrap."""

import math

import numpy as np
import pytest

from shortlist.stats.intervals import linearised_ratio, ratio_of_sums, upper_tail


def clusters(m: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Token losses of m documents: lengths differ, tokens of one document share a part."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 30, m).astype(float)
    level = rng.normal(3.0, 0.5, m)
    return np.array(
        [rng.normal(a, 1.0, int(n)).sum() for a, n in zip(level, counts, strict=True)]
    ), counts


def test_the_value_is_the_mean_over_all_items() -> None:
    assert ratio_of_sums(np.array([6.0, 4.0]), np.array([3.0, 2.0])).value == 2.0


def test_clusters_of_one_size_give_the_standard_error_of_a_mean_of_means() -> None:
    sums = np.random.default_rng(0).normal(size=40)
    counts = np.full(40, 5.0)
    expected = (sums / 5).std(ddof=1) / math.sqrt(40)
    assert ratio_of_sums(sums, counts).stderr == pytest.approx(expected, rel=1e-12)


def test_the_standard_error_is_that_of_the_bootstrap_over_clusters() -> None:
    sums, counts = clusters(400)
    rows = np.random.default_rng(1).integers(0, 400, (2000, 400))
    bootstrap = (sums[rows].sum(1) / counts[rows].sum(1)).std(ddof=1)
    # 2,000 draws know a standard deviation to 1.6 %; linearisation differs by about 1 / m.
    assert ratio_of_sums(sums, counts).stderr == pytest.approx(bootstrap, rel=0.06)


def test_one_cluster_has_no_standard_error() -> None:
    assert ratio_of_sums(np.array([6.0]), np.array([3.0])).stderr is None


def test_equal_clusters_have_no_error_at_all() -> None:
    assert ratio_of_sums(np.full(5, 6.0), np.full(5, 3.0)).stderr == 0.0


def test_a_paired_difference_is_known_better_than_two_single_losses() -> None:
    before, counts = clusters(200)
    after = before - 0.1 * counts
    drop = ratio_of_sums(before - after, counts)
    single = ratio_of_sums(before, counts)
    assert drop.value == pytest.approx(0.1)
    assert drop.stderr is not None and single.stderr is not None
    assert drop.stderr < single.stderr / 100


@pytest.mark.parametrize("m", [2, 5, 16])
def test_the_upper_tail_of_one_more_draw_is_below_a_level_as_often_as_the_level(m: int) -> None:
    draws = np.random.default_rng(m).normal(3, 2, size=(4000, m + 1))
    tails = np.array([upper_tail(row[0], row[1:]) for row in draws])
    for level in (0.05, 0.5, 0.9):
        assert (tails < level).mean() == pytest.approx(level, abs=4 * math.sqrt(0.25 / 4000))


def test_the_upper_tail_beyond_draws_that_are_all_alike() -> None:
    assert upper_tail(2.0, np.full(4, 1.0)) == 0
    assert upper_tail(1.0, np.full(4, 1.0)) == upper_tail(0.0, np.full(4, 1.0)) == 1


def test_contributions_have_the_ratio_as_mean_and_its_standard_error() -> None:
    sums, counts = clusters(120)
    estimate = ratio_of_sums(sums, counts)
    found = linearised_ratio(sums, counts)
    assert found.mean() == pytest.approx(estimate.value)
    assert found.std(ddof=1) / np.sqrt(120) == pytest.approx(estimate.stderr)
