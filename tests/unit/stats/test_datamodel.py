"""Linear datamodelling scores in a simulated world whose correlations are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from shortlist.stats.datamodel import datamodelling_score, rank_correlation, reliability

DOCUMENTS, SIZE, NOISE = 400, 50, 5.0


def world(
    subsets: int, agreement: float, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Summed scores and benefits: a benefit is the sum of the documents' worths, and noise; scores
    correlate with worths by `agreement`.
    """
    worth, other = generator.normal(size=(2, DOCUMENTS))
    scores = agreement * worth + (1 - agreement**2) ** 0.5 * other
    rows = generator.permuted(np.tile(np.arange(DOCUMENTS), (subsets, 1)), axis=1)[:, :SIZE]
    return scores[rows].sum(1), worth[rows].sum(1) + generator.normal(0, NOISE, subsets)


def expected(agreement: float) -> float:
    """The rank correlation of that world: of two normal variables 6 / pi asin(r / 2)."""
    # Sums over subsets of a finite pool vary by SIZE (1 - SIZE / DOCUMENTS).
    variance = SIZE * (1 - SIZE / DOCUMENTS)
    r = agreement * (variance / (variance + NOISE**2)) ** 0.5
    return 6 / np.pi * np.arcsin(r / 2)


def test_rank_correlations_are_those_of_scipy_ties_included() -> None:
    x, y = np.random.default_rng(0).integers(0, 6, (2, 30)).astype(float)
    found = rank_correlation(np.stack([x, y, x]), np.stack([y, y, np.ones(30)]))
    assert found[0] == pytest.approx(stats.spearmanr(x, y).statistic)
    assert (found[1], found[2]) == (pytest.approx(1), 0)


@pytest.mark.parametrize("agreement", [-0.9, 0.0, 0.5, 1.0])
def test_the_score_of_a_linear_world_is_the_known_one(agreement: float) -> None:
    generator = np.random.default_rng(1)
    found = [rank_correlation(*world(500, agreement, generator)) for _ in range(40)]
    # Worth and scores of one pool of 400 correlate by `agreement` up to 0.05.
    assert np.mean(found) == pytest.approx(expected(agreement), abs=0.025)


@pytest.mark.slow
def test_nineteen_of_twenty_intervals_hold_the_known_score() -> None:
    generator = np.random.default_rng(2)
    held = lower = 0
    for _ in range(200):
        sums, benefits = world(50, 0.6, generator)
        found = datamodelling_score(sums, benefits, generator)
        held += found.low <= expected(0.6) <= found.high
        lower += found.low > 0
        assert found.low <= found.value <= found.high
    assert held >= 180  # 190 expected, less some for the percentiles of few subsets
    assert lower >= 160  # 50 subsets tell such a score from nothing


@pytest.mark.slow
def test_useless_scores_are_told_useless() -> None:
    generator = np.random.default_rng(3)
    false = 0
    for _ in range(200):
        found = datamodelling_score(*world(50, 0.0, generator), generator)
        false += not found.low <= 0 <= found.high
    assert false <= 22  # 10 expected; more than 22 once in 10,000 times, or of a wrong interval


def test_the_reliability_is_that_of_the_mean_over_items() -> None:
    generator = np.random.default_rng(4)
    for items, noise in ((20, 4.0), (200, 4.0), (200, 1.0)):
        shared = generator.normal(size=(2000, 1))
        measured = shared + generator.normal(0, noise, (2000, items))
        known = 1 / (1 + noise**2 / items)
        assert reliability(measured, generator) == pytest.approx(known, abs=0.04)
    nothing = generator.normal(size=(50, 100))
    assert 0 <= reliability(nothing, generator) < 0.6
    # Items whose sum is the same in every subset: halves disagree.
    assert reliability(nothing - nothing.mean(1, keepdims=True), generator) == 0
