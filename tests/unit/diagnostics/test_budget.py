"""The recommended budget, its curve, and the quantities that it follows from."""

from __future__ import annotations

from typing import Any

import numpy as np
import ot
import pytest

from shortlist.config import Advice
from shortlist.diagnostics.budget import (
    calibrated_gradients,
    candidate_budgets,
    first_within_slack,
    mixture_divergences,
    recommend_budget,
    selection_share,
    sign_change,
)
from shortlist.ot import sinkhorn_divergence


def test_budgets_go_to_the_whole_pool_evenly_in_the_logarithm_with_the_given_one() -> None:
    found = candidate_budgets(40_000, 8, 500)
    assert found[0] == 40 and found[-1] == 40_000 and 500 in found and len(found) == 9
    ratios = np.diff(np.log([budget for budget in found if budget != 500]))
    assert ratios.std() < 0.02


@pytest.mark.parametrize(("n", "own"), [(1, 1), (1, 50), (3, 2)])
def test_budgets_of_a_tiny_pool_are_within_it(n: int, own: int) -> None:
    found = candidate_budgets(n, 8, own)
    assert found == sorted(set(found)) and found[-1] == n and found[0] >= 1


def test_a_calibrated_gradient_is_the_gradient_less_the_mean_of_all_others() -> None:
    g = np.array([0.5, -1.0, 2.0, 0.1, 0.3])
    expected = [g[j] - np.delete(g, j).mean() for j in range(len(g))]
    np.testing.assert_allclose(calibrated_gradients(-g), expected, atol=1e-12)


def test_the_gradients_sign_tells_whether_more_of_a_document_lowers_the_exact_cost() -> None:
    rng = np.random.default_rng(0)
    pool, target = rng.normal(size=(8, 2)), rng.normal(size=(5, 2)) + 0.5
    costs = ot.dist(pool, target)
    masses, weights = np.full(8, 1 / 8), np.full(5, 1 / 5)
    _, log = ot.emd2(masses, weights, costs, log=True)
    gradients = calibrated_gradients(-log["u"])
    step, base = 1e-4, ot.emd2(masses, weights, costs)
    slopes = []
    for row in range(8):
        more = np.full(8, (1 / 8) - step / 7)
        more[row] = 1 / 8 + step
        slopes.append((ot.emd2(more, weights, costs) - base) / step)
    clear = np.abs(slopes) > 1e-3
    assert clear.sum() > 4
    np.testing.assert_array_equal(np.sign(slopes)[clear], np.sign(gradients)[clear])
    assert sign_change(gradients) == (np.array(slopes) < 0).sum()


def test_the_share_of_a_selection_is_that_of_its_counted_mass() -> None:
    assert selection_share(50, 1000, 10) == pytest.approx(500 / 1500)
    assert selection_share(1000, 1000, 1) == 0.5


def test_a_mixture_is_the_pool_with_its_selection_repeated() -> None:
    rng = np.random.default_rng(1)
    pool = rng.normal(size=(30, 3)).astype(np.float32)
    target = (0.5 * rng.normal(size=(20, 3)) + 1).astype(np.float32)
    chosen = pool[np.argsort(((pool - 1) ** 2).sum(1))[:6]]
    start, (mixed,) = mixture_divergences(
        pool, [chosen], [selection_share(6, 30, 5)], target, np.full(20, 1 / 20),
        relative_epsilon=0.1, cost="sqeuclidean",
    )  # fmt: skip
    from shortlist.ot import mean_cost

    epsilon = 0.1 * mean_cost(pool, target)
    repeated = np.concatenate([pool] + [chosen] * 5)
    plain, again = (
        sinkhorn_divergence(x, target, epsilon=epsilon, relative=False).value
        for x in (pool, repeated)
    )
    assert start == pytest.approx(plain, abs=1e-3)
    assert mixed == pytest.approx(again, abs=1e-3) and mixed < start


def test_the_pool_mixed_with_itself_is_the_pool() -> None:
    rng = np.random.default_rng(2)
    pool, target = (rng.normal(size=(n, 3)).astype(np.float32) for n in (25, 15))
    start, (mixed,) = mixture_divergences(
        pool, [pool], [0.7], target, np.full(15, 1 / 15), relative_epsilon=0.1, cost="sqeuclidean"
    )
    assert mixed == pytest.approx(start, abs=1e-3)


@pytest.mark.parametrize(
    ("values", "start", "slack", "at"),
    [
        ([0.9, 0.5, 0.4, 0.6], 1.0, 0.0, 2),
        ([0.9, 0.405, 0.4, 0.6], 1.0, 0.01, 1),
        ([0.9, 0.41, 0.4, 0.6], 1.0, 0.01, 2),
        ([1.4, 1.2, 1.3], 1.0, 0.01, 1),
        ([0.4, 0.4], 1.0, 0.0, 0),
    ],
)
def test_the_first_value_within_the_slack_is_where_it_first_within_slack(
    values: list[float], start: float, slack: float, at: int
) -> None:
    assert first_within_slack(values, start, slack) == at


def recommend(potentials: bool, tokens: np.ndarray | None = None, budget: int = 7) -> Any:
    """The recommendation for forty documents, the first ten of which lie at the target."""
    rng = np.random.default_rng(3)
    pool = np.concatenate([rng.normal(size=(10, 2)) + 3, rng.normal(size=(30, 2))])
    target = rng.normal(size=(12, 2)) + 3
    scores = -((pool - 3) ** 2).sum(1)
    scores[39] = -np.inf
    bits = np.arange(40, dtype=np.uint64)
    return recommend_budget(
        scores, bits, pool.astype(np.float32), [target[:5], target[5:]], [0.5, 0.5],
        budget=budget, tokens=tokens, potentials=potentials,
        settings=Advice(1000, 500, 6, 10.0, 0.05, "sqeuclidean", 0.01),
    )  # fmt: skip


def test_the_recommended_budget_is_where_the_divergence_stops_falling() -> None:
    made = recommend(potentials=False)
    divergences = [point["divergence"] for point in made.curve]
    assert [point["budget"] for point in made.curve] == candidate_budgets(39, 6, 7)
    assert 5 < made.budget == made.divergence_stops_falling_at < 20
    assert min(divergences) < made.pool_divergence
    assert made.reason.startswith(f"{made.budget} documents: ")
    assert made.gradient_changes_sign_at is None
    assert {point["gradient"] for point in made.curve} == {None}


def test_the_sign_of_the_gradient_bounds_the_recommended_budget() -> None:
    made = recommend(potentials=True)
    turn = made.gradient_changes_sign_at
    assert made.budget == min(turn, made.divergence_stops_falling_at)
    assert all((point["gradient"] < 0) == (point["budget"] <= turn) for point in made.curve)


def test_a_budget_in_tokens_is_a_point_of_the_curve_and_tokens_are_a_column() -> None:
    made = recommend(potentials=False, tokens=np.full(40, 5), budget=33)
    assert 7 in [point["budget"] for point in made.curve]
    assert [row["tokens"] for row in made.curve] == [5 * row["budget"] for row in made.curve]
    assert "tokens" not in recommend(potentials=False).curve[0]
