"""Sinkhorn divergence, divergences of domains, and sensitivity of a ranking to epsilon."""

from __future__ import annotations

from typing import Any

import numpy as np
import ot
import pytest
from clouds import F64, LARGE_POOL, LARGE_TARGET, POOL, TARGET

from shortlist.ot import (
    Transport,
    domain_divergences,
    epsilon_sensitivity,
    mean_cost,
    sinkhorn_divergence,
    solve,
)


def cloud(seed: int, n: int, shift: float, spread: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (spread * rng.normal(size=(n, 4)) + shift).astype(np.float32)


def cost_by_pot(x: np.ndarray, y: np.ndarray, epsilon: float) -> float:
    """<C, P> + epsilon KL(P | a x b) at POT's plan."""
    costs = ot.dist(x.astype(float), y.astype(float))
    plan = ot.sinkhorn([], [], costs, epsilon, method="sinkhorn_log", numItermax=20_000)
    return float((costs * plan).sum() + epsilon * (plan * np.log(plan * plan.size + 1e-300)).sum())


def test_divergences_are_those_of_pot_under_one_epsilon() -> None:
    domains = {"near": cloud(0, 40, 0.3), "far": cloud(1, 30, 2.0)}
    targets = {"a": cloud(2, 25, 0.0), "b": cloud(3, 20, 1.0)}
    found = domain_divergences(domains, targets, relative_epsilon=0.1, cost="sqeuclidean")
    epsilon = 0.1 * np.mean([mean_cost(x, y) for x in domains.values() for y in targets.values()])
    for domain, x in domains.items():
        for name, y in targets.items():
            own = (cost_by_pot(x, x, epsilon) + cost_by_pot(y, y, epsilon)) / 2
            expected = cost_by_pot(x, y, epsilon) - own
            assert found[domain][name] == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_the_domain_the_target_is_drawn_from_is_nearest_although_another_is_narrower() -> None:
    # Without taking out a cloud's distance to itself, a narrow cloud in the middle would win.
    targets = {"a": cloud(0, 200, 0.0, 2.0)}
    domains = {"same": cloud(1, 200, 0.0, 2.0), "narrow": cloud(2, 200, 0.0, 0.1)}
    found = domain_divergences(domains, targets, relative_epsilon=0.5, cost="sqeuclidean")
    assert found["same"]["a"] < found["narrow"]["a"] / 2


def test_a_domain_that_is_the_target_has_no_distance() -> None:
    x = cloud(0, 60, 0.0)
    found = domain_divergences({"d": x}, {"a": x}, relative_epsilon=0.05, cost="sqeuclidean")
    assert found["d"]["a"] == pytest.approx(0, abs=1e-3)


def test_the_divergence_of_a_corpus_from_itself_is_zero_and_grows_with_distance() -> None:
    found = [
        sinkhorn_divergence(POOL, POOL + shift, epsilon=0.05, dtype=F64)
        for shift in (0.0, 0.5, 1.0)
    ]
    assert all(one.converged for one in found)
    far = [one.value for one in found]
    assert abs(far[0]) < 1e-6
    assert far == sorted(far)
    # Moving by v costs |v|^2 exactly once the entropic bias is gone.
    assert far[2] == pytest.approx(16, rel=0.05)


def sensitivity(found: Transport, pool: Any, target: Any) -> Any:
    how = {"epsilon": found.epsilon, "cost": found.cost, "tolerance": found.tolerance}
    return epsilon_sensitivity(pool, target, f=found.f, g=found.g, **how)


def test_epsilon_sensitivity_is_an_overlap() -> None:
    found = solve(LARGE_POOL, LARGE_TARGET, epsilon=0.02)
    figure = sensitivity(found, LARGE_POOL, LARGE_TARGET)
    assert figure.converged and 0.5 < figure.overlap <= 1


def test_a_divergence_says_which_of_its_solves_fell_short() -> None:
    found = sinkhorn_divergence(POOL, TARGET, epsilon=0.05, tolerance=1e-12)
    assert not found.converged and not found.cross.converged
    assert found.first.epsilon == found.second.epsilon == found.epsilon


def test_a_fit_stands_where_half_of_its_epsilon_cannot_be_resolved() -> None:
    found = solve(POOL, TARGET, epsilon=2e-5)
    figure = sensitivity(found, POOL, TARGET)
    assert figure.overlap is None and figure.converged is None
    assert "too small for float32" in figure.reason
