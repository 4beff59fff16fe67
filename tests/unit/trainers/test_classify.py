"""Fine-tuning: what it learns, what it predicts, what it refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy
from safetensors.torch import load_file

from shortlist.core import Corpus
from shortlist.errors import InvalidInput
from shortlist.runtime import Runtime
from shortlist.trainers.classify import Classifier

LABELS = ("baking", "sailing", "stars")


def examples(seed: int, n: int = 16) -> Corpus:
    texts = [(text, label) for label in LABELS for text in toy.sentences(label, n, seed)]
    return Corpus.build([text for text, _ in texts], labels=[label for _, label in texts])


def trainer(**changed: Any) -> Classifier:
    settings = {
        "epochs": 5,
        "learning_rate": 5e-3,
        "batch_size": 8,
        "max_length": 32,
        "weight_decay": 0.01,
        "warmup_fraction": 0.06,
        "clip": 1.0,
        "precision": "32",
    }
    return Classifier(**{**settings, **changed})


@pytest.fixture(scope="module")
def tuned(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("tuned")
    machine = Runtime(accelerator="cpu", progress=False)
    trainer().train_on(tiny_model, examples(0), LABELS, at, 0, machine)
    return at


def test_labels_of_unseen_texts_are_learned(tuned: Path, machine: Any) -> None:
    test = examples(1)
    found = trainer().predict(tuned, test, 3, machine).values.argmax(1)
    right = np.mean(
        [LABELS[row] == label for row, label in zip(found, test.labels or (), strict=True)]
    )
    assert right > 0.6  # chance is a third, known from 48 texts to 0.07: four standard errors


def test_probabilities_of_a_text_sum_to_one(tuned: Path, machine: Any) -> None:
    found = trainer().predict(tuned, examples(1), 3, machine).values
    assert found.shape == (48, 3)
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-12)  # float64


@pytest.mark.parametrize("tokens", [1, 100])
def test_predictions_do_not_depend_on_the_size_of_batches(
    tuned: Path, machine: Any, tokens: int
) -> None:
    other = Runtime(accelerator="cpu", inference_tokens=tokens, progress=False)
    expected = trainer().predict(tuned, examples(1), 3, machine).values
    np.testing.assert_allclose(
        trainer().predict(tuned, examples(1), 3, other).values, expected, atol=1e-5
    )


def test_the_same_seed_trains_the_same_weights_bit_for_bit(
    tiny_model: Path, tmp_path: Path, machine: Any
) -> None:
    weights = []
    for run, seed in enumerate((0, 0, 1)):
        at = tmp_path / str(run)
        trainer(epochs=1).train_on(tiny_model, examples(0), LABELS, at, seed, machine)
        weights.append(load_file(at / "model.safetensors"))
    first, second, other = weights
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_numbers_are_learned_as_numbers(tiny_model: Path, tmp_path: Path, machine: Any) -> None:
    texts = [*toy.sentences("stars", 24), *toy.sentences("baking", 24)]
    train = Corpus.build(texts, labels=[4.0] * 24 + [1.0] * 24)
    trainer(epochs=8).train_on(tiny_model, train, None, tmp_path, 0, machine)
    found = trainer().predict(tmp_path, train, 1, machine).values
    assert found.shape == (48,)
    assert found[:24].mean() - found[24:].mean() > 1.5  # half of the true difference


def test_the_second_text_of_a_pair_is_read(tiny_model: Path, tmp_path: Path, machine: Any) -> None:
    same = toy.sentences("music", 24)
    second = [*toy.sentences("stars", 12), *toy.sentences("baking", 12)]
    train = Corpus.build(same, texts_b=second, labels=["x"] * 12 + ["y"] * 12)
    trainer(epochs=12, max_length=64).train_on(tiny_model, train, ("x", "y"), tmp_path, 0, machine)
    found = trainer(max_length=64).predict(tmp_path, train, 2, machine).values.argmax(1)
    assert np.mean(found == np.repeat([0, 1], 12)) > 0.9  # chance is a half, known to 0.1


def test_texts_without_labels_are_refused_with_what_to_do(
    tiny_model: Path, tmp_path: Path, machine: Any
) -> None:
    with pytest.raises(InvalidInput, match=r"set until=warmup or task\.label=COLUMN"):
        trainer().train_on(tiny_model, Corpus.build(["a"]), None, tmp_path, 0, machine)
