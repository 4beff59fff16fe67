"""What is odd is answered, what cannot be answered is refused by name, what fell short says so."""

import math

import pytest
import torch
from clouds import F64, LARGE_POOL, LARGE_TARGET, POOL, STREAMED, TARGET

from shortlist.errors import DoesNotFit, InvalidInput
from shortlist.numerics import transport
from shortlist.numerics.transport import c_transform, solve


def test_with_one_target_the_potential_is_the_cost() -> None:
    found = solve(POOL, TARGET[:1], epsilon=0.05)
    cost = (POOL.double() - TARGET[:1].double()).square().sum(1)
    assert torch.allclose(found.g, cost, atol=1e-5 * float(cost.mean()))  # float32 products
    assert float(found.f.abs().max()) == 0


def test_a_forecast_counts_the_vectors_and_not_only_the_pairs() -> None:
    few = transport.forecast(10**7, 6, 384, epsilon=0.01, memory_limit=2**34)
    assert few.regime == "streamed" and few.bytes < 2**31
    with pytest.raises(DoesNotFit, match=r"epsilon=0\.01"):
        transport.forecast(10**6, 5, 384, epsilon=0, memory_limit=2**32)


@pytest.mark.parametrize(
    "case", ["one target", "fewer candidates", "one candidate", "duplicates", "zeros"]
)
def test_odd_problems_are_answered(case: str) -> None:
    pool, target = {
        "one target": (POOL, TARGET[:1]),
        "fewer candidates": (POOL[:9], TARGET),
        "one candidate": (POOL[:1], TARGET),
        "duplicates": (POOL[:5].repeat(60, 1), TARGET[:3].repeat(20, 1)),
        "zeros": (torch.cat([POOL, torch.zeros(9, 16)]), TARGET),
    }[case]
    found = solve(pool, target, epsilon=0.05)
    assert found.converged and bool(torch.isfinite(found.g).all())
    assert len(found.g) == len(pool) and len(found.f) == len(target)
    if case == "duplicates":
        assert torch.allclose(found.g[:5], found.g[5:10], atol=1e-5)


@pytest.mark.parametrize("stored_bytes", [2**29, STREAMED])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_vector_that_is_not_finite_is_refused_by_row(stored_bytes: int, value: float) -> None:
    pool = LARGE_POOL.clone()
    pool[4321, 3] = value
    with pytest.raises(InvalidInput, match="pool row: 4321"):
        solve(pool, LARGE_TARGET, epsilon=0.05, stored_bytes=stored_bytes)
    with pytest.raises(InvalidInput, match="target row: 4321"):
        solve(LARGE_POOL, pool, epsilon=0.05, stored_bytes=stored_bytes)
    with pytest.raises(InvalidInput, match="pool row: 4321"):
        c_transform(pool, LARGE_TARGET, torch.zeros(80), epsilon=0.5)


def test_a_zero_vector_has_no_cosine() -> None:
    pool = LARGE_POOL.clone()
    pool[77] = 0
    with pytest.raises(InvalidInput, match=r"not zero .cost=cosine.; drop or repair pool row: 77"):
        solve(pool, LARGE_TARGET, epsilon=0.05, cost="cosine")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"epsilon": 1e-9}, "epsilon is too small"),
        ({"epsilon": -1.0}, "epsilon must be"),
        ({"epsilon": math.nan}, "epsilon must be"),
        ({"cost": "manhattan"}, "cost must be one of"),
        ({"a": torch.ones(3)}, "one mass a row"),
        ({"b": -torch.ones(400)}, "not negative"),
        ({"start": torch.zeros(3)}, "one finite value a target"),
        ({"tolerance": 0.0}, "tolerance"),
        ({"dtype": torch.float16}, "dtype"),
        ({"pool_penalty": 0.0}, "penalties"),
    ],
)
def test_bad_settings_are_refused_by_name(change: dict, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        solve(POOL, TARGET, **{"epsilon": 0.05, **change})


def test_bad_shapes_are_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="one featurizer"):
        solve(POOL, TARGET[:, :8], epsilon=0.05)
    with pytest.raises(InvalidInput, match="not empty"):
        solve(POOL[:0], TARGET, epsilon=0.05)
    with pytest.raises(InvalidInput, match="convert it"):
        solve(POOL.long(), TARGET, epsilon=0.05)
    with pytest.raises(InvalidInput, match="mean cost of zero"):
        solve(torch.ones(5, 2), torch.ones(3, 2), epsilon=0.05)


def test_what_is_too_small_for_float32_is_solved_in_float64() -> None:
    small = 3e-7
    with pytest.raises(InvalidInput, match="dtype=float64"):
        solve(POOL[:40], TARGET[:20], epsilon=small)
    found = solve(POOL[:40], TARGET[:20], epsilon=small, dtype=F64)
    exact = solve(POOL[:40], TARGET[:20], epsilon=0)
    assert found.converged
    assert found.dual == pytest.approx(exact.dual, rel=1e-5)


def test_a_forecast_chooses_the_regime_and_refuses_what_cannot_fit() -> None:
    assert transport.forecast(100, 10, 4, epsilon=0).regime == "exact"
    assert transport.forecast(1000, 100, 4, epsilon=0.1).regime == "dense"
    large = transport.forecast(10**7, 2000, 384, epsilon=0.1, memory_limit=2**31)
    assert large.regime == "streamed" and "10,000,000 x 2,000" in large.sentence
    with pytest.raises(DoesNotFit, match=r"set epsilon=0\.01"):
        transport.forecast(10**6, 2000, 384, epsilon=0)
    with pytest.raises(DoesNotFit, match="set regime=streamed"):
        transport.forecast(10**6, 2000, 384, epsilon=0.1, regime="dense", memory_limit=2**31)
    with pytest.raises(DoesNotFit, match="fewer targets"):
        transport.forecast(10**7, 50000, 384, epsilon=0.1, memory_limit=2**28)
    with pytest.raises(DoesNotFit, match="time_limit"):
        transport.forecast(10**7, 50000, 384, epsilon=0.1, memory_limit=2**36, time_limit=1)


def test_an_unfinished_solve_says_so() -> None:
    found = solve(
        LARGE_POOL, LARGE_TARGET, epsilon=0.005, tolerance=1e-6, max_passes=1, stored_bytes=STREAMED
    )
    assert not found.converged and found.target_error > 1e-6 and found.full_passes == 1


def test_progress_is_told() -> None:
    seen: list[tuple[float, float]] = []
    solve(
        LARGE_POOL,
        LARGE_TARGET,
        epsilon=0.02,
        stored_bytes=STREAMED,
        progress=lambda passes, error: seen.append((passes, error)),
    )
    passes = [p for p, _ in seen]
    assert passes == sorted(passes) and seen[-1][1] <= 5e-3


def test_where_many_targets_need_it_more_is_stored_by_default() -> None:
    how = {"epsilon": 0.01, "memory_limit": 2**34}
    assert transport.forecast(10**6, 5000, 384, **how).stored
    many = transport.forecast(10**6, 12000, 384, **how)
    assert many.stored and many.sample_rows == 24000
    most = transport.forecast(200_000, 50_000, 384, **how)
    assert not most.stored and most.sample_rows == 100_000 and "made anew" in most.sentence
    tight = transport.forecast(10**6, 12000, 384, epsilon=0.01, memory_limit=2**31)
    assert not tight.stored and tight.bytes < 2**31
