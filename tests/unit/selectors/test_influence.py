"""Influence of landmarks against products of gradients, and its propagation to the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import toy
from scipy.stats import spearmanr

from shortlist.core import Corpus, Features
from shortlist.errors import InvalidInput
from shortlist.featurizers.gradients import Gradients
from shortlist.featurizers.landmarks import Landmarks
from shortlist.featurizers.transformer import Transformer
from shortlist.models.pretrained import LocalModel
from shortlist.runtime import Runtime
from shortlist.selectors.base import score_pool
from shortlist.selectors.influence import Influence

MACHINE = Runtime(accelerator="cpu", progress=False)
POOL = Corpus.build([*toy.sentences("stars", 20), *toy.sentences("music", 20)]).canonical()
TARGET = Corpus.build(toy.sentences("sailing", 6)).canonical()


def test_a_landmarks_influence_is_its_mean_product_with_the_targets_gradients(
    tiny_gpt2: Path, tmp_path: Path
) -> None:
    model = LocalModel(str(tiny_gpt2))
    made = Landmarks(model, 32, 1, 256, 3, 0.4, "32")
    with pytest.raises(InvalidInput, match="before the target's gradients"):
        made.compute(POOL, tmp_path, MACHINE)
    plain = Gradients(model, 32, 1, 256, 3, False, "adamw", None)
    folders = [tmp_path / name for name in ("learned", "rows", "pool", "target", "vectors")]
    for folder in folders:
        folder.mkdir()
    made.learn(TARGET, folders[0], MACHINE)
    values, counts = made.with_learned(folders[0], "key").compute(POOL, folders[1], MACHINE)
    pool, _ = plain.compute(POOL, folders[2], MACHINE)
    target, _ = plain.compute(TARGET, folders[3], MACHINE)
    vectors, _ = Transformer(model, 32, "mean", -1, True, "32", None).compute(
        POOL, folders[4], MACHINE
    )
    landmark = np.array([int(key[:16], 16) / 2**64 < 0.4 for key in POOL.ids])
    assert counts["landmarks"] == landmark.sum() and 5 < landmark.sum() < 35
    np.testing.assert_array_equal(values[:, -1], landmark)
    exact = (np.asarray(pool) @ np.asarray(target).T).mean(1) * landmark
    # Sums of float32 in batches of other documents.
    np.testing.assert_allclose(values[:, -2], exact, atol=2e-5)
    np.testing.assert_array_equal(values[:, :-2], vectors)


def features(influence: np.ndarray, marks: np.ndarray, points: np.ndarray) -> Features:
    corpus = Corpus.build([f"text {row}" for row in range(len(points))])
    values = np.column_stack([points, influence * marks, marks]).astype(np.float32)
    return Features(values, corpus.fingerprint, "key", corpus)


def test_influence_that_the_vectors_determine_is_propagated_and_noise_is_said_to_be_noise() -> None:
    rng = np.random.default_rng(1)
    points = rng.normal(size=(400, 4))
    truth = np.tanh(points[:, 0]) + 0.3 * points[:, 1]
    marks = (np.arange(400) % 4 == 0).astype(float)
    pool = features(truth, marks, points)
    selector = Influence(landmarks=90)
    facts = selector.fit(pool, pool)
    assert (facts["landmarks"], facts["landmarks_read"]) == (100, 90)
    scores = score_pool(selector, pool, MACHINE)
    others = marks == 0
    assert spearmanr(scores[others], truth[others]).statistic > 0.95
    assert facts["spearman_left_out"] == pytest.approx(
        spearmanr(scores[others], truth[others]).statistic, abs=0.05
    )
    noise = features(rng.normal(size=400), marks, points)
    assert selector.fit(noise, noise)["spearman_left_out"] < 0.3


def test_vectors_without_influence_are_refused() -> None:
    points = np.random.default_rng(2).normal(size=(8, 3))
    none, plain = (
        features(points[:, 0], np.zeros(8), points),
        features(points[:, 0], points[:, 1], points),
    )
    for pool, match in ((none, "three landmarks"), (plain, "set featurizer=landmarks")):
        with pytest.raises(InvalidInput, match=match):
            Influence(100).fit(pool, pool)
