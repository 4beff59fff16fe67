"""Weights of methods by which probes are told from the pool, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from shortlist.errors import InvalidInput
from shortlist.stats.probes import normal_ranks, probe_weights


def separated(gain: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Scores of 60 probes and 500 documents whose means are `gain` standard deviations apart."""
    return rng.normal(gain, 1, 60), rng.normal(0, 1, 500)


def test_learned_weights_are_those_of_scikit_learns_logistic_regression() -> None:
    rng = np.random.default_rng(3)
    sides = {name: separated(gain, rng) for name, gain in (("a", 1.0), ("b", 0.5))}
    probes, pool = ({name: pair[at] for name, pair in sides.items()} for at in (0, 1))
    found = probe_weights(probes, pool)
    both = [{n: normal_ranks(side[n], pool[n]) for n in sides} for side in (probes, pool)]
    rows = np.concatenate([np.column_stack(list(side.values())) for side in both])
    is_probe = np.arange(560) < 60
    # Mean loss of classes that count alike, and a ridge of 1e-3: C of the sum over all 560 rows.
    plain = LogisticRegression(C=1 / (2 * 1e-3 * 560), class_weight="balanced", tol=1e-8)
    expected = plain.fit(rows, is_probe).coef_[0]
    assert (expected > 0).all()
    np.testing.assert_allclose(list(found.weights.values()), expected / expected.sum(), atol=1e-4)
    for at, name in enumerate(sides):
        assert found.alone[name] == pytest.approx(roc_auc_score(is_probe, rows[:, at]))
    assert found.together > max(found.alone.values()) - 0.02


def test_a_member_that_tells_nothing_or_the_contrary_gets_no_weight() -> None:
    rng = np.random.default_rng(4)
    sides = {"good": separated(2, rng), "noise": separated(0, rng), "wrong": separated(-2, rng)}
    probes, pool = ({name: pair[at] for name, pair in sides.items()} for at in (0, 1))
    weights = probe_weights(probes, pool).weights
    assert weights["good"] > 0.85 and weights["wrong"] == 0
    with pytest.raises(InvalidInput, match="no member ranks held-out target texts above"):
        probe_weights({"wrong": probes["wrong"]}, {"wrong": pool["wrong"]})
