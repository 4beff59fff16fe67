"""Distances of domains to targets."""

from __future__ import annotations

import numpy as np
import ot
import pytest

from shortlist.ot import domain_divergences, mean_cost


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
