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
from shortlist.models.heads.labels import Regression, SingleLabel
from shortlist.runtime import Runtime
from shortlist.trainers.classify import Classifier, Validation

LABELS = ("baking", "sailing", "stars")
HEAD = SingleLabel(LABELS)


def examples(seed: int, n: int = 16) -> Corpus:
    return toy.labelled(LABELS, n, seed)


def trainer(**changed: Any) -> Classifier:
    settings = {**toy.TRAINING, "epochs": 5, "keep": "last", "patience": None}
    return Classifier(**{**settings, **changed})


@pytest.fixture(scope="module")
def tuned(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("tuned")
    machine = Runtime(accelerator="cpu", progress=False)
    trainer().train_on(tiny_model, examples(0), None, HEAD, at, 0, machine)
    return at


def test_labels_of_unseen_texts_are_learned(tuned: Path, machine: Any) -> None:
    test = examples(1)
    found = trainer().predict(tuned, test, HEAD, machine).values.argmax(1)
    right = np.mean(
        [LABELS[row] == label for row, label in zip(found, test.labels or (), strict=True)]
    )
    assert right > 0.6  # chance is a third, known from 48 texts to 0.07: four standard errors


def test_probabilities_of_a_text_sum_to_one(tuned: Path, machine: Any) -> None:
    found = trainer().predict(tuned, examples(1), HEAD, machine).values
    assert found.shape == (48, 3)
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-12)  # float64


@pytest.mark.parametrize("tokens", [1, 100])
def test_predictions_do_not_depend_on_the_size_of_batches(
    tuned: Path, machine: Any, tokens: int
) -> None:
    other = Runtime(accelerator="cpu", inference_tokens=tokens, progress=False)
    expected = trainer().predict(tuned, examples(1), HEAD, machine).values
    np.testing.assert_allclose(
        trainer().predict(tuned, examples(1), HEAD, other).values, expected, atol=1e-5
    )


def test_the_same_seed_trains_the_same_weights_bit_for_bit(
    tiny_model: Path, tmp_path: Path, machine: Any
) -> None:
    weights = []
    for run, seed in enumerate((0, 0, 1)):
        at = tmp_path / str(run)
        trainer(epochs=1).train_on(tiny_model, examples(0), None, HEAD, at, seed, machine)
        weights.append(load_file(at / "model.safetensors"))
    first, second, other = weights
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_numbers_are_learned_as_numbers(tiny_model: Path, tmp_path: Path, machine: Any) -> None:
    texts = [*toy.sentences("stars", 24), *toy.sentences("baking", 24)]
    train = Corpus.build(texts, labels=[4.0] * 24 + [1.0] * 24)
    trainer(epochs=8).train_on(tiny_model, train, None, Regression(), tmp_path, 0, machine)
    found = trainer().predict(tmp_path, train, Regression(), machine).values
    assert found.shape == (48,)
    assert found[:24].mean() - found[24:].mean() > 1.5  # half of the true difference


def test_the_second_text_of_a_pair_is_read(tiny_model: Path, tmp_path: Path, machine: Any) -> None:
    same = toy.sentences("music", 24)
    second = [*toy.sentences("stars", 12), *toy.sentences("baking", 12)]
    train = Corpus.build(same, texts_b=second, labels=["x"] * 12 + ["y"] * 12)
    trainer(epochs=12, max_length=64).train_on(
        tiny_model, train, None, SingleLabel(("x", "y")), tmp_path, 0, machine
    )
    found = (
        trainer(max_length=64)
        .predict(tmp_path, train, SingleLabel(("x", "y")), machine)
        .values.argmax(1)
    )
    assert np.mean(found == np.repeat([0, 1], 12)) > 0.9  # chance is a half, known to 0.1


def test_texts_without_labels_are_refused_with_what_to_do(
    tiny_model: Path, tmp_path: Path, machine: Any
) -> None:
    with pytest.raises(InvalidInput, match=r"set until=warmup or task\.label=COLUMN"):
        trainer().train_on(
            tiny_model, Corpus.build(["a"]), None, Regression(), tmp_path, 0, machine
        )


