"""`shortlist.transport.solve`: vectors in, scores and a certificate out."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

import shortlist
from shortlist.errors import InvalidInput

ROOT = Path(__file__).parents[2]
rng = np.random.default_rng(0)
X, Y = rng.normal(size=(60, 5)).astype(np.float32), rng.normal(size=(9, 5)).astype(np.float32)


def test_the_exact_solution_is_that_of_the_linear_program() -> None:
    import ot

    solved = shortlist.transport.solve(X, Y, relative_epsilon=0)
    cost = ((X[:, None] - Y[None]) ** 2).sum(2).astype(np.float64)
    optimum = ot.emd2(np.full(60, 1 / 60), np.full(9, 1 / 9), cost)
    assert solved.converged and solved.cost == pytest.approx(optimum, rel=1e-5)
    assert solved.scores.shape == (60,) and solved.f.shape == (9,)
    assert (solved.f[None] + solved.g[:, None] <= cost + 1e-4).all()


def test_larger_scores_lower_the_regularised_cost_more() -> None:
    solved = shortlist.transport.solve(X, Y, relative_epsilon=0.05, tolerance=1e-6)
    assert solved.marginal_error < 1e-6 and abs(solved.gap) < 1e-3 * solved.cost
    np.testing.assert_allclose(solved.scores, -solved.g)
    # The definition of the soft minimum, with epsilon as a multiple of the mean cost.
    cost = ((X[:, None] - Y[None]) ** 2).sum(2).astype(np.float64)
    epsilon = solved.transport.epsilon
    assert epsilon == pytest.approx(0.05 * cost.mean(), rel=1e-5)
    g = -epsilon * np.log(np.exp((solved.f[None] - cost) / epsilon).mean(1))
    np.testing.assert_allclose(solved.g, g, atol=1e-4)


def test_defaults_are_those_of_the_selector() -> None:
    written = OmegaConf.load(ROOT / "conf/selector/gotd.yaml")
    for name, parameter in inspect.signature(shortlist.transport.solve).parameters.items():
        if name not in ("X", "Y", "seed"):
            assert parameter.default == written[name]


def test_what_cannot_be_used_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no cost `cosin`; did you mean `cosine`"):
        shortlist.transport.solve(X, Y, cost="cosin")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidInput, match="pool has 5 dimensions, target 4"):
        shortlist.transport.solve(X, Y[:, :4])
