"""Drift: the level of the test, what it finds, and its divergence against POT's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import ot as pot
import pytest
import scipy.stats
from scipy.spatial.distance import cdist

from shortlist.diagnostics.drift import Drift, DriftSettings, drift, newcombe, permuted
from shortlist.diagnostics.drift_page import drift_page
from shortlist.errors import InvalidInput

QUICK = DriftSettings(permutations=19, clusters=3)


def found_in(pairs: int, one: Callable[[np.random.Generator], bool]) -> int:
    """Returns in how many of `pairs` simulated pairs of samples `one` finds a difference."""
    return sum(one(np.random.default_rng(seed)) for seed in range(pairs))


def by_drift(rng: np.random.Generator) -> bool:
    old, new = rng.normal(size=(14, 2)), rng.normal(size=(10, 2))
    return drift(old, new, QUICK).found


def test_the_test_keeps_its_level_over_200_null_pairs() -> None:
    def one(rng: np.random.Generator) -> bool:
        old, new = rng.standard_t(2, size=(9, 2)), rng.standard_t(2, size=(13, 2))
        test = permuted(lambda x, y: abs(float(x.mean() - y.mean())), old, new, 19, rng)
        return test.p <= 0.05

    assert found_in(200, one) <= scipy.stats.binom.ppf(0.999, 200, 0.05)


def test_the_divergence_keeps_its_level_over_a_few_null_pairs() -> None:
    assert found_in(3, by_drift) <= scipy.stats.binom.ppf(0.999, 3, 0.05)


@pytest.mark.slow
def test_the_divergence_keeps_its_level_over_200_null_pairs() -> None:
    assert found_in(200, by_drift) <= scipy.stats.binom.ppf(0.999, 200, 0.05)


@pytest.fixture(scope="module")
def planted() -> Drift:
    """60 old texts of two kinds; of 60 new ones 20 are of a kind of their own."""
    rng = np.random.default_rng(3)
    old = rng.normal(size=(60, 4)) * 0.3 + np.repeat([[0, 0, 0, 0], [4, 0, 0, 0]], 30, axis=0)
    new = old + rng.normal(size=(60, 4)) * 0.3
    new[:20] = rng.normal(size=(20, 4)) * 0.3 + [0, 4, 0, 0]
    return drift(old, new, DriftSettings(permutations=39, clusters=3))


def test_a_planted_shift_is_found_in_the_cluster_that_it_was_planted_in(planted: Drift) -> None:
    assert planted.found and planted.test.p == 1 / 40 and planted.converged
    first = planted.clusters[0]
    assert first.old == 0 and first.new == 20 and first.p < 0.001
    assert set(first.new_rows) <= set(range(20)) and len(first.new_rows) == 3
    assert first.low < first.new_share - first.old_share < first.high
    assert sum(one.old for one in planted.clusters) == planted.old == 60
    assert sum(one.new for one in planted.clusters) == planted.new == 60
    assert "differ" in planted.sentence and "Select again" in planted.sentence
    assert "cluster 1 grew from 0% to 33%" in planted.sentence
    assert "no single cluster moved" in replace(planted, clusters=()).sentence


def test_the_page_shows_the_null_distribution_and_the_texts(planted: Drift) -> None:
    texts = [f"<b>text {row}</b>" for row in range(60)]
    sheet = drift_page("new against old", planted, texts, texts)
    assert sheet.lead == planted.sentence
    assert sum(len(section.figures) for section in sheet.sections) == 2
    assert any(
        row[0].text == "1" for section in sheet.sections for t in section.tables for row in t.rows
    )


def test_equal_samples_have_no_divergence_and_sides_may_be_exchanged() -> None:
    rng = np.random.default_rng(1)
    old, new = rng.normal(size=(20, 3)), rng.normal(size=(15, 3)) + 0.5
    same = drift(old, old[::-1].copy(), QUICK)
    assert same.test.value == pytest.approx(0, abs=1e-3) and not same.found
    assert "no reason to select again" in same.sentence and "few texts" in same.sentence
    one, other = drift(old, new, QUICK), drift(new, old, QUICK)
    assert one.test.value == pytest.approx(other.test.value, rel=1e-3)
    assert one.epsilon == pytest.approx(other.epsilon)
    assert drift(old, new, QUICK).test.null.tolist() == one.test.null.tolist()  # seeded


def test_the_divergence_is_that_of_pot() -> None:
    rng = np.random.default_rng(2)
    old, new = rng.normal(size=(25, 3)), rng.normal(size=(18, 3)) * 1.5 + 0.4
    done = drift(old, new, DriftSettings(permutations=19, relative_epsilon=0.2))
    both = np.concatenate([old, new])
    assert done.epsilon == pytest.approx(0.2 * cdist(both, both, "sqeuclidean").mean(), rel=1e-4)

    def entropic(x: Any, y: Any) -> float:
        """<P, C> + epsilon KL(P | a b), the value of the dual at its optimum."""
        a, b = np.full(len(x), 1 / len(x)), np.full(len(y), 1 / len(y))
        costs = cdist(x, y, "sqeuclidean")
        plan = pot.sinkhorn(a, b, costs, done.epsilon, "sinkhorn_log", 5_000, 1e-8)
        return float(
            (plan * costs).sum() + done.epsilon * (plan * np.log(plan / np.outer(a, b))).sum()
        )

    expected = entropic(old, new) - (entropic(old, old) + entropic(new, new)) / 2
    assert done.test.value == pytest.approx(expected, rel=2e-3)


def test_intervals_of_differences_are_those_of_newcombe() -> None:
    # Newcombe 1998, table II, method 10, case (a): 56/70 - 48/80.
    low, high = newcombe(48, 80, 56, 70)
    assert (low, high) == (pytest.approx(0.0524, abs=1e-4), pytest.approx(0.3339, abs=1e-4))


def test_settings_and_samples_that_cannot_be_compared_are_refused() -> None:
    for changed, reason in (
        ({"permutations": 18}, "expected 19 or more"),
        ({"alpha": 0.0}, "between 0 and 1"),
        ({"clusters": 0}, "1 cluster or more"),
        ({"seed": -1}, "a seed of 0 or more"),
    ):
        with pytest.raises(InvalidInput, match=reason):
            DriftSettings(**changed)
    with pytest.raises(InvalidInput, match="two texts or more"):
        drift(np.zeros((1, 2)), np.ones((5, 2)), QUICK)
    with pytest.raises(InvalidInput, match="the same vector"):
        drift(np.ones((5, 2)), np.ones((5, 2)), QUICK)
