"""A pool that grew by a shard: a warm start, where it holds and where it does not."""

import pytest
import torch
from clouds import LARGE_POOL, LARGE_TARGET, STREAMED, cloud

from shortlist.errors import InvalidInput
from shortlist.numerics.transport import overlap, solve


def test_a_shard_more_needs_only_a_warm_start() -> None:
    pool, target = cloud(44000, 11), cloud(80, 12, clusters=3)
    how = {"relative": False, "stored_bytes": STREAMED, "tolerance": 1e-2}
    scale = solve(pool[:40000], target, epsilon=0.05, stored_bytes=STREAMED).epsilon
    old = solve(pool[:40000], target, epsilon=scale, **how)
    cold = solve(pool, target, epsilon=scale, **how)
    warm = solve(pool, target, epsilon=scale, start=old, grown=True, **how)
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
    warm, cold = solve(grown, target, start=old, grown=True, **how), solve(grown, target, **how)
    assert warm.converged and overlap(warm.score, cold.score, 0.05) >= 0.98


def test_a_grown_pool_that_begins_with_other_rows_is_refused() -> None:
    how = {"epsilon": 1.0, "relative": False, "stored_bytes": STREAMED}
    old = solve(LARGE_POOL, LARGE_TARGET, **how)
    other = torch.cat([LARGE_POOL.flip(0), LARGE_TARGET])
    with pytest.raises(InvalidInput, match="set grown=False"):
        solve(other, LARGE_TARGET, start=old, grown=True, **how)
    with pytest.raises(InvalidInput, match="grown=True needs an earlier result"):
        solve(LARGE_POOL, LARGE_TARGET, grown=True, **how)


def test_the_error_of_an_unlike_shard_is_that_of_the_whole_pool() -> None:
    how = {"epsilon": 1.0, "relative": False, "stored_bytes": STREAMED}
    old = solve(LARGE_POOL, LARGE_TARGET, **how)
    pool = torch.cat([LARGE_POOL, LARGE_TARGET.repeat(8, 1)])
    found = solve(pool, LARGE_TARGET, start=old, grown=True, max_passes=1, **how)
    n, m = len(pool), len(LARGE_TARGET)
    cost = torch.cdist(pool.double(), LARGE_TARGET.double()).square()
    plan = torch.exp(found.f[None] + found.g[:, None] - cost) / (n * m)  # epsilon is 1
    error = float((plan.sum(0) - 1 / m).abs().sum())
    assert found.target_error == pytest.approx(error, rel=1e-2)  # float32 products
    assert found.converged == (error <= found.tolerance)
