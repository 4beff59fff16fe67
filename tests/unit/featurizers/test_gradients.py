"""Gradient rows are sketches of what autograd gives one document at a time."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy

from shortlist.core import Corpus
from shortlist.errors import InvalidInput
from shortlist.featurizers import gradient_warmup
from shortlist.featurizers.gradient_warmup import GradientWarmup
from shortlist.featurizers.gradients import Gradients
from shortlist.featurizers.whitening import Whitened
from shortlist.models import checkpoint
from shortlist.models.pretrained import LocalModel, StoredModel
from shortlist.runtime import Runtime

CORPUS = Corpus.build([*toy.sentences("sailing", 5), *toy.sentences("stars", 5), "boat"])
POOL = Corpus.build(toy.sentences("baking", 16)).canonical()
WARMUP = GradientWarmup(documents=12, epochs=3, learning_rate=1e-3, batch_size=4, seed=0)
# Unit vectors; float32 gradients of two layers in another order of summation.
ROUNDING = 2e-5


def featurizer(model: Path, **settings: Any) -> Gradients:
    usual: dict[str, Any] = {"max_length": 24, "layers": 1, "columns": 512, "seed": 3}
    return Gradients(
        LocalModel(str(model)),
        **{**usual, "adam": False, "step": "adamw", "warmup": None, **settings},
    )


def rows(made: Gradients, corpus: Corpus, at: Path, tokens: int = 8192) -> np.ndarray:
    at.mkdir(exist_ok=True)
    machine = Runtime(accelerator="cpu", inference_tokens=tokens, progress=False)
    return np.array(made.compute(corpus, at, machine)[0])


def warmed(model: Path, at: Path, machine: Any, **settings: Any) -> Gradients:
    made = featurizer(model, warmup=WARMUP, **settings)
    at.mkdir()
    made.learn(POOL, at, machine)
    made = made.with_learned(at, "key")
    return made


def one_by_one(made: Gradients, corpus: Corpus, machine: Any, step: bool = False) -> list[Any]:
    """Per checkpoint and document, the matrices' gradients by `backward` on one unpadded document
    each, or the steps that torch's AdamW takes on them.
    """
    reader = made.reader(machine)
    model, words = reader.model.model, reader.model.tokenizer
    blocks = []
    for each in reader.checkpoints:
        each.load_into(reader.modules)
        found = []
        for text, word in zip(corpus.texts, corpus.id_bits(), strict=True):
            asked = reader.model.predictions(Corpus.build([text]))
            assert Corpus.build([text]).id_bits()[0] == word
            ids, place = torch.from_numpy(asked.tokens.ids[0]), asked.positions[0]
            shown = ids.clone()
            if words.mask_token_id is not None:
                shown[place] = words.mask_token_id
            model.requires_grad_(True)
            model.zero_grad()
            logits = model(input_ids=shown[None]).logits[0]
            before = place if words.mask_token_id is not None else place - 1
            torch.nn.functional.cross_entropy(logits[before], ids[place]).backward()
            parts = []
            for name, module in reader.modules.items():
                grad = module.weight.grad
                grad = grad if isinstance(module, torch.nn.Linear) else grad.T
                parts.append((adamw(each, name, grad) if step else grad).numpy())
            found.append(parts)
        blocks.append(found)
    return blocks


def adamw(each: gradient_warmup.Checkpoint, name: str, gradient: torch.Tensor) -> torch.Tensor:
    """What torch's own optimiser takes off the weights at a rate of 1, from the checkpoint's state."""
    weight = torch.nn.Parameter(torch.zeros_like(gradient))
    optimiser = torch.optim.AdamW([weight], lr=1.0, weight_decay=0.0)
    weight.grad = gradient.clone()
    optimiser.state[weight] = {
        "step": torch.tensor(float(each.steps)),
        "exp_avg": each.first[name].clone(),
        "exp_avg_sq": each.second[name].clone(),
    }
    optimiser.step()
    return -weight.detach()


def by_hand(made: Gradients, gradients: list[Any], machine: Any) -> np.ndarray:
    """The sketch, number by number, scaled and weighted as the docstring says."""
    reader = made.reader(machine)
    rates = np.array([each.rate for each in reader.checkpoints])
    blocks = []
    for found, rate in zip(gradients, rates, strict=True):
        sums = np.zeros((len(found), made.width))
        for row, parts in enumerate(found):
            for sketch, part in zip(reader.sketches.values(), parts, strict=True):
                bucket = np.add.outer(sketch.rows.numpy(), sketch.columns.numpy()) % made.width
                sign = np.outer(sketch.row_signs, sketch.column_signs)
                np.add.at(sums[row], bucket, sign * part)
        sums /= np.linalg.norm(sums, axis=1, keepdims=True)
        blocks.append(sums * np.sqrt(rate / rates.sum()))
    return np.hstack(blocks)


@pytest.mark.parametrize("name", ["tiny_model", "tiny_gpt2"])
def test_a_row_is_the_sketched_gradient_of_one_document_by_autograd(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, machine: Any
) -> None:
    made = featurizer(request.getfixturevalue(name))
    few = CORPUS.take([0, 7, 10])
    expected = by_hand(made, one_by_one(made, few, machine), machine)
    np.testing.assert_allclose(rows(made, few, tmp_path / "a"), expected, atol=ROUNDING)


def test_inner_products_of_rows_are_cosines_of_whole_gradients(
    tiny_model: Path, tmp_path: Path, machine: Any
) -> None:
    made = featurizer(tiny_model, layers=2, columns=2**15)
    whole = np.stack(
        [
            np.concatenate([part.ravel() for part in parts])
            for parts in one_by_one(made, CORPUS, machine)[0]
        ]
    )
    whole /= np.linalg.norm(whole, axis=1, keepdims=True)
    found = rows(made, CORPUS, tmp_path / "a")
    # A sketch into d buckets has a standard error of at most sqrt(11 / d) = 0.018 a pair.
    np.testing.assert_allclose(found @ found.T, whole @ whole.T, atol=4 * 0.018)
    assert np.corrcoef((found @ found.T).ravel(), (whole @ whole.T).ravel())[0, 1] > 0.99


@pytest.mark.parametrize("name", ["tiny_model", "tiny_gpt2"])
def test_with_adam_a_row_is_the_optimisers_own_steps_and_then_the_gradients(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, machine: Any
) -> None:
    model = request.getfixturevalue(name)
    made = warmed(model, tmp_path / "warm", machine, adam=True, columns=64)
    few = CORPUS.take([0, 7])
    found = rows(made, few, tmp_path / "a")
    assert found.shape == (2, 2 * 3 * 64)
    steps, plain = np.hsplit(found, 2)
    for half in (steps, plain):
        np.testing.assert_allclose(np.linalg.norm(half, axis=1), 1, atol=ROUNDING)
    expected = by_hand(made, one_by_one(made, few, machine), machine)
    np.testing.assert_allclose(plain, expected, atol=ROUNDING)
    expected = by_hand(made, one_by_one(made, few, machine, step=True), machine)
    np.testing.assert_allclose(steps, expected, atol=10 * ROUNDING)  # small v: larger numbers
    assert np.abs(steps - plain).max() > 0.01


def test_the_released_step_has_epsilon_inside_the_root_and_no_correction(
    tiny_model: Path, tmp_path: Path, machine: Any
) -> None:
    made = warmed(tiny_model, tmp_path / "warm", machine, adam=True, step="released")
    each = made.reader(machine).checkpoints[0]
    (name, square), gradient = next(iter(each.second.items())), torch.randn(1, 1)
    gradients = gradient.expand(2, *square.shape)
    m = 0.9 * each.first[name] + 0.1 * gradients
    v = 0.999 * square + 0.001 * gradients**2
    expected = m / torch.sqrt(v + 1e-8)
    torch.testing.assert_close(
        each.step(name, gradients, "released"), expected, rtol=1e-4, atol=1e-4
    )
    assert not torch.allclose(each.step(name, gradients), each.step(name, gradients, "released"))


def test_the_error_of_the_sketch_is_measured_on_whole_gradients(
    tiny_model: Path, tmp_path: Path, machine: Any
) -> None:
    made = warmed(tiny_model, tmp_path / "warm", machine, columns=128)
    found = made.reader(machine).sketch_error(CORPUS)
    parts = one_by_one(made, CORPUS, machine)[-1]
    whole = np.stack([np.concatenate([part.ravel() for part in row]) for row in parts])
    whole /= np.linalg.norm(whole, axis=1, keepdims=True)
    sketched = rows(made, CORPUS, tmp_path / "a").reshape(len(CORPUS), -1, 128)[:, -1]
    sketched = sketched / np.linalg.norm(sketched, axis=1, keepdims=True)
    pairs = np.triu_indices(len(CORPUS), 1)
    error = (sketched @ sketched.T - whole @ whole.T)[pairs]
    assert found["sketch_error"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-3)
    assert 0.01 < found["sketch_error"] < (11 / 128) ** 0.5 and found["sketch_spearman"] > 0.5


def test_without_adam_the_rows_are_the_gradients_of_the_same_checkpoints(
    tiny_model: Path, tmp_path: Path, machine: Any
) -> None:
    plain, adam = (
        rows(
            warmed(tiny_model, tmp_path / name, machine, adam=name == "adam"), CORPUS, tmp_path / at
        )
        for name, at in (("plain", "a"), ("adam", "b"))
    )
    np.testing.assert_allclose(np.hsplit(adam, 2)[1], plain, atol=ROUNDING)


def test_after_one_step_the_moments_are_the_gradient_and_its_square(
    tiny_model: Path, tmp_path: Path, machine: Any
) -> None:
    made = featurizer(tiny_model, warmup=replace(WARMUP, documents=3, epochs=1))
    made.learn(POOL, tmp_path, machine)
    reader = featurizer(tiny_model).reader(machine)
    asked = reader.model.predictions(POOL.take(range(3)))
    reader.model.model.requires_grad_(True)
    reader.model.losses(asked, np.arange(3))[0].mean().backward()
    (found,) = gradient_warmup.load_checkpoints(tmp_path)
    for name, module in reader.modules.items():
        gradient = module.weight.grad
        for moment, expected in ((found.first, 0.1 * gradient), (found.second, 1e-3 * gradient**2)):
            torch.testing.assert_close(moment[name], expected, rtol=1e-3, atol=1e-12)
    assert found.steps == 1


def test_the_warmup_lowers_the_loss_at_falling_rates(
    tiny_model: Path, tmp_path: Path, machine: Any
) -> None:
    facts = featurizer(tiny_model, warmup=WARMUP).learn(POOL, tmp_path, machine)
    rates = [each.rate for each in gradient_warmup.load_checkpoints(tmp_path)]
    assert facts["last_loss"] < facts["first_loss"]
    assert rates == sorted(rates, reverse=True)
    assert len(rates) == 3
    assert 0 < rates[-1] < WARMUP.learning_rate


@pytest.mark.parametrize("tokens", [1, 60])
@pytest.mark.parametrize("adam", [False, True])
def test_neither_batches_nor_neighbours_have_a_part_in_a_row(
    tiny_model: Path, tmp_path: Path, machine: Any, tokens: int, adam: bool
) -> None:
    made = warmed(tiny_model, tmp_path / "warm", machine, adam=adam)
    whole = rows(made, CORPUS, tmp_path / "a")
    part = rows(made, CORPUS.take(range(10, -1, -3)), tmp_path / "b", tokens)
    np.testing.assert_allclose(part, whole[10::-3], atol=10 * ROUNDING)


def test_a_document_without_words_is_the_zero_row_and_counted(
    tiny_model: Path, tmp_path: Path, machine: Any
) -> None:
    corpus = Corpus.build(["boat", ""])
    values, facts = featurizer(tiny_model).compute(corpus, tmp_path, machine)
    assert facts == {"truncated": 0, "without_words": 1}
    np.testing.assert_allclose(np.linalg.norm(values, axis=1), [1, 0], atol=ROUNDING)


def test_a_model_without_a_trained_head_is_refused_by_name(tmp_path: Path, machine: Any) -> None:
    bare = toy.write_bert(tmp_path / "whole")
    checkpoint.encoder(bare).save_pretrained(tmp_path / "bare")
    checkpoint.tokenizer(bare).save_pretrained(tmp_path / "bare")
    with pytest.raises(InvalidInput, match=r"lacks cls\.predictions"):
        rows(featurizer(tmp_path / "bare"), CORPUS, tmp_path / "a")


def test_adam_without_a_warmup_and_a_warmup_that_was_not_run_are_refused(
    tiny_model: Path, machine: Any
) -> None:
    with pytest.raises(InvalidInput, match=r"featurizer\.adam=true needs"):
        featurizer(tiny_model, adam=True)
    with pytest.raises(InvalidInput, match="before the warm-up"):
        featurizer(tiny_model, warmup=WARMUP).reader(machine)


def test_one_whitening_for_steps_and_gradients_is_refused(tiny_model: Path) -> None:
    both = featurizer(tiny_model, warmup=WARMUP, adam=True)
    with pytest.raises(InvalidInput, match=r"set featurizer\.inner\.adam=false"):
        Whitened(both, "zca", 0.01, True)


def test_the_warmup_is_part_of_the_identity(tiny_model: Path, tmp_path: Path, machine: Any) -> None:
    made = featurizer(tiny_model, warmup=WARMUP)
    made = made.with_model(StoredModel(lambda: tiny_model, "head"))
    made = made.with_learned(tmp_path, "one")
    assert made.identity(machine) == {"model": "head", "warmup": "one"}
