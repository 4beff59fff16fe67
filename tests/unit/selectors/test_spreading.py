"""The mass assignment of TSDS against the linear program it solves, and its densities against all pairs."""

import numpy as np
import pytest
from scipy.optimize import linprog

from shortlist.selectors import tsds
from shortlist.selectors.tsds import assign_mass, kernel_density


def program(distances: np.ndarray, density: np.ndarray, alpha: float, scale: float) -> np.ndarray:
    """min alpha / scale <P, D> + (1 - alpha) M t with rho_j P_ij <= t and rows of 1 / M, by HiGHS."""
    m, n = distances.shape
    cost = np.append(alpha / scale * distances.ravel(), (1 - alpha) * m)
    rows = np.zeros((m, m * n + 1))
    for target in range(m):
        rows[target, target * n : (target + 1) * n] = 1
    upper = np.hstack([np.diag(np.tile(density, m)), -np.ones((m * n, 1))])
    found = linprog(
        cost, A_ub=upper, b_ub=np.zeros(m * n), A_eq=rows, b_eq=np.full(m, 1 / m), method="highs"
    )
    assert found.success
    return found.x[:-1].reshape(m, n)


@pytest.mark.parametrize("alpha", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("kde", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_mass_is_the_optimum_of_the_linear_program(alpha: float, kde: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    m, n, scale = 4, 15, 1.3
    distances = rng.uniform(0.2, 2, (m, n))
    density = rng.uniform(1, 4, n) if kde else np.ones(n)
    order = np.argsort(distances, axis=1)
    found = assign_mass(np.take_along_axis(distances, order, 1), density[order], alpha, scale)
    plan = np.zeros((m, n))
    np.put_along_axis(plan, order, found.mass, axis=1)

    def objective(plan: np.ndarray) -> float:
        even = m * float((density * plan).max())
        return float(alpha / scale * (plan * distances).sum() + (1 - alpha) * even)

    best = program(distances, density, alpha, scale)
    np.testing.assert_allclose(plan.sum(1), 1 / m)
    assert objective(plan) == pytest.approx(objective(best), rel=1e-9)
    np.testing.assert_allclose(plan, best, atol=1e-9)


def test_nearness_alone_takes_the_nearest_and_evenness_alone_takes_all() -> None:
    distances = np.sort(np.random.default_rng(0).uniform(0.1, 1, (3, 8)), axis=1)
    near = assign_mass(distances, np.ones((3, 8)), 1.0, 1.0)
    assert near.mass[:, 0] == pytest.approx(1 / 3) and near.exhausted == 0
    even = assign_mass(distances, np.ones((3, 8)), 1e-9, 1.0)
    np.testing.assert_allclose(even.mass, 1 / 24)
    assert even.exhausted == 3  # the lists ended before the trade did


def test_a_list_of_one_holds_all_of_its_targets_mass() -> None:
    assert assign_mass(np.ones((2, 1)), np.ones((2, 1)), 0.5, 1.0).mass.ravel().tolist() == [
        0.5,
        0.5,
    ]


@pytest.mark.parametrize("rows", [3, 16, 4096])
def test_densities_are_those_of_all_pairs(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(tsds, "_ROWS", rows)
    points = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32) + 5
    used = np.array([1, 4, 7, 8, 20, 21, 33, 48])
    apart = ((points[used][:, None] - points[used]) ** 2).sum(2)
    expected = np.maximum(0, 1 - apart / 1.5**2).sum(1)
    assert expected.max() > 1.2
    np.testing.assert_allclose(kernel_density(points, used, 1.5), expected, atol=1e-4)
