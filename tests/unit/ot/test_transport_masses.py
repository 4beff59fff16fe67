"""Masses and marginal penalties: copies, clusters of copies, unbalanced problems."""

import math

import numpy as np
import ot
import pytest
import torch
from clouds import F64, LARGE_POOL, LARGE_TARGET, POOL, STREAMED, TARGET, c_transform, dense_plan

from shortlist import ot as transport
from shortlist.errors import InvalidInput
from shortlist.ot import calibrate, overlap, solve
from shortlist.ot.problem import marginal_error


def test_unbalanced_problems_stream_too() -> None:
    how = {"epsilon": 0.02, "target_penalty": 0.1, "pool_penalty": 0.1, "tolerance": 1e-4}
    kept = solve(LARGE_POOL, LARGE_TARGET, **how)
    made = solve(LARGE_POOL, LARGE_TARGET, stored_bytes=STREAMED, **how)
    assert made.regime == "streamed" and made.converged
    assert made.dual == pytest.approx(kept.dual, rel=1e-5)
    assert overlap(kept.score, made.score, 0.05) >= 0.99


@pytest.mark.parametrize(
    ("target_penalty", "pool_penalty"), [(5.0, 5.0), (5.0, math.inf), (math.inf, 5.0)]
)
def test_unbalanced_marginals_agree_with_their_optimality_conditions(
    target_penalty: float, pool_penalty: float
) -> None:
    how = {
        "epsilon": 1.0,
        "relative": False,
        "dtype": F64,
        "target_penalty": target_penalty,
        "pool_penalty": pool_penalty,
    }
    found = solve(POOL, TARGET, tolerance=1e-9, **how)
    plan = dense_plan(found, POOL, TARGET)
    assert torch.allclose(plan.sum(0), (-found.f / target_penalty).exp() / 60, atol=1e-9)
    assert torch.allclose(plan.sum(1), (-found.g / pool_penalty).exp() / 400, atol=1e-9)
    assert found.gap == pytest.approx(0, abs=1e-6 * abs(found.dual))
    rough = solve(POOL, TARGET, tolerance=0.1, **how)
    assert rough.dual <= found.dual + 1e-9 <= rough.primal + 2e-9


def unbalanced_plan(cost: np.ndarray, epsilon: float, rho: float) -> np.ndarray:
    """The plan (N, M) of equal penalties, by plain scaling in float64 until it stands still."""
    n, m = cost.shape
    kernel, power = np.exp(-cost / epsilon), rho / (rho + epsilon)
    v = np.ones(m)
    for _ in range(20000):
        u = (kernel @ v / m) ** -power
        before, v = v, (kernel.T @ u / n) ** -power
        if np.abs(np.log(v / before)).max() < 1e-9:
            return u[:, None] * kernel * v / cost.size
    raise AssertionError("did not come to rest")


@pytest.mark.parametrize("times", [0.05, 1.0, 5.0, 50.0])
@pytest.mark.parametrize("stored_bytes", [2**29, 2**10])
def test_any_penalty_is_solved_to_its_relative_tolerance(times: float, stored_bytes: int) -> None:
    pool, target = POOL[:250], TARGET[:40]
    found = solve(
        pool,
        target,
        epsilon=0.05,
        target_penalty=times,
        pool_penalty=times,
        tolerance=1e-3,
        stored_bytes=stored_bytes,
    )
    assert found.regime == ("streamed" if stored_bytes < 2**20 else "dense") and found.converged
    cost = (torch.cdist(pool.double(), target.double()) ** 2).numpy()
    plan = unbalanced_plan(cost, found.epsilon, times * found.mean_cost)
    ours = dense_plan(found, pool, target).numpy()
    # A small penalty leaves little mass: the error must be small against that, not against one.
    assert np.abs(ours.sum(0) - plan.sum(0)).sum() < 5e-3 * plan.sum()
    assert np.abs(ours - plan).sum() < 5e-3 * plan.sum()
    np.testing.assert_allclose(found.target_marginal.numpy().sum(), plan.sum(), rtol=5e-3)


@pytest.mark.parametrize("stored_bytes", [2**29, 2**10])
def test_a_plan_of_hardly_any_mass_is_solved_too(stored_bytes: int) -> None:
    pool, target = POOL[:250], TARGET[:40] + 8.0  # far from everything: a millionth is worth moving
    found = solve(
        pool,
        target,
        epsilon=0.03,
        target_penalty=0.02,
        pool_penalty=0.02,
        tolerance=1e-3,
        stored_bytes=stored_bytes,
    )
    cost = (torch.cdist(pool.double(), target.double()) ** 2).numpy()
    plan = unbalanced_plan(cost, found.epsilon, 0.02 * found.mean_cost)
    assert plan.sum() < 1e-4 and found.converged
    assert np.abs(dense_plan(found, pool, target).numpy() - plan).sum() < 5e-3 * plan.sum()


