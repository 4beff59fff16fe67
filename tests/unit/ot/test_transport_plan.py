"""The rows of a transport plan, against POT."""

from __future__ import annotations

import numpy as np
import ot
import pytest
import torch

from shortlist.ot import calibrate, solve, transport_plan

RNG = np.random.default_rng(0)


def cloud(centres: list[list[float]], each: int, spread: float = 0.3) -> np.ndarray:
    rows = [np.array(centre) + spread * RNG.normal(size=(each, len(centre))) for centre in centres]
    return np.concatenate(rows).astype(np.float32)


def costs(pool: np.ndarray, target: np.ndarray) -> np.ndarray:
    return ot.dist(pool.astype(float), target.astype(float))


def tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(array) for array in arrays]


def test_the_plan_is_that_of_sinkhorn() -> None:
    pool, target = cloud([[0, 0, 0], [2, 0, 0]], 20), cloud([[0, 1, 0]], 9)
    matrix = costs(pool, target)
    epsilon = 0.1 * matrix.mean()
    expected = ot.sinkhorn(ot.unif(40), ot.unif(9), matrix, epsilon, stopThr=1e-12)
    found = solve(pool, target, epsilon=epsilon, relative=False, tolerance=1e-8)
    plan = transport_plan(*tensors(pool, target), found.f, epsilon=epsilon, cost="sqeuclidean")
    np.testing.assert_allclose(plan.shares / 40, expected, atol=1e-6)
    np.testing.assert_allclose(plan.costs, matrix, atol=1e-5)


def test_a_target_of_twice_the_mass_is_two_targets_in_one_place() -> None:
    pool, target = cloud([[0, 0]], 8), cloud([[0, 0]], 3)
    f = torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64)
    masses = torch.tensor([0.5, 0.25, 0.25])
    found = transport_plan(*tensors(pool, target), f, epsilon=0.3, cost="sqeuclidean", a=masses)
    twice = [0, 0, 1, 2]
    apart = transport_plan(
        *tensors(pool, target[twice]), f[twice], epsilon=0.3, cost="sqeuclidean"
    ).shares
    expected = torch.stack([apart[:, 0] + apart[:, 1], apart[:, 2], apart[:, 3]], 1)
    torch.testing.assert_close(found.shares, expected)


def test_an_exact_plan_sends_all_of_a_document_to_one_target() -> None:
    pool, target = cloud([[0, 0]], 12), cloud([[0, 0]], 5)
    found = solve(pool, target, epsilon=0)
    plan = transport_plan(*tensors(pool, target), found.f, epsilon=0, cost="sqeuclidean")
    assert set(plan.shares.unique().tolist()) == {0.0, 1.0}
    # A document that the linear program splits has two equally good targets.
    slack = costs(pool, target) - found.f.numpy() - found.g.numpy()[:, None]
    assert np.abs(slack[plan.shares.numpy() == 1]).max() < 1e-5 < np.median(slack)


@pytest.mark.parametrize("seed", range(4))
def test_leaving_one_out_of_an_exact_problem_agrees_in_sign_with_its_gradient(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pool = np.concatenate([rng.normal(size=(7, 3)), 3 + rng.normal(size=(7, 3))])
    target = rng.normal(size=(5, 3))
    matrix = costs(pool, target)
    gradient = calibrate(solve(pool, target, epsilon=0, dtype=torch.float64).g).numpy()

    def cost(rows: list[int]) -> float:
        return float(ot.emd2(ot.unif(len(rows)), ot.unif(5), matrix[rows]))

    everything = list(range(14))
    for row in everything:
        change = cost([one for one in everything if one != row]) - cost(everything)
        assert np.sign(change) == -np.sign(gradient[row]), (row, change, gradient[row])
    assert (gradient < 0).any() and (gradient > 0).any()
