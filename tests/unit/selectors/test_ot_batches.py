"""Batch-wise transport against linear programs written out, and against the whole solve."""

from __future__ import annotations

from typing import Any

import numpy as np
import ot
import pytest
from scipy.stats import spearmanr

from shortlist.core import Corpus, Features
from shortlist.selectors.ot_batches import OTBatches, batch_plan

SETTINGS: dict[str, Any] = {
    "cost": "sqeuclidean", "relative_epsilon": 0.05, "tolerance": 1e-3, "max_passes": 12,
    "sensitivity": True,
}  # fmt: skip


def features(rows: int, seed: int, shift: float = 0.0) -> Features:
    values = np.random.default_rng(seed).normal(shift, 1, (rows, 4)).astype(np.float32)
    corpus = Corpus.build([f"text {seed} {row}" for row in range(rows)]).canonical()
    return Features(values, corpus.fingerprint, "key", corpus)


def fitted(batch: int, pool: Features, target: Features) -> tuple[OTBatches, dict[str, Any]]:
    selector = OTBatches(**SETTINGS, batch=batch)
    selector.show_progress = False
    return selector, dict(selector.fit(target, pool))


def sinkhorn(cost: np.ndarray, epsilon: float) -> tuple[np.ndarray, float]:
    """The pool's entropic potential and the cost of the plan, by POT's log-domain iterations."""
    n, m = cost.shape
    masses = np.full(n, 1 / n), np.full(m, 1 / m)
    plan, found = ot.bregman.sinkhorn_log(
        *masses, cost, epsilon, numItermax=20000, stopThr=1e-6, log=True
    )
    return epsilon * found["log_u"], float((plan * cost).sum())


def test_the_scores_are_those_of_sinkhorn_on_each_pair_and_a_linear_program_between_batches() -> (
    None
):
    pool, target = features(60, 0), features(20, 1, 0.7)
    selector, facts = fitted(20, pool, target)
    assert (facts["batches"], facts["target_batches"], facts["converged"]) == (3, 1, True)
    smaller, facts = fitted(10, pool, target)
    assert (facts["batches"], facts["target_batches"]) == (6, 2)
    cost = ((pool.dense[:, None].astype(np.float64) - target.dense[None]) ** 2).sum(2)
    epsilon = 0.05 * cost.mean()
    order, target_order = (
        np.argsort(one.documents.id_bits(), kind="stable") for one in (pool, target)
    )
    for own, size in ((selector, 20), (smaller, 10)):
        scores = np.zeros(60)
        parts, sides = order.reshape(-1, size), target_order.reshape(-1, size)
        pairs = [[sinkhorn(cost[np.ix_(part, side)], epsilon) for side in sides] for part in parts]
        primal = [[one for _, one in row] for row in pairs]
        shares = np.full(len(parts), 1 / len(parts)), np.full(len(sides), 1 / len(sides))
        plan = ot.emd(*shares, np.array(primal)) * len(parts)
        for k, part in enumerate(parts):
            for j, (g, _) in enumerate(pairs[k]):
                scores[part] -= plan[k, j] * (g - g.mean())
        # A marginal error of 1e-3 and float32 against exact potentials of a spread of several.
        np.testing.assert_allclose(own.pool_scores.numpy(), scores, atol=0.02 * np.ptp(scores))


def test_one_batch_is_the_whole_solve_and_small_batches_lose_something() -> None:
    pool, target = features(400, 2), features(40, 3, 0.5)
    one, _ = fitted(400, pool, target)
    same = one.sensitivity(target, pool)
    assert same["spearman_with_whole_solve"] > 0.9999 and same["overlap_with_whole_solve"] >= 0.95
    many, _ = fitted(20, pool, target)
    less = many.sensitivity(target, pool)
    assert 0.5 < less["spearman_with_whole_solve"] < 0.99
    assert less["spearman_with_whole_solve"] == pytest.approx(
        spearmanr(one.pool_scores, many.pool_scores).statistic, abs=0.01
    )


def test_the_plan_between_batches_meets_their_sizes_at_the_least_cost() -> None:
    parts, target_parts = [np.arange(3), np.arange(1)], [np.arange(2), np.arange(2)]
    plan = batch_plan(np.array([[0.0, 1.0], [1.0, 1.0]]), parts, target_parts)
    np.testing.assert_allclose(plan, [[0.5, 0.25], [0.0, 0.25]], atol=1e-12)
