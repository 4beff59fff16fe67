"""Forgetting: probes that are the same for every model, and an encoder under the head it had."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import toy

from shortlist.core import Corpus
from shortlist.diagnostics.assumption import reference_texts
from shortlist.diagnostics.forgetting import (
    Probe,
    mean_vectors,
    probes,
    save_with_language_model_head,
)
from shortlist.models import checkpoint
from shortlist.models.likelihood import held_out_loss
from shortlist.runtime import Runtime

TEXTS = Corpus.build(toy.sentences("sailing", 12))


def test_every_kind_is_in_every_fold_and_no_passage_in_two() -> None:
    reference = reference_texts(None)
    kind, order = probes(reference)
    assert [np.bincount(kind.labels[kind.folds == fold]).tolist() for fold in range(5)] == [
        [2] * 16
    ] * 5
    folds = dict(zip(reference.texts, kind.folds.tolist(), strict=True))
    words = {text: sorted(text.split()) for text in reference.texts}
    for text, fold in zip(order.texts[:100], order.folds.tolist(), strict=False):
        owners = [
            passage for passage, all_words in words.items() if set(text.split()) <= set(all_words)
        ]
        assert fold in {folds[owner] for owner in owners}
    assert 0.4 < order.labels.mean() < 0.6 and len(order.texts) > 300


def test_swapped_sentences_differ_from_the_text_and_the_others_do_not() -> None:
    reference = reference_texts(None)
    _, order = probes(reference)
    whole = {" ".join(text.split()) for text in reference.texts}
    for text, label in zip(order.texts, order.labels.tolist(), strict=True):
        assert any(text in passage for passage in whole) == (label == 0)


def test_a_probe_is_right_where_vectors_hold_the_class_and_at_chance_where_not() -> None:
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], 100)
    probe = Probe("x", [""] * 200, labels, np.arange(200) // 2 % 5)
    noise = rng.normal(size=(200, 8))
    assert probe.correct(noise + 8 * labels[:, None]).mean() == 1.0
    assert abs(probe.correct(noise).mean() - 0.5) < 0.15  # four standard errors


@pytest.mark.parametrize("objective", ["mlm", "clm"])
def test_an_encoder_under_its_own_head_has_the_loss_of_the_language_model(
    objective: str, tiny_model: Path, tiny_gpt2: Path, tmp_path: Path, machine: Runtime
) -> None:
    start = tiny_model if objective == "mlm" else tiny_gpt2
    tuned, moved = tmp_path / "tuned", tmp_path / "moved"
    model = checkpoint.classifier(start, 3)
    checkpoint.save(tuned, model, checkpoint.tokenizer(start))
    with torch.no_grad():
        for weight in model.base_model.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
    checkpoint.save(moved, model, checkpoint.tokenizer(start))
    losses = [held_out_loss(objective, start, TEXTS, 32, machine).sums]
    for number, one in enumerate((tuned, moved)):
        save_with_language_model_head(start, one, objective, tmp_path / str(number))
        losses.append(held_out_loss(objective, tmp_path / str(number), TEXTS, 32, machine).sums)
    np.testing.assert_array_equal(losses[0], losses[1])
    assert (losses[0] != losses[2]).all()
    vectors = [mean_vectors(path, TEXTS.texts, 32, machine) for path in (start, tuned, moved)]
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)  # the order of float32 sums
    assert np.abs(vectors[0] - vectors[2]).max() > 0.1
