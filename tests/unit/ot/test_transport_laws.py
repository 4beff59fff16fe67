"""Laws that any transport between a pool and a target obeys: marginals, duality, gradients."""

import math

import numpy as np
import ot
import pytest
import torch
from clouds import F64, LARGE_POOL, LARGE_TARGET, POOL, STREAMED, TARGET, cloud, dense_plan
from hypothesis import given
from hypothesis import strategies as st

from shortlist import ot as transport
from shortlist.ot import (
    calibrate,
    newton,
    problem,
    solve,
    solver,
    stream,
)
from shortlist.ot.certificate import pool_marginal_error
from shortlist.ot.problem import Geometry, LogKernel


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
    cost_matrix = true_costs(LARGE_POOL, LARGE_TARGET, cost)
    rows = ((found.f[None] + found.g[:, None] - cost_matrix) / found.epsilon).exp().mean(1)
    # Of 512 rows out of 6,000, and not less than the tiles as computed lose.
    assert found.pool_error == pytest.approx(float((rows - 1).abs().mean()), rel=0.3, abs=2e-6)
    assert found.pool_error_worst <= float((rows - 1).abs().max()) * 1.001
    assert found.pool_error < 1e-3
    if cost == "sqeuclidean":
        plan = dense_plan(found, LARGE_POOL, LARGE_TARGET)
        assert float((plan.sum(0) - 1 / 80).abs().sum()) == pytest.approx(
            found.target_error, abs=1e-4
        )


def true_costs(pool: torch.Tensor, target: torch.Tensor, cost: str) -> torch.Tensor:
    """Costs by direct differences in float64, (N, M)."""
    x, y = pool.double(), target.double()
    if cost == "cosine":
        x, y = (torch.nn.functional.normalize(z) for z in (x, y))
        return 1 - x @ y.T
    away = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
    return away if cost == "euclidean" else away.square()


@pytest.mark.parametrize("share", [0.0, 1e-3, 1e-2])
def test_the_pools_error_sees_a_g_that_is_off(share: float) -> None:
    found = solve(POOL, TARGET, epsilon=0.05, tolerance=1e-9, dtype=F64)
    everywhere, log_a = torch.ones(60, dtype=torch.bool), found.a.log()
    geometry, b = Geometry.of(TARGET, "sqeuclidean"), torch.full((400,), 1 / 400, dtype=F64)
    g = found.g + share * found.epsilon * (torch.arange(400) % 2)  # every other row off by a share
    mean, worst = pool_marginal_error(
        geometry, POOL, TARGET, everywhere, b, found.f, log_a, g, found.epsilon, found.penalties
    )
    assert mean == pytest.approx(math.expm1(share) / 2, rel=1e-3, abs=1e-9)
    assert worst == pytest.approx(math.expm1(share), rel=1e-3, abs=1e-9)


def near_copies() -> tuple[torch.Tensor, torch.Tensor]:
    """A pool far from the origin of which a third lies next to a target, at 1e-4 of its length."""
    g = torch.Generator().manual_seed(41)
    target = cloud(80, 42, clusters=3)
    pool = cloud(900, 43)
    which = torch.randint(80, (300,), generator=g)
    pool[::3] = target[which] + 1e-4 * torch.randn(300, 16, generator=g)
    return pool, target


@pytest.mark.parametrize("stored_bytes", [2**29, 2**10])
def test_the_euclidean_dual_is_a_bound_among_near_copies_too(stored_bytes: int) -> None:
    pool, target = near_copies()
    best = solve(pool, target, epsilon=0.005, cost="euclidean", tolerance=1e-8, dtype=F64)
    found = solve(
        pool,
        target,
        epsilon=best.epsilon,
        relative=False,
        cost="euclidean",
        tolerance=1e-4,
        max_passes=30,
        stored_bytes=stored_bytes,
    )
    assert found.dual <= best.dual * (1 + 1e-7)
    assert found.primal >= best.dual * (1 - 1e-7)
    assert found.pool_error < 1e-3


@pytest.mark.parametrize("scale", [1e-6, 1e-4, 1e-2, 0.1, 1.0])
def test_euclidean_costs_keep_their_digits_at_every_distance(scale: float) -> None:
    target = cloud(50, 44)
    pool = target.repeat(4, 1) + scale * cloud(200, 45)
    geometry = Geometry.of(target, "euclidean")
    rows = geometry.prepare(pool)
    found = geometry.shifted_costs(rows, torch.empty(200, 50)).double()
    exact = torch.cdist(
        rows.double(), geometry.points.double(), compute_mode="donot_use_mm_for_euclid_dist"
    )
    rounding = torch.finfo(torch.float32).eps * geometry.rounding_factor
    longest = float(rows.norm(dim=1).max() + geometry.points.norm(dim=1).max())
    assert float((found - exact).abs().max()) <= rounding * longest
    f, log_a = torch.zeros(50, dtype=F64), torch.zeros(50, dtype=F64)
    kernel = LogKernel(geometry, f, log_a, 1.0)
    logits = kernel.logits(rows, torch.empty(200, 50)).double() + kernel.shift
    assert float((logits + exact).abs().max()) <= rounding * longest


@pytest.mark.parametrize("cost", transport.COSTS)
def test_duality_holds_in_float32_streamed(cost: transport.Cost) -> None:
    best = solve(LARGE_POOL, LARGE_TARGET, epsilon=0.02, cost=cost, tolerance=1e-8, dtype=F64)
    gaps = []
    for tolerance in (0.3, 1e-2, 1e-4):
        found = solve(
            LARGE_POOL,
            LARGE_TARGET,
            epsilon=best.epsilon,
            relative=False,
            cost=cost,
            tolerance=tolerance,
            stored_bytes=STREAMED,
        )
        assert found.regime == "streamed" and found.dtype == torch.float32
        # Means of 6,000 roundings of about 1e-7 each.
        assert found.dual <= best.dual * (1 + 1e-7)
        assert found.primal >= best.dual * (1 - 1e-7)
        gaps.append(found.gap)
    assert gaps[0] > gaps[-1] and gaps[-1] < 1e-3 * best.dual


@pytest.mark.parametrize("cost", transport.COSTS)
@pytest.mark.parametrize("stored_bytes", [2**29, STREAMED])
def test_the_size_of_a_tile_changes_nothing_but_rounding(
    cost: transport.Cost, stored_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = {"epsilon": 0.02, "cost": cost, "tolerance": 1e-3, "stored_bytes": stored_bytes}
    found = []
    for rows in (97, 1024, 6000):
        for module in (newton, problem, solver, stream):
            monkeypatch.setattr(module, "rows_per_block", lambda *_, rows=rows: rows)
        found.append(solve(LARGE_POOL, LARGE_TARGET, **how))
    for other in found[1:]:
        # Rounding can move a solve's last step: potentials agree to the tolerance, in epsilons.
        assert torch.allclose(other.g, found[0].g, atol=2e-3 * found[0].epsilon)
        assert other.dual == pytest.approx(found[0].dual, rel=1e-6)


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
