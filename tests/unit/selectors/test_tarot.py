"""TAROT against exact transport, and against a reading of its released code in numpy."""

import numpy as np
import ot
import pytest
import torch
from scipy.stats import spearmanr

from shortlist.core import Corpus, Features
from shortlist.ot import solve
from shortlist.selectors.tarot import TAROT, joint_whitening, transport_distance, whiten

FOLDS, NEIGHBOURS, RIDGE = 5, 60, 0.01


def clustered(seed: int, targets: int) -> tuple[np.ndarray, np.ndarray]:
    """400 documents of ten clusters, and targets of the first three."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(10, 16))

    def near(of: np.ndarray) -> np.ndarray:
        return (centres[of] + 0.7 * rng.normal(size=(len(of), 16))).astype(np.float32)

    return near(rng.integers(0, 10, 400)), near(rng.integers(0, 3, targets))


def features(values: np.ndarray, word: str) -> Features:
    corpus = Corpus.build([f"{word} {row}" for row in range(len(values))], word)
    return Features(values, corpus.fingerprint, "", corpus)


def released_space(pool: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit rows times inv(L), as `WFDEstimator.get_wfd` of vita-epfl/TAROT multiplies."""
    rows = np.concatenate([pool, target]).astype(np.float64)
    rows -= rows.mean(0)
    covariance = rows.T @ rows / len(rows)
    covariance += RIDGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    rows = rows @ np.linalg.inv(np.linalg.cholesky(covariance))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows[: len(pool)], rows[len(pool) :]


def recommended(white: np.ndarray, wanted: np.ndarray, overshoot: bool) -> np.ndarray:
    """The documents of all folds, each with as many layers as lower the exact distance."""
    cosines = wanted @ white.T
    order = np.argsort(-cosines, axis=1)[:, :NEIGHBOURS]
    part, chosen = np.arange(len(wanted)) % FOLDS, []
    for fold in range(FOLDS):
        mine, rest = order[part == fold], wanted[part != fold]
        useful = np.take_along_axis(cosines[part == fold], mine, 1) > 0
        best, kept = np.inf, np.empty(0, dtype=int)
        for k in range(1, NEIGHBOURS + 1):
            rows = np.unique(mine[:, :k][useful[:, :k]])
            costs = np.sqrt(np.maximum(2 - 2 * white[rows] @ rest.T, 0))
            value = float(ot.emd2(ot.unif(len(rows)), ot.unif(len(rest)), costs))
            if value >= best:
                kept = rows if overshoot else kept
                break
            best, kept = value, rows
        chosen.append(kept)
    return np.unique(np.concatenate(chosen))


@pytest.mark.parametrize("seed", range(3))
def test_the_cost_of_the_plan_is_nearly_exact_and_the_primal_value_is_not(seed: int) -> None:
    pool, target = (torch.from_numpy(part) for part in clustered(seed, 40))
    pool, target = pool / pool.norm(dim=1, keepdim=True), target / target.norm(dim=1, keepdim=True)
    solved = solve(pool, target, epsilon=0.01, cost="euclidean", tolerance=1e-4)
    costs = torch.cdist(pool.double(), target.double()).numpy()
    exact = float(ot.emd2(ot.unif(len(pool)), ot.unif(len(target)), costs))
    of_plan = transport_distance(solved, pool, target)
    assert exact * (1 - 1e-3) < of_plan < exact * 1.02
    assert solved.primal > of_plan + 0.01 * exact


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_layers_end_where_exact_transport_says(released: bool, seed: int) -> None:
    pool, target = clustered(seed, 50)
    if released:
        white, wanted = released_space(pool, target)
    else:
        mean, matrix = joint_whitening([pool, target], RIDGE)
        white, wanted = (whiten(part, mean, matrix).numpy() for part in (pool, target))
    expected = len(recommended(white, wanted, overshoot=released))
    selector = TAROT(FOLDS, NEIGHBOURS, RIDGE, 0.01, 1e-3, released)
    facts = selector.fit(features(target, "target"), features(pool, "pool"))
    assert abs(facts["recommended_budget"] - expected) <= 0.05 * expected


@pytest.mark.parametrize("released", [False, True])
def test_a_layer_is_ordered_by_potential_and_backwards_in_the_released_code(released: bool) -> None:
    pool, target = clustered(0, 50)
    white, wanted = released_space(pool, target)
    if released:  # far from uncorrelated
        assert np.abs(np.cov(white.T) * white.shape[1] - np.eye(white.shape[1])).max() > 0.3
    else:
        mean, matrix = joint_whitening([pool, target], RIDGE)
        white, wanted = (whiten(part, mean, matrix).numpy() for part in (pool, target))
    selector = TAROT(FOLDS, NEIGHBOURS, RIDGE, 0.01, 1e-3, released)
    facts = selector.fit(features(target, "target"), features(pool, "pool"))
    scores = selector.pool_scores.numpy()
    ranking = np.argsort(-scores, kind="stable")[: int(np.isfinite(scores).sum())]
    order = np.argsort(-(wanted @ white.T), axis=1)[:, :NEIGHBOURS]
    layer = np.full(len(pool), NEIGHBOURS)
    np.minimum.at(layer, order.ravel(), np.tile(np.arange(NEIGHBOURS), len(wanted)))
    costs = np.sqrt(np.maximum(2 - 2 * white[ranking] @ wanted.T, 0))
    _, log = ot.bregman.sinkhorn_log(
        ot.unif(len(ranking)),
        ot.unif(len(wanted)),
        costs,
        0.01 * costs.mean(),
        5000,
        1e-6,
        log=True,
    )
    # Rows of one layer, all recommended or none, follow their potentials.
    groups = layer[ranking] * 2 + (np.arange(len(ranking)) >= facts["recommended_budget"])
    agreement = [
        spearmanr(log["log_u"][groups == group], np.arange((groups == group).sum())).statistic
        for group in np.unique(groups)
        if (groups == group).sum() > 20
    ]
    assert len(agreement) > 2
    assert np.min(np.array(agreement) * (-1 if released else 1)) > 0.99


def test_whitened_rows_have_no_mean_and_unit_covariance_before_they_are_scaled() -> None:
    rng = np.random.default_rng(0)
    mixed = (rng.normal(size=(500, 4)) @ rng.normal(size=(4, 4)) + 7).astype(np.float32)
    parts = [mixed[:420], mixed[420:]]
    mean, matrix = joint_whitening(parts, 0.0)
    white = (mixed - mean.numpy()) @ matrix.numpy()
    np.testing.assert_allclose(white.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(4), atol=1e-4)
    unit = whiten(parts[1], mean, matrix).numpy()
    expected = white[420:] / np.linalg.norm(white[420:], axis=1, keepdims=True)
    np.testing.assert_allclose(unit, expected, atol=1e-4)


def test_a_direction_without_variance_is_not_blown_up() -> None:
    flat = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    flat[:, 2] = 1.0
    mean, matrix = joint_whitening([flat], 0.01)
    assert np.isfinite(matrix.numpy()).all()
    assert abs(whiten(flat, mean, matrix)[:, 2]).max() < 1e-3