def scripted(*scores: float) -> Validation:
    """Returns a validation whose verdicts are written beforehand."""
    left = list(scores)
    return Validation(examples(1), lambda values: left.pop(0))


def weights_after(
    start: Path, at: Path, machine: Any, validation: Validation | None, **changed: Any
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    facts = trainer(**changed).train_on(start, examples(0), validation, HEAD, at, 0, machine)
    return load_file(at / "model.safetensors"), facts


def test_the_epoch_that_validation_likes_best_is_the_one_that_is_kept(
    tiny_model: Path, tmp_path: Path, machine: Any
) -> None:
    # The schedule is that of three epochs in each run: only what is kept differs.
    last, _ = weights_after(tiny_model, tmp_path / "last", machine, None, epochs=3)
    kept = {}
    for best, scores in ((1, (0.5, 0.5, 0.4)), (2, (0.1, 0.9, 0.9)), (3, (0.1, 0.2, 0.3))):
        kept[best], facts = weights_after(
            tiny_model, tmp_path / str(best), machine, scripted(*scores), epochs=3, keep="best"
        )
        assert facts["epoch"] == best
        assert facts["validation"] == list(scores)
    assert all(torch.equal(kept[3][name], last[name]) for name in last)
    for other in (1, 2):
        assert any(not torch.equal(kept[other][name], last[name]) for name in last)
    assert any(not torch.equal(kept[1][name], kept[2][name]) for name in last)


def test_the_judge_sees_predictions_of_the_model_as_it_is(
    tiny_model: Path, tmp_path: Path, machine: Any
) -> None:
    seen: list[Any] = []
    watched = Validation(examples(1), lambda values: seen.append(values) or 0.0)
    trainer(epochs=1, keep="best").train_on(
        tiny_model, examples(0), watched, HEAD, tmp_path, 0, machine
    )
    expected = trainer().predict(tmp_path, examples(1), HEAD, machine).values
    np.testing.assert_allclose(seen[0], expected, atol=1e-6)


def test_patience_ends_the_training_early(tiny_model: Path, tmp_path: Path, machine: Any) -> None:
    _, facts = weights_after(
        tiny_model,
        tmp_path,
        machine,
        scripted(0.3, 0.5, 0.4, 0.2, 0.9),
        epochs=5,
        keep="best",
        patience=2,
    )
    assert facts["validation"] == [0.3, 0.5, 0.4, 0.2]
    assert facts["epoch"] == 2


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"keep": "first"}, "best or last"),
        ({"keep": "last", "patience": 1}, "keep=best"),
        ({"keep": "best", "patience": 0}, "1 epoch or more"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changed: Any, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        trainer(**changed)


def test_keeping_the_best_needs_validation(tiny_model: Path, tmp_path: Path, machine: Any) -> None:
    empty = Validation(examples(1).take([]), lambda values: 0.0)
    with pytest.raises(InvalidInput, match=r"finetune\.keep=last"):
        weights_after(tiny_model, tmp_path, machine, empty, keep="best", epochs=1)


def test_frozen_layers_stay_and_the_others_learn(
    tiny_model: Path, tmp_path: Path, machine: Any
) -> None:
    validation = Validation(examples(2), lambda values: float(values.max(1).mean()))
    frozen = trainer(frozen_layers=1, keep="best", epochs=2)
    frozen.train_on(tiny_model, examples(0), validation, HEAD, tmp_path, 0, machine)
    before, after = (load_file(at / "model.safetensors") for at in (tiny_model, tmp_path))
    kept = {name for name in after if name in before and torch.equal(before[name], after[name])}
    layers = {name for name in after if ".embeddings." in name or ".layer.0." in name}
    assert layers and kept >= layers and not any(".layer.1." in name for name in kept)
    assert np.isfinite(frozen.predict(tmp_path, examples(1), HEAD, machine).values).all()
