"""What a solve is used for: ranking, distances between corpora, the released solver, images."""

from typing import Any

import numpy as np
import pytest
import torch
from clouds import F64, LARGE_POOL, LARGE_TARGET, POOL, TARGET

from shortlist import ot as transport
from shortlist.ot import calibrate, solve


def test_planted_documents_like_the_target_outrank_noise() -> None:
    g = torch.Generator().manual_seed(8)
    planted = TARGET + 0.1 * torch.randn(60, 16, generator=g)
    noise = 3 * torch.randn(2000, 16, generator=g)
    score = solve(torch.cat([noise, planted]), TARGET, epsilon=0.02).score
    assert float((score.topk(60).indices >= 2000).double().mean()) > 0.95


def test_the_divergence_of_a_corpus_from_itself_is_zero_and_grows_with_distance() -> None:
    found = [
        transport.sinkhorn_divergence(POOL, POOL + shift, epsilon=0.05, dtype=F64)
        for shift in (0.0, 0.5, 1.0)
    ]
    assert all(one.converged for one in found)
    far = [one.value for one in found]
    assert abs(far[0]) < 1e-6
    assert far == sorted(far)
    # Moving by v costs |v|^2 exactly once the entropic bias is gone.
    assert far[2] == pytest.approx(16, rel=0.05)


def sensitivity(found: transport.Transport, pool: Any, target: Any) -> Any:
    how = {"epsilon": found.epsilon, "cost": found.cost, "tolerance": found.tolerance}
    return transport.epsilon_sensitivity(pool, target, f=found.f, g=found.g, **how)


def test_epsilon_sensitivity_is_an_overlap() -> None:
    found = solve(LARGE_POOL, LARGE_TARGET, epsilon=0.02)
    figure = sensitivity(found, LARGE_POOL, LARGE_TARGET)
    assert figure.converged and 0.5 < figure.overlap <= 1


def test_a_divergence_says_which_of_its_solves_fell_short() -> None:
    found = transport.sinkhorn_divergence(POOL, TARGET, epsilon=0.05, tolerance=1e-12)
    assert not found.converged and not found.cross.converged
    assert found.first.epsilon == found.second.epsilon == found.epsilon


def test_a_fit_stands_where_half_of_its_epsilon_cannot_be_resolved() -> None:
    found = solve(POOL, TARGET, epsilon=2e-5)
    figure = sensitivity(found, POOL, TARGET)
    assert figure.overlap is None and figure.converged is None
    assert "too small for float32" in figure.reason


def test_the_released_solver_stops_by_its_own_rule_and_its_ranking_is_near() -> None:
    how = {"momentum": 1.3, "max_iterations": 2000}
    loose = transport.released_sinkhorn(POOL, TARGET, epsilon=2.0, threshold=0.1, **how)
    tight = transport.released_sinkhorn(POOL, TARGET, epsilon=2.0, threshold=1e-5, **how)
    ours = solve(POOL, TARGET, epsilon=2.0, relative=False, tolerance=1e-5)
    assert loose.converged and loose.pool_error <= 0.1 and loose.passes < tight.passes
    assert tight.dual == pytest.approx(ours.dual, rel=1e-5)
    assert torch.allclose(calibrate(tight.g), calibrate(ours.g), atol=1e-3)


def test_digit_images_are_selected_by_class() -> None:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    threes = images[labels == 3]
    score = solve(
        images[:1500].astype(np.float32), threes[-40:].astype(np.float32), epsilon=0.02
    ).score
    chosen = labels[:1500][score.topk(100).indices.numpy()]
    assert (chosen == 3).mean() > 0.9
