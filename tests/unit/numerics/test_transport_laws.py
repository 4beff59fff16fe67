"""Laws that any transport between a pool and a target obeys: marginals, duality, gradients."""

import numpy as np
import ot
import pytest
import torch
from clouds import F64, LARGE_POOL, LARGE_TARGET, POOL, STREAMED, TARGET, cloud, dense_plan
from hypothesis import given
from hypothesis import strategies as st

from shortlist.numerics import transport
from shortlist.numerics.transport import calibrate, solve


@pytest.mark.parametrize("cost", transport.COSTS)
@pytest.mark.parametrize("stored_bytes", [2**29, STREAMED])
def test_both_marginals_are_met_over_the_whole_pool(
    cost: transport.Cost, stored_bytes: int
) -> None:
    found = solve(
        LARGE_POOL, LARGE_TARGET, epsilon=0.02, cost=cost, tolerance=1e-3, stored_bytes=stored_bytes
    )
    assert found.regime == ("dense" if stored_bytes > STREAMED else "streamed")
    assert found.converged and found.target_error <= 1e-3
    assert found.pool_error < 1e-5  # float32 rounding of a row of 80 probabilities
    if cost == "sqeuclidean":
        plan = dense_plan(found, LARGE_POOL, LARGE_TARGET)
        assert float((plan.sum(0) - 1 / 80).abs().sum()) == pytest.approx(
            found.target_error, abs=1e-4
        )
        assert float((plan.sum(1) - 1 / 6000).abs().sum()) < 1e-3  # float32 g against exact costs


@pytest.mark.parametrize("cost", transport.COSTS)
def test_the_dual_never_exceeds_the_primal_and_the_gap_shrinks(cost: transport.Cost) -> None:
    best = solve(POOL, TARGET, epsilon=0.05, cost=cost, tolerance=1e-9, dtype=F64)
    gaps = []
    for tolerance in (0.3, 1e-2, 1e-4, 1e-6):
        found = solve(POOL, TARGET, epsilon=0.05, cost=cost, tolerance=tolerance, dtype=F64)
        assert found.dual <= best.dual + 1e-9 * abs(best.dual)
        assert found.primal >= best.dual - 1e-9 * abs(best.dual)
        gaps.append(found.gap)
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 1e-4 * best.dual


def test_the_primal_is_the_objective_of_the_plan() -> None:
    found = solve(POOL, TARGET, epsilon=0.05, tolerance=1e-9, dtype=F64)
    plan, cost = dense_plan(found, POOL, TARGET), torch.cdist(POOL.double(), TARGET.double()) ** 2
    divergence = (plan * (plan * plan.numel()).log()).sum()
    assert found.primal == pytest.approx(
        float((plan * cost).sum() + found.epsilon * divergence), rel=1e-6
    )


def test_it_agrees_with_pot_in_the_log_domain_at_equal_epsilon() -> None:
    cost = (torch.cdist(POOL.double(), TARGET.double()) ** 2).numpy()
    ours = solve(POOL, TARGET, epsilon=0.05, tolerance=1e-10, dtype=F64)
    theirs = ot.sinkhorn(
        np.full(400, 1 / 400),
        np.full(60, 1 / 60),
        cost,
        ours.epsilon,
        method="sinkhorn_log",
        numItermax=10000,
        stopThr=1e-12,
    )
    assert np.abs(dense_plan(ours, POOL, TARGET).numpy() - theirs).sum() < 1e-6


def test_it_agrees_with_the_linear_program_as_epsilon_falls() -> None:
    exact = solve(POOL, TARGET, epsilon=0)
    assert exact.regime == "exact" and exact.converged and abs(exact.gap) < 1e-8
    away = []
    for epsilon in (0.1, 0.01, 0.001):
        found = solve(POOL, TARGET, epsilon=epsilon, tolerance=1e-5, dtype=F64)
        cost = torch.cdist(POOL.double(), TARGET.double()) ** 2
        away.append(float((dense_plan(found, POOL, TARGET) * cost).sum()) - exact.primal)
    assert away == sorted(away, reverse=True)
    assert away[-1] + 1e-4 >= 0 and away[-1] < 0.01 * exact.primal


@pytest.mark.parametrize("regime", ["dense", "exact"])
def test_a_finite_difference_in_one_documents_mass_is_the_calibrated_gradient(regime: str) -> None:
    pool, target = cloud(30, 5), cloud(20, 6, clusters=2)
    epsilon = 0.0 if regime == "exact" else 3.0
    settings_ = {"epsilon": epsilon, "relative": False, "tolerance": 1e-11, "dtype": F64}
    # Unequal target masses: an exact program with equal ones has a kink at equal pool masses.
    a = torch.linspace(1, 2.1, 20, dtype=F64)
    base = torch.linspace(1, 1.7, 30, dtype=F64) / torch.linspace(1, 1.7, 30, dtype=F64).sum()
    gradient = calibrate(solve(pool, target, a=a, b=base, **settings_).g)
    step = 1e-6
    for document in (0, 7, 29):
        values = []
        for sign in (1, -1):
            b = base - sign * step / 29
            b[document] = base[document] + sign * step
            values.append(solve(pool, target, a=a, b=b, **settings_).dual)
        difference = (values[0] - values[1]) / (2 * step)
        assert difference == pytest.approx(float(gradient[document]), rel=1e-4, abs=1e-4)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=40))
def test_calibration_is_affine_and_keeps_the_ranking(values: list[float]) -> None:
    g = torch.tensor(values, dtype=F64)
    n = len(g)
    by_definition = torch.stack([g[j] - (g.sum() - g[j]) / (n - 1) for j in range(n)])
    assert torch.allclose(calibrate(g), by_definition, atol=1e-9)
    order = g.argsort()
    assert bool((calibrate(g)[order].diff() >= -1e-9).all())
