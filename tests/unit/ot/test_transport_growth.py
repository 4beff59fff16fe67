"""A pool that grew by a shard: a warm start, where it holds and where it does not."""

import pytest
import torch
from clouds import LARGE_POOL, LARGE_TARGET, STREAMED, cloud

from shortlist.errors import InvalidInput
from shortlist.ot import Earlier, overlap, solve


def test_a_shard_more_needs_only_a_warm_start() -> None:
    pool, target = cloud(44000, 11), cloud(80, 12, clusters=3)
    how = {"relative": False, "stored_bytes": STREAMED, "tolerance": 1e-2}
    scale = solve(pool[:40000], target, epsilon=0.05, stored_bytes=STREAMED).epsilon
    old = solve(pool[:40000], target, epsilon=scale, **how)
    cold = solve(pool, target, epsilon=scale, **how)
    warm = solve(pool, target, epsilon=scale, earlier=Earlier.of(old), **how)
    assert warm.converged and warm.passes <= 0.3 * cold.passes
    assert overlap(warm.score, cold.score, 0.05) >= 0.99
    # The mixed sums are those of the whole pool.
    again = solve(pool, target, epsilon=scale, start=warm.f, max_passes=1, **how)
    assert warm.target_error == pytest.approx(again.target_error, abs=1e-5)
    assert warm.primal == pytest.approx(again.primal, rel=1e-5)


def test_a_shard_of_another_kind_is_noticed_and_solved_for() -> None:
    pool, target = cloud(6000, 11), cloud(80, 12, clusters=3)
    how = {"epsilon": 1.0, "relative": False, "stored_bytes": STREAMED}
    old = solve(pool, target, **how)
    grown = torch.cat([pool, target.repeat(8, 1)])
    warm, cold = solve(grown, target, earlier=Earlier.of(old), **how), solve(grown, target, **how)
    assert warm.converged and overlap(warm.score, cold.score, 0.05) >= 0.98


def test_a_grown_pool_that_begins_with_other_rows_is_refused() -> None:
    how = {"epsilon": 1.0, "relative": False, "stored_bytes": STREAMED}
    old = solve(LARGE_POOL, LARGE_TARGET, **how)
    other = torch.cat([LARGE_POOL.flip(0), LARGE_TARGET])
    with pytest.raises(InvalidInput, match="rows of the earlier solve with the vectors they had"):
        solve(other, LARGE_TARGET, earlier=Earlier.of(old), **how)
    with pytest.raises(InvalidInput, match="over no more rows"):
        solve(LARGE_POOL[:500], LARGE_TARGET, earlier=Earlier.of(old), **how)


@pytest.mark.parametrize("change", ["a", "target", "vectors", "cost"])
def test_a_grown_pool_of_another_problem_is_refused(change: str) -> None:
    how = {"relative": False, "stored_bytes": STREAMED, "epsilon": 1.0}
    old = solve(LARGE_POOL, LARGE_TARGET, **how)
    pool, target, a = torch.cat([LARGE_POOL, cloud(600, 31)]), LARGE_TARGET, torch.ones(80)
    if change == "a":
        a[3] = 1.01
    elif change == "target":
        target = target.clone()
        target[5] += 0.02
    elif change == "vectors":  # by less than the tolerance of a solve, but not those of then
        pool[:6000] *= 1.001
    else:
        how["cost"] = "cosine"
    with pytest.raises(InvalidInput, match="grown pool needs the"):
        solve(pool, target, a=a, earlier=Earlier.of(old), **how)


def test_a_relative_epsilon_stays_where_the_mean_cost_hardly_moved() -> None:
    pool, target = cloud(44000, 11), cloud(80, 12, clusters=3)
    how = {"epsilon": 0.05, "stored_bytes": STREAMED, "tolerance": 1e-2}
    old, cold = solve(pool[:40000], target, **how), solve(pool, target, **how)
    warm = solve(pool, target, earlier=Earlier.of(old), **how)
    assert warm.epsilon == old.epsilon != cold.epsilon
    assert warm.converged and warm.passes <= 0.3 * cold.passes
    assert overlap(warm.score, cold.score, 0.05) >= 0.99


def test_a_relative_epsilon_that_moved_is_solved_for() -> None:
    pool, target = cloud(6000, 11), cloud(80, 12, clusters=3)
    how = {"epsilon": 0.05, "stored_bytes": STREAMED, "tolerance": 1e-2}
    old = solve(pool, target, **how)
    grown = torch.cat([pool, 3 * cloud(3000, 13)])
    warm, cold = solve(grown, target, earlier=Earlier.of(old), **how), solve(grown, target, **how)
    assert warm.epsilon == cold.epsilon > 1.02 * old.epsilon
    assert warm.converged and overlap(warm.score, cold.score, 0.05) >= 0.98


def test_the_old_rows_may_lie_anywhere_in_the_grown_pool() -> None:
    pool, target = cloud(44000, 11), cloud(80, 12, clusters=3)
    how = {"epsilon": 0.05, "stored_bytes": STREAMED, "tolerance": 1e-2}
    old = solve(pool[:40000], target, **how)
    order = torch.randperm(44000, generator=torch.Generator().manual_seed(3))
    place = torch.empty_like(order)
    place[order] = torch.arange(44000)
    one = solve(pool, target, earlier=Earlier.of(old), **how)
    two = solve(pool[order], target, earlier=Earlier.of(old, place[:40000]), **how)
    assert two.passes == one.passes < 0.2
    assert torch.allclose(two.g, one.g[order], atol=1e-5 * one.scale)


def test_the_error_of_an_unlike_shard_is_that_of_the_whole_pool() -> None:
    how = {"epsilon": 1.0, "relative": False, "stored_bytes": STREAMED}
    old = solve(LARGE_POOL, LARGE_TARGET, **how)
    pool = torch.cat([LARGE_POOL, LARGE_TARGET.repeat(8, 1)])
    found = solve(pool, LARGE_TARGET, earlier=Earlier.of(old), max_passes=1, **how)
    n, m = len(pool), len(LARGE_TARGET)
    cost = torch.cdist(pool.double(), LARGE_TARGET.double()).square()
    plan = torch.exp(found.f[None] + found.g[:, None] - cost) / (n * m)  # epsilon is 1
    error = float((plan.sum(0) - 1 / m).abs().sum())
    assert found.target_error == pytest.approx(error, rel=1e-2)  # float32 products
    assert found.converged == (error <= found.tolerance)
