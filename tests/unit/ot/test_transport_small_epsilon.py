"""Small epsilons, and and the work before the first full pass: levels, larger samples, partial passes."""

import itertools
import math

import pytest
import torch
from clouds import F64, LARGE_POOL, LARGE_TARGET, POOL, TARGET, cloud
from hypothesis import given
from hypothesis import strategies as st

from shortlist.ot import Penalties, newton, overlap, solve, solver
from shortlist.ot.newton import Sample
from shortlist.ot.problem import Geometry
from shortlist.ot.solver import CORRECTION_FACTOR, partial_pass_share


@pytest.mark.parametrize(
    ("epsilon", "stored_bytes"), [(1e-3, 2**29), (5e-4, 2**29), (2e-4, 2**29), (1e-3, 2**10)]
)
def test_a_thousandth_of_the_mean_cost_is_solved(epsilon: float, stored_bytes: int) -> None:
    found = solve(POOL, TARGET, epsilon=epsilon, tolerance=1e-2, stored_bytes=stored_bytes)
    assert found.converged
    if found.regime == "dense":
        assert found.passes < 600  # visits of the costs that are kept; 1,582 before, and in vain
    best = solve(POOL, TARGET, epsilon=found.epsilon, relative=False, tolerance=1e-6, dtype=F64)
    assert found.dual == pytest.approx(best.dual, rel=1e-4)
    assert found.dual <= best.dual * (1 + 1e-6)


def test_levels_are_put_between_where_one_does_not_come_within_reach(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    levels: list[float] = []
    plain = newton.refine

    def stubborn(sample, f, a, epsilon, tolerance, **how):
        found = plain(sample, f, a, epsilon, tolerance, **how)
        jump = levels[-1] / epsilon if levels else 1.0
        if jump > 1.5:  # as if Newton could not leap so far
            return (*found[:2], 1.0)
        levels.append(epsilon)
        return found

    monkeypatch.setattr(newton, "refine", stubborn)
    found = solve(POOL, TARGET, epsilon=0.01)
    assert found.converged and levels[-1] == pytest.approx(found.epsilon)
    assert max(one / two for one, two in itertools.pairwise(levels)) <= 1.5


def test_a_sample_too_coarse_for_its_epsilon_is_made_larger() -> None:
    pool, target = cloud(10000, 51, d=24, clusters=40), cloud(300, 52, d=24, clusters=12)
    how = {"epsilon": 3e-4, "tolerance": 1e-2, "stored_bytes": 2**25, "regime": "streamed"}
    rows: list[int] = []
    sizes = Sample.__init__

    def noted(self, geometry, made, *args, **more):
        rows.append(len(made))
        sizes(self, geometry, made, *args, **more)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Sample, "__init__", noted)
        patched.setattr(solver, "COARSE_ERROR", 0.02)  # else a pool too large for a unit test
        found = solve(pool, target, **how)
    assert len(rows) == 2 and rows[1] > 2 * rows[0]
    dense = solve(pool, target, epsilon=3e-4, tolerance=1e-3)
    assert found.converged and overlap(found.score, dense.score, 0.05) >= 0.98


@pytest.mark.parametrize("epsilon", [2.0, 0.5])
def test_a_sample_predicts_the_error_that_its_f_has_over_the_pool(epsilon: float) -> None:
    geometry = Geometry.of(LARGE_TARGET, "sqeuclidean")
    a = torch.full((80,), 1 / 80, dtype=F64)
    everything = _sample(geometry, LARGE_POOL, a)
    ratios = []
    for seed in range(8):
        chosen = torch.randperm(6000, generator=torch.Generator().manual_seed(seed))[:800]
        sample = _sample(geometry, LARGE_POOL[chosen], a)
        f, p, _ = newton.anneal(sample, torch.zeros_like(a), a, epsilon, 20.0, 1e-4)
        predicted = sample.sampling_error(p) * math.sqrt(1 / 800 - 1 / 6000)
        true = float((everything.evaluate(f, epsilon).marginal - a).abs().sum())
        ratios.append(true / predicted)
    assert 0.8 < sum(ratios) / len(ratios) < 1.3


def _sample(geometry: Geometry, pool: torch.Tensor, a: torch.Tensor) -> Sample:
    b = torch.full((len(pool),), 1 / len(pool), dtype=F64)
    rows = geometry.prepare(pool)
    return Sample(geometry, rows, b, a.log(), Penalties(), stored=True, fast=False)


@given(
    st.floats(0.1, 50), st.integers(4096, 40000), st.integers(50000, 10**7), st.floats(1e-3, 0.1)
)
def test_a_partial_pass_is_made_only_where_it_saves_a_pass(
    noise: float, sample: int, pool: int, goal: float
) -> None:
    share = partial_pass_share(noise, sample, pool, goal)
    first = noise * math.sqrt(1 / sample - 1 / pool)
    if share == 0:
        return
    rows = sample + share * pool
    left = math.hypot(
        noise * math.sqrt(max(0.0, 1 / rows - 1 / pool)), CORRECTION_FACTOR * first**2
    )
    assert 0 < share <= 0.6 and rows < pool
    assert first > goal  # else one pass is enough as it is
    rate = min(0.9, max(CORRECTION_FACTOR * first, 0.02))
    full = [1.0, 1.0]
    for index, error in enumerate((first, left)):
        while error > goal * (1 + 1e-9):
            error, full[index] = error * rate, full[index] + 1
    assert full[1] + share < full[0] + 1e-9
