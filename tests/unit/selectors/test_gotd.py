"""The three methods that score by transport: GOT-D, GOT-D as released, and the ablation without f."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shortlist import ot as transport
from shortlist.core import Features
from shortlist.errors import InvalidInput
from shortlist.ot import resources
from shortlist.selectors.base import score_pool
from shortlist.selectors.gotd import GOTD, GOTDPaper, SoftKNN, TransportSelector

RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(6, 12))


def cloud(rows: int, clusters: int) -> np.ndarray:
    drawn = CENTRES[RNG.integers(clusters, size=rows)] + 0.5 * RNG.normal(size=(rows, 12))
    return drawn.astype(np.float32)


POOL, TARGET, UNSEEN = cloud(500, 6), cloud(40, 2), cloud(30, 6)
SETTINGS = {
    "cost": "sqeuclidean",
    "relative_epsilon": 0.02,
    "tolerance": 1e-3,
    "max_passes": 12,
    "sensitivity": False,
    "masses": "documents",
    "target_penalty": None,
    "pool_penalty": None,
    "stored_mib": None,
}
ROUNDING = 1e-5  # of the mean cost: float32 products in batches of another size


def features(values: np.ndarray) -> Features:
    return Features(values, "print", "key")


def gotd(tolerance: float = 1e-3, max_passes: int = 12, relative_epsilon: float = 0.02) -> GOTD:
    settings = SETTINGS | {
        "tolerance": tolerance,
        "max_passes": max_passes,
        "relative_epsilon": relative_epsilon,
    }
    return GOTD(**settings)


def scores(selector: TransportSelector, values: np.ndarray, machine: object) -> np.ndarray:
    return score_pool(selector, features(values), machine)


def test_a_pool_documents_score_is_minus_its_potential_up_to_a_constant(machine: object) -> None:
    selector = gotd()
    facts = selector.fit(features(TARGET), features(POOL))
    found = transport.solve(POOL, TARGET, epsilon=0.02, tolerance=1e-3)
    difference = scores(selector, POOL, machine) + found.g.numpy()
    assert np.ptp(difference) < ROUNDING * found.mean_cost
    assert facts["converged"] is True
    assert facts["marginal_error"] <= 1e-3
    assert facts["epsilon"] == found.epsilon


@pytest.mark.parametrize(
    "selector",
    [gotd(), SoftKNN("sqeuclidean", 0.02)],
    ids=lambda selector: type(selector).__name__,
)
def test_an_unseen_document_is_scored_by_the_formula_of_the_seen(
    selector: TransportSelector, machine: object
) -> None:
    selector.fit(features(TARGET), features(POOL))
    both = scores(selector, np.concatenate([POOL, UNSEEN]), machine)
    cost = ((UNSEEN[:, None].astype(np.float64) - TARGET) ** 2).sum(2)
    f, epsilon = selector.f.numpy(), float(selector.epsilon)
    expected = epsilon * np.log(np.exp((f - cost) / epsilon).mean(1))
    np.testing.assert_allclose(both[500:], expected, atol=ROUNDING * cost.mean())
    np.testing.assert_allclose(
        both[:500], scores(selector, POOL, machine), atol=ROUNDING * cost.mean()
    )


def test_the_plan_of_a_document_is_what_its_score_makes_of_the_potentials(
    machine: object,
) -> None:
    selector = gotd()
    selector.fit(features(TARGET), features(POOL))
    plan = selector.plan(torch.from_numpy(UNSEEN))
    cost = ((UNSEEN[:, None].astype(np.float64) - TARGET) ** 2).sum(2)
    potential = selector.f.numpy() - scores(selector, UNSEEN, machine)[:, None]
    expected = np.exp((potential - cost) / float(selector.epsilon)) / len(TARGET)
    np.testing.assert_allclose(plan.shares, expected, atol=1e-4)
    np.testing.assert_allclose(plan.costs, cost, atol=ROUNDING * cost.mean())


def test_a_solve_that_falls_short_is_reported_as_such() -> None:
    # Beyond float32: no solve comes to 1e-9.
    selector = gotd(tolerance=1e-9, max_passes=1, relative_epsilon=1e-3)
    facts = selector.fit(features(TARGET), features(POOL))
    assert facts["converged"] is False
    assert facts["marginal_error"] > 1e-9


def test_a_streamed_solve_cut_off_after_one_pass_is_reported_as_such(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resources, "STORED_BYTES", 2**12)  # else so small a pool is solved dense
    reports = []
    for passes in (1, 12):
        selector = gotd(tolerance=1e-2, max_passes=passes, relative_epsilon=0.05)
        reports.append(selector.fit(features(TARGET), features(POOL)))
    assert [report["regime"] for report in reports] == ["streamed", "streamed"]
    assert [report["converged"] for report in reports] == [False, True]


def test_soft_neighbours_are_gotd_without_f_at_the_same_epsilon(machine: object) -> None:
    full, ablation = gotd(), SoftKNN("sqeuclidean", 0.02)
    for selector in (full, ablation):
        selector.fit(features(TARGET), features(POOL))
    assert float(ablation.epsilon) == float(full.epsilon)
    full.keep("f", torch.zeros_like(full.f))
    np.testing.assert_array_equal(scores(full, POOL, machine), scores(ablation, POOL, machine))


def momentum_sinkhorn(
    cost: np.ndarray, epsilon: float, momentum: float, threshold: float
) -> tuple[np.ndarray, np.ndarray, int]:
    """Returns (f, g, iterations) of log-domain Sinkhorn from zero; cost is (N, M)."""
    n, m = cost.shape

    def lse(x: np.ndarray, axis: int) -> np.ndarray:
        top = x.max(axis, keepdims=True)
        return (top + np.log(np.exp(x - top).sum(axis, keepdims=True))).squeeze(axis)

    f, g = np.zeros(m), np.zeros(n)
    for turn in range(1, 2001):
        g = (1 - momentum) * g - momentum * epsilon * (lse((f - cost) / epsilon, 1) - np.log(m))
        f_new = -epsilon * (lse((g[:, None] - cost) / epsilon, 0) - np.log(n))
        f = (1 - momentum) * f + momentum * f_new
        plan = np.exp((f + g[:, None] - cost) / epsilon) / (n * m)
        if np.abs(plan.sum(1) - 1 / n).sum() <= threshold:
            return f, g, turn
    raise AssertionError("did not converge")


def test_the_released_settings_are_plain_sinkhorn_with_momentum(machine: Any) -> None:
    cost = ((POOL[:, None].astype(np.float64) - TARGET) ** 2).sum(2)
    epsilon = 0.1 * float(cost.mean())
    f, g, turns = momentum_sinkhorn(cost, epsilon, 1.3, 0.1)
    selector = GOTDPaper(epsilon, 1.3, 0.1, 2000, None)
    facts = selector.fit(features(TARGET), features(POOL))
    assert turns > 1 and facts["converged"] is True
    # Every iteration is one visit; one more sees that it was enough, and one certifies.
    assert facts["passes"] == turns + 2
    np.testing.assert_allclose(selector.f.numpy(), f, atol=1e-4 * cost.mean())
    # Documents are ranked by the last iterate g, which is not the c-transform of the last f.
    found = selector.score_all(features(POOL), machine)
    np.testing.assert_allclose(found, -g, atol=1e-4 * cost.mean())
    of_f = -epsilon * np.log(np.exp((f - cost) / epsilon).mean(1))
    assert np.abs(-of_f - found).max() > 1e-2 * cost.mean()


def test_the_released_settings_hold_where_costs_are_hundreds_of_epsilons(machine: object) -> None:
    # exp(0.3 h / epsilon) of the first momentum step exceeds float32, and float64 at raw vectors.
    pool, target = 8 * POOL, 8 * TARGET
    cost = ((pool[:, None].astype(np.float64) - target) ** 2).sum(2)
    f, _, turns = momentum_sinkhorn(cost, 0.5, 1.3, 0.1)
    assert np.median(cost.min(1)) / 0.5 > 300
    selector = GOTDPaper(0.5, 1.3, 0.1, 2000, None)
    facts = selector.fit(features(target), features(pool))
    assert facts["converged"] is True
    assert abs(facts["passes"] - (turns + 2)) <= 1  # rounding may move the last turn
    np.testing.assert_allclose(selector.f.numpy(), f, atol=1e-2 * cost.mean())


def test_what_is_restored_replaces_the_scoring_function(machine: object) -> None:
    first, second = SoftKNN("sqeuclidean", 0.02), SoftKNN("sqeuclidean", 0.02)
    first.fit(features(TARGET), features(POOL))
    second.fit(features(TARGET[:5]), features(POOL))
    before = scores(first, UNSEEN, machine)
    first.restore(second.state_dict())
    after = scores(first, UNSEEN, machine)
    assert not np.allclose(before, after)
    np.testing.assert_array_equal(after, scores(second, UNSEEN, machine))


def test_the_released_solver_stopped_by_its_limit_says_so() -> None:
    selector = GOTDPaper(0.5, 1.3, 1e-6, 2, None)
    facts = selector.fit(features(TARGET), features(POOL))
    assert facts["converged"] is False


@pytest.mark.parametrize(
    "selector",
    [gotd(), GOTDPaper(1.0, 1.3, 0.1, 2000, None), SoftKNN("sqeuclidean", 0.02)],
    ids=lambda selector: type(selector).__name__,
)
def test_a_pool_vector_that_is_no_number_is_refused_by_row(selector: TransportSelector) -> None:
    broken = POOL.copy()
    broken[123, 4] = np.nan
    with pytest.raises(InvalidInput, match="drop or repair pool row: 123"):
        selector.fit(features(TARGET), features(broken))


def test_a_mapped_half_precision_pool_is_ranked_as_float32_is(
    tmp_path: Path, machine: object
) -> None:
    np.save(tmp_path / "pool.npy", POOL.astype(np.float16))
    mapped = np.load(tmp_path / "pool.npy", mmap_mode="r")
    half, full = gotd(), gotd()
    half.fit(features(TARGET.astype(np.float16)), features(mapped))
    full.fit(features(TARGET), features(POOL))
    one, two = scores(half, mapped, machine), scores(full, POOL, machine)
    top = [set(np.argsort(-found)[:50].tolist()) for found in (one, two)]
    assert len(top[0] & top[1]) >= 48  # float16 rounds numbers of size 2 at 1e-3


def test_what_fit_kept_scores_alike_in_a_new_selector(machine: object) -> None:
    first, second = gotd(), gotd()
    first.fit(features(TARGET), features(POOL))
    second.restore(first.state_dict())
    np.testing.assert_array_equal(scores(first, UNSEEN, machine), scores(second, UNSEEN, machine))
