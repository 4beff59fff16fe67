"""Edge cases, refused inputs and settings, forecasts, and the report of an unfinished solve."""

import math
import re
from pathlib import Path

import pytest
import torch
from clouds import F64, LARGE_POOL, LARGE_TARGET, POOL, STREAMED, TARGET, c_transform

from shortlist import ot as transport
from shortlist.errors import DoesNotFit, InvalidInput
from shortlist.ot import solve
from shortlist.ot.resources import available_bytes


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
        # Copies have one potential each, and it is that of the distinct points at equal masses.
        alone = solve(POOL[:5], TARGET[:3], epsilon=found.epsilon, relative=False)
        assert torch.allclose(found.g.view(60, 5), alone.g.expand(60, 5), atol=2e-2 * found.epsilon)
        assert float(alone.g.max() - alone.g.min()) > 10 * found.epsilon


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


def test_an_unfinished_solve_says_so() -> None:
    found = solve(
        LARGE_POOL, LARGE_TARGET, epsilon=0.005, tolerance=1e-6, max_passes=1, stored_bytes=STREAMED
    )
    assert not found.converged and found.target_error > 1e-6 and found.full_passes == 1


def test_progress_is_reported() -> None:
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
    assert not most.stored and most.sample_rows == 100_000 and "recomputed" in most.sentence


def test_the_sample_follows_the_problem_and_not_the_memory_that_is_free() -> None:
    how = {"candidates": 10**6, "targets": 12000, "dimensions": 384, "epsilon": 0.01}
    found = [transport.forecast(**how, memory_limit=2**power) for power in (33, 34, 40)]
    assert {one.sample_rows for one in found} == {24000}
    with pytest.raises(DoesNotFit, match="set stored_bytes=0"):
        transport.forecast(**how, memory_limit=2**31)
    asked = transport.forecast(**how, memory_limit=2**31, stored_bytes=0)
    assert not asked.stored and asked.bytes < 2**31


def test_refusals_use_the_callers_names_of_settings() -> None:
    names = transport.ParameterNames(
        epsilon="selector.relative_epsilon",
        no_stored_costs="selector.stored_mib=0",
        fewer_targets="task.max_train=N",
    )
    how = {"memory_limit": 2**31, "names": names}
    with pytest.raises(DoesNotFit, match=r"set selector\.relative_epsilon=0\.01"):
        transport.forecast(10**6, 2000, 384, epsilon=0, **how)
    with pytest.raises(DoesNotFit, match=r"set selector\.stored_mib=0"):
        transport.forecast(10**6, 12000, 384, epsilon=0.1, **how)
    with pytest.raises(DoesNotFit, match=r"take task\.max_train=N"):
        transport.forecast(10**7, 50000, 384, epsilon=0.1, **{**how, "memory_limit": 2**28})
    with pytest.raises(InvalidInput, match=r"^selector\.relative_epsilon is too small"):
        solve(POOL, TARGET, epsilon=1e-9, names=names)


def test_an_epsilon_named_by_the_refusal_is_accepted() -> None:
    for cost in transport.COSTS:
        with pytest.raises(InvalidInput) as refusal:
            solve(POOL[:40], TARGET[:20], epsilon=1e-9, cost=cost)
        named = re.search(r"set epsilon=(\S+) or more", str(refusal.value))
        assert named is not None
        assert solve(POOL[:40], TARGET[:20], epsilon=1.01 * float(named[1]), cost=cost).epsilon > 0


GROUP = "sys/fs/cgroup"


@pytest.mark.parametrize(
    ("own", "files", "left"),
    [
        ("0::/", {}, 8 << 30),
        ("0::/a/b", {"a/b/memory.max": "max", "a/b/memory.current": 7}, 8 << 30),
        ("0::/a/b", {"a/memory.max": 3 << 30, "a/memory.current": 1 << 30}, 2 << 30),
        (
            "0::/a",
            {
                "a/memory.max": 3 << 30,
                "a/memory.current": 2 << 30,
                "a/memory.stat": f"anon 5\ninactive_file {1 << 30}\n",
            },
            2 << 30,
        ),
        ("0::/of/the/host", {"memory.max": 1 << 30, "memory.current": 0}, 1 << 30),
        (
            "5:cpu:/x\n4:memory:/a",
            {
                "memory/a/memory.limit_in_bytes": 1 << 30,
                "memory/a/memory.usage_in_bytes": 1 << 29,
            },
            1 << 29,
        ),
        (
            "4:memory:/",
            {"memory/memory.limit_in_bytes": 2**63 - 4096, "memory/memory.usage_in_bytes": 5},
            8 << 30,
        ),
    ],
)
def test_free_memory_is_what_the_control_group_leaves(
    own: str, files: dict, left: int, tmp_path: Path
) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable: {8 << 20} kB\n")
    (tmp_path / "proc/self/cgroup").write_text(own + "\n")
    for name, text in files.items():
        (tmp_path / GROUP / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / GROUP / name).write_text(f"{text}\n")
    assert available_bytes(torch.device("cpu"), tmp_path) == left