def test_an_error_is_a_share_of_the_mass_that_is_wanted() -> None:
    wanted = torch.tensor([1e-6, 3e-6], dtype=F64)
    assert marginal_error(2 * wanted, wanted) == pytest.approx(1.0)


def test_penalties_agree_with_pot() -> None:
    cost = (torch.cdist(POOL.double(), TARGET.double()) ** 2).numpy()
    how = {"target_penalty": 0.5, "pool_penalty": 0.5}
    ours = solve(POOL, TARGET, epsilon=0.1, tolerance=1e-10, dtype=F64, **how)
    theirs = ot.unbalanced.sinkhorn_unbalanced(
        np.full(400, 1 / 400),
        np.full(60, 1 / 60),
        cost,
        ours.epsilon,
        0.5 * ours.mean_cost,
        reg_type="kl",
        numItermax=20000,
        stopThr=1e-12,
    )
    assert np.abs(dense_plan(ours, POOL, TARGET).numpy() - theirs).sum() < 1e-6 * theirs.sum()


def test_large_penalties_are_the_balanced_problem() -> None:
    balanced = solve(POOL, TARGET, epsilon=0.05, tolerance=1e-6, dtype=F64)
    soft = solve(
        POOL, TARGET, epsilon=0.05, tolerance=1e-6, dtype=F64, target_penalty=1e6, pool_penalty=1e6
    )
    assert soft.dual == pytest.approx(balanced.dual, rel=1e-4)


def test_a_mass_of_two_is_two_copies_and_a_mass_of_zero_is_none() -> None:
    b = torch.ones(400)
    b[:50] = 2
    b[350:] = 0
    weighted = solve(POOL, TARGET, epsilon=0.05, b=b, tolerance=1e-7, dtype=F64)
    copies = solve(
        torch.cat([POOL[:350], POOL[:50]]),
        TARGET,
        epsilon=weighted.epsilon,
        relative=False,
        tolerance=1e-7,
        dtype=F64,
    )
    assert torch.allclose(weighted.g[:350], copies.g[:350], atol=1e-5)
    a = torch.ones(60)
    a[40:] = 0
    masked = solve(POOL, TARGET, epsilon=1.0, relative=False, a=a, tolerance=1e-7, dtype=F64)
    fewer = solve(POOL, TARGET[:40], epsilon=1.0, relative=False, tolerance=1e-7, dtype=F64)
    assert torch.allclose(masked.g, fewer.g, atol=1e-5)
    assert bool((masked.f[40:] == 0).all()) and bool((masked.target_marginal[40:] == 0).all())
    alone = c_transform(POOL, TARGET, masked.f, epsilon=1.0, a=a, dtype=F64)
    assert torch.allclose(alone, masked.g, atol=1e-9)


def test_cluster_masses_count_a_cluster_once() -> None:
    b = transport.cluster_masses(np.array([7, 3, 7, 0, 7]))
    assert b.tolist() == pytest.approx([1 / 9, 1 / 3, 1 / 9, 1 / 3, 1 / 9])
    assert b.dtype == F64


@pytest.mark.parametrize("stored_bytes", [2**29, STREAMED])
def test_copies_of_documents_change_nothing_where_their_cluster_counts_once(
    stored_bytes: int,
) -> None:
    copied = torch.arange(0, 6000, 3).repeat(4)
    labels = torch.cat([torch.arange(6000), copied])
    how = {"epsilon": 0.02, "tolerance": 1e-5, "stored_bytes": stored_bytes}
    alone = solve(LARGE_POOL, LARGE_TARGET, **how)
    pool = torch.cat([LARGE_POOL, LARGE_POOL[copied]])
    found = solve(pool, LARGE_TARGET, b=transport.cluster_masses(labels), **how)
    naive = solve(pool, LARGE_TARGET, **how)
    assert found.epsilon == pytest.approx(alone.epsilon, rel=1e-9)
    # Two solves to 1e-5 in float32; the samples of the streamed ones differ.
    assert torch.allclose(found.g[:6000], alone.g, atol=1e-3 * alone.mean_cost)
    assert torch.allclose(found.g[6000:], found.g[copied], atol=1e-5 * alone.mean_cost)
    # What it protects from: copies that count as documents of their own move everybody's potential.
    moved = (calibrate(naive.g)[:6000] - calibrate(alone.g)).abs().max()
    kept = (found.g[:6000] - alone.g).abs().max()
    assert float(moved) > 3 * float(kept)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.array([0, -1]), "must not be negative"),
        (np.array([]), "not empty"),
        (np.array([0.5, 1.0]), "integers"),
        (np.array([[1], [2]]), "a vector"),
    ],
)
def test_labels_that_are_none_are_refused(labels: np.ndarray, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        transport.cluster_masses(labels)
