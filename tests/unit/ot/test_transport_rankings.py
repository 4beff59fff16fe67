"""Rankings by a solve: planted documents, images by class, and the released solver."""

import numpy as np
import pytest
import torch
from clouds import POOL, TARGET

from shortlist import ot as transport
from shortlist.ot import calibrate, solve


def test_planted_documents_like_the_target_outrank_noise() -> None:
    g = torch.Generator().manual_seed(8)
    planted = TARGET + 0.1 * torch.randn(60, 16, generator=g)
    noise = 3 * torch.randn(2000, 16, generator=g)
    score = solve(torch.cat([noise, planted]), TARGET, epsilon=0.02).score
    assert float((score.topk(60).indices >= 2000).double().mean()) > 0.95


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
