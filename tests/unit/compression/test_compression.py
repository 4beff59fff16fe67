"""Smaller models: gradients and removals against independent computations, reloading, refusals."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy
from safetensors.torch import load_file

from shortlist.compression.base import Given
from shortlist.compression.distil import Distil, distance_of_states, divergence
from shortlist.compression.magnitude import Magnitude, zero_smallest
from shortlist.compression.prune import Prune, norms, strongest, taylor
from shortlist.compression.quantise import Quantise
from shortlist.compression.size import latencies, size_of
from shortlist.core import Corpus
from shortlist.errors import BrokenArtifact, InvalidInput
from shortlist.models import checkpoint
from shortlist.models.heads.labels import MultiLabel, Regression, SingleLabel
from shortlist.models.int8 import rounded
from shortlist.models.pretrained import LocalModel
from shortlist.models.shrinking import (
    bert_layers,
    cut_layers,
    even_layers,
    keep_heads,
    keep_units,
    restore_heads,
)
from shortlist.trainers.classify import Classifier, Validation

LABELS = ("baking", "sailing")
HEAD = SingleLabel(LABELS)
SETTINGS = {**toy.TRAINING, "epochs": 1, "keep": "last", "patience": None}


def examples(seed: int, n: int = 8) -> Corpus:
    return toy.labelled(LABELS, n, seed)


def given(machine: Any, **changed: Any) -> Given:
    validation = Validation(examples(1), lambda values: float(values.max()))
    settings = {
        "train": examples(0), "validation": validation, "head": HEAD, "seed": 0, "runtime": machine,
        "trainer": Classifier(**SETTINGS),
    }  # fmt: skip
    return Given(**{**settings, **changed})


def distil(**changed: Any) -> Distil:
    own = {"student": None, "student_layers": None, "temperature": 2.0, "hard": 0.5, "hidden": 0.0}
    return Distil(**{**SETTINGS, **own, **changed})


def prune(**changed: Any) -> Prune:
    own = {"units": 0.5, "heads": 1.0, "importance": "taylor", "examples": 8, "recover": False}
    return Prune(**{**SETTINGS, **own, **changed})


@pytest.fixture(scope="module")
def tuned(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier with random weights large enough that every part of it matters."""
    at = tmp_path_factory.mktemp("tuned")
    torch.manual_seed(0)
    model = HEAD.open(tiny_model)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    checkpoint.save(at, model, checkpoint.tokenizer(tiny_model))
    return at


def read(at: Path, n: int = 8) -> dict[str, torch.Tensor]:
    words = checkpoint.tokenizer(at)
    texts = list(examples(2, n).texts)
    return dict(words(texts, padding=True, truncation=True, max_length=32, return_tensors="pt"))


def logits(model: Any, at: Path) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval()(**read(at)).logits


@pytest.mark.parametrize("temperature", [1.0, 2.0, 7.5])
def test_loss_and_gradient_of_distillation_are_those_of_numpy(temperature: float) -> None:
    generator = np.random.default_rng(0)
    student, teacher = generator.normal(size=(2, 5, 3)) * 3

    def softmax(values: Any) -> Any:
        powers = np.exp(values / temperature)
        return powers / powers.sum(1, keepdims=True)

    known, own = softmax(teacher), softmax(student)
    expected = temperature**2 * (known * np.log(known / own)).sum(1).mean()
    gradient = temperature * (own - known) / len(student)  # T^2, and 1 / T of the inner derivative
    given_student = torch.tensor(student, requires_grad=True)
    loss = divergence(given_student, torch.tensor(teacher), temperature)
    loss.backward()
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    assert given_student.grad is not None
    np.testing.assert_allclose(given_student.grad.numpy(), gradient, rtol=1e-9, atol=1e-12)


def test_the_distance_of_states_ignores_padding_and_maps_layers_evenly() -> None:
    generator = torch.Generator().manual_seed(0)
    teacher = tuple(torch.randn(2, 3, 4, generator=generator) for _ in range(7))
    student = tuple(torch.randn(2, 3, 4, generator=generator) for _ in range(4))
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    expected = np.mean([
        np.mean([((student[j] - teacher[2 * j])[b, t] ** 2).mean() for b, t in ((0, 0), (0, 1), (1, 0))])
        for j in (1, 2, 3)
    ])  # fmt: skip
    assert distance_of_states(student, teacher, mask).item() == pytest.approx(expected, rel=1e-5)


def test_kept_layers_are_even_and_end_with_the_last() -> None:
    assert even_layers(6, 3) == [1, 3, 5]
    assert even_layers(12, 4) == [2, 5, 8, 11]
    for total in range(1, 13):
        assert even_layers(total, total) == list(range(total))
        for kept in range(1, total + 1):
            places = even_layers(total, kept)
            gaps = np.diff([-1, *places])
            assert places[-1] == total - 1 and gaps.max() - gaps.min() <= 1


def test_a_cut_of_all_layers_changes_no_logit_and_one_of_fewer_does(tuned: Path) -> None:
    whole = logits(HEAD.open(tuned), tuned)
    assert torch.equal(logits(cut_layers(HEAD.open(tuned), 2, "cut"), tuned), whole)
    smaller = cut_layers(HEAD.open(tuned), 1, "cut")
    assert smaller.config.num_hidden_layers == 1
    assert not torch.allclose(logits(smaller, tuned), whole, atol=1e-3)
    with pytest.raises(InvalidInput, match="cut must lie between 1 and 2 in this model, found 3"):
        cut_layers(HEAD.open(tuned), 3, "cut")


def test_units_and_heads_without_importance_change_no_logit_when_they_are_removed(
    tuned: Path, machine: Any
) -> None:
    model = HEAD.open(tuned)
    layers = bert_layers(model, "prune")
    dead = (list(range(0, 64, 2)), list(range(32, 64)))
    with torch.no_grad():
        for layer, units in zip(layers, dead, strict=True):
            layer.outer.weight[:, units] = 0
            layer.context.dense.weight[:, 16:] = 0  # what the second head returns is not read
    inputs = HEAD.read(examples(0), model, checkpoint.tokenizer(tuned), 32, labelled=True)
    heads, units = taylor(model, layers, inputs, given(machine))
    assert torch.equal(units == 0, torch.tensor([[u in d for u in range(64)] for d in dead]))
    assert torch.equal(heads == 0, torch.tensor([[False, True]] * 2))
    whole = logits(model, tuned)
    model = keep_units(model, strongest(units, 0.5), "prune")
    model = keep_heads(model, strongest(heads, 0.5), "prune")
    assert sum(one.numel() for one in model.parameters()) < size_of(tuned)["parameters"]
    torch.testing.assert_close(logits(model, tuned), whole, atol=1e-5, rtol=0)


def test_importance_is_the_derivative_of_the_loss_by_a_gate(tuned: Path, machine: Any) -> None:
    """Against a difference quotient in float64: one unit's and one head's output scaled by 1 + h."""
    model = HEAD.open(tuned).double()
    layers = bert_layers(model, "prune")
    corpus = examples(0).take([3])
    inputs = HEAD.read(corpus, model, checkpoint.tokenizer(tuned), 32, labelled=True)
    heads, units = taylor(model, layers, inputs, given(machine))
    batch = inputs.labelled([0])
    labels = batch.pop("labels")

    def loss_with(reader: Any, columns: list[int], factor: float) -> float:
        before = reader.weight.detach().clone()
        with torch.no_grad():
            reader.weight[:, columns] *= factor
            loss = torch.nn.functional.cross_entropy(model(**batch).logits, labels).item()
            reader.weight.copy_(before)
        return loss

    step = 1e-5
    for reader, columns, found in (
        (layers[0].outer, [5], units[0, 5]),
        (layers[1].context.dense, list(range(16, 32)), heads[1, 1]),
    ):
        sides = [loss_with(reader, columns, 1 + sign * step) for sign in (-1, 1)]
        # the head's loss is float32 (Head.loss), so is the gradient's relative error of 1e-6
        assert float(found) == pytest.approx(abs(sides[1] - sides[0]) / (2 * step), rel=1e-4)


def test_norms_are_those_of_all_weights_of_a_part(tuned: Path) -> None:
    layers = bert_layers(HEAD.open(tuned), "prune")
    heads, units = norms(layers)
    layer = layers[1]
    own = [layer.inner.weight[7], layer.inner.bias[7:8], layer.outer.weight[:, 7]]
    assert units[1, 7].item() == pytest.approx(torch.cat(own).norm().item(), rel=1e-5)
    rows = [getattr(layer.attention, name) for name in ("query", "key", "value")]
    parts = [one.weight[16:].flatten() for one in rows] + [one.bias[16:] for one in rows]
    parts.append(layer.context.dense.weight[:, 16:].flatten())
    assert heads[1, 1].item() == pytest.approx(torch.cat(parts).norm().item(), rel=1e-5)


def test_the_first_of_equally_important_parts_are_kept_at_least_one() -> None:
    assert strongest(torch.tensor([[1.0, 3, 3, 0], [0, 0, 0, 0]]), 0.5) == [[1, 2], [0, 1]]
    assert strongest(torch.tensor([[1.0, 3, 3, 0]]), 0.01) == [[1]]


@pytest.mark.parametrize("importance", ["taylor", "norm"])
def test_a_model_with_fewer_units_is_plain_and_reloads_equal(
    tuned: Path, tmp_path: Path, machine: Any, importance: str
) -> None:
    facts = prune(importance=importance, units=0.25).compress(tuned, tmp_path, given(machine))
    assert facts["units"] == 16 and facts["heads"] == facts["heads_before"] == 2
    from transformers import AutoModelForSequenceClassification

    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert plain.config.intermediate_size == 16
    again = logits(HEAD.open(tmp_path), tmp_path)
    torch.testing.assert_close(logits(plain, tmp_path), again, atol=1e-6, rtol=0)
    saved = tmp_path / "again"
    plain.save_pretrained(saved)
    reloaded = AutoModelForSequenceClassification.from_pretrained(saved)
    torch.testing.assert_close(logits(reloaded, tmp_path), again, atol=1e-6, rtol=0)


def test_a_model_with_fewer_heads_reloads_equal_here_and_in_transformers_once_filled_up(
    tuned: Path, tmp_path: Path, machine: Any
) -> None:
    model = keep_heads(HEAD.open(tuned), [[1], [0]], "prune")
    whole = logits(model, tuned)
    checkpoint.save(tmp_path, model, checkpoint.tokenizer(tuned))
    torch.testing.assert_close(logits(HEAD.open(tmp_path), tmp_path), whole, atol=1e-6, rtol=0)
    from transformers import AutoModelForSequenceClassification

    with pytest.raises(RuntimeError, match=r"size mismatch|mismatched sizes|ignore_mismatched"):
        AutoModelForSequenceClassification.from_pretrained(tmp_path)
    filled = tmp_path / "filled"
    checkpoint.save(
        filled, restore_heads(HEAD.open(tmp_path), "export"), checkpoint.tokenizer(tuned)
    )
    plain = AutoModelForSequenceClassification.from_pretrained(filled)
    torch.testing.assert_close(logits(plain, tmp_path), whole, atol=1e-6, rtol=0)
    facts = prune(heads=0.5, recover=True).compress(tmp_path, tmp_path / "again", given(machine))
    assert facts["heads"] == 1 and facts["steps"] == 2  # what is pruned already is trained on


def test_weights_of_another_model_with_fewer_heads_are_refused_in_one_line(
    tuned: Path, tmp_path: Path
) -> None:
    model = keep_heads(HEAD.open(tuned), [[1], [0]], "prune")
    model.config.kept_attention_heads = 2
    checkpoint.save(tmp_path, model, checkpoint.tokenizer(tuned))
    with pytest.raises(InvalidInput, match="are not those of its configuration"):
        HEAD.open(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.37, 0.5, 0.9])
def test_the_share_of_zeros_is_exact_and_the_largest_weights_stay(share: float) -> None:
    weight = torch.randn(13, 7, generator=torch.Generator().manual_seed(0))
    pruned = weight.clone()
    assert zero_smallest(pruned, share) == int(share * 91) == int((pruned == 0).sum())
    kept = pruned != 0
    assert torch.equal(pruned[kept], weight[kept])
    if share > 0:
        assert weight[kept].abs().min() >= weight[~kept].abs().max()
    equal = torch.ones(4, 4)
    zero_smallest(equal, 0.5)
    assert equal.flatten().tolist() == [0.0] * 8 + [1.0] * 8


def test_magnitude_pruning_zeroes_that_share_of_each_matrix_and_saves_no_byte(
    tuned: Path, tmp_path: Path, machine: Any
) -> None:
    facts = Magnitude(share=0.3).compress(tuned, tmp_path, given(machine))
    weights = load_file(tmp_path / "model.safetensors")
    of_layers = [w for name, w in weights.items() if ".layer." in name and w.ndim == 2]
    assert [int((w == 0).sum()) for w in of_layers] == [int(0.3 * w.numel()) for w in of_layers]
    assert facts == {
        "zeros": sum(int(0.3 * w.numel()) for w in of_layers),
        "matrices": len(of_layers),
    }
    assert size_of(tmp_path) == size_of(tuned)


def test_eight_bits_reload_equal_are_close_and_a_quarter_of_the_bytes(
    tuned: Path, tmp_path: Path, machine: Any
) -> None:
    facts = Quantise().compress(tuned, tmp_path, given(machine))
    weight = load_file(tuned / "model.safetensors")["bert.encoder.layer.0.output.dense.weight"]
    whole, scale = rounded(weight)
    assert (weight - whole.float() * scale[:, None]).abs().max() <= 0.5001 * scale.max()
    found, exact = logits(HEAD.open(tmp_path), tmp_path), logits(HEAD.open(tuned), tuned)
    assert torch.equal(logits(HEAD.open(tmp_path), tmp_path), found)
    # measured: 0.03 of the spread; one scale for a whole matrix would round a row to few steps
    assert (found - exact).abs().max() < 0.2 * exact.std()
    size = size_of(tmp_path)
    assert size["parameters"] == size_of(tuned)["parameters"]
    assert facts["rounded"] <= size["bytes"] < 0.4 * size_of(tuned)["bytes"]


def test_eight_bits_predict_where_products_are_cast_to_bfloat16(
    tuned: Path, tmp_path: Path, machine: Any
) -> None:
    Quantise().compress(tuned, tmp_path, given(machine))
    model = HEAD.open(tmp_path)
    with torch.autocast("cpu", torch.bfloat16):
        cast = logits(model, tmp_path)
    exact = logits(HEAD.open(tuned), tuned)
    assert (cast - exact).abs().max() < 0.3 * exact.std()  # eight bits and bfloat16 together


def test_eight_bits_of_another_model_are_refused_in_one_line(
    tuned: Path, tmp_path: Path, machine: Any
) -> None:
    Quantise().compress(tuned, tmp_path, given(machine))
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(
        config.replace('"num_hidden_layers": 2', '"num_hidden_layers": 1')
    )
    with pytest.raises(BrokenArtifact, match=r"weights of another model than its config\.json"):
        HEAD.open(tmp_path)


def test_rows_of_zeros_are_rounded_to_zeros() -> None:
    whole, scale = rounded(torch.zeros(2, 3))
    assert not whole.any() and torch.equal(scale, torch.ones(2))


@pytest.mark.parametrize("hidden", [0.0, 1.0])
def test_a_student_of_half_the_layers_is_written_and_its_facts_are_stated(
    tuned: Path, tmp_path: Path, machine: Any, hidden: float
) -> None:
    facts = distil(hidden=hidden).compress(tuned, tmp_path, given(machine))
    assert facts["teacher_layers"] == 2 and facts["steps"] == 2
    assert sorted(one.name for one in tmp_path.iterdir() if one.is_dir()) == []
    model = HEAD.open(tmp_path)
    assert model.config.num_hidden_layers == 1
    predicted = distil().predict(tmp_path, examples(2), HEAD, machine).values
    np.testing.assert_allclose(predicted.sum(1), 1)


def test_a_student_of_all_layers_with_the_teachers_answers_alone_stays_the_teacher(
    tuned: Path, tmp_path: Path, machine: Any
) -> None:
    """Its loss is zero at the start without dropout, so that the gradient is."""
    same = distil(
        student_layers=2, hard=0.0, weight_decay=0.0, hidden_dropout=0.0, attention_dropout=0.0,
        learning_rate=1e-5,
    )  # fmt: skip
    facts = same.compress(tuned, tmp_path, given(machine))
    assert facts["last_loss"] < 1e-4
    torch.testing.assert_close(
        logits(HEAD.open(tmp_path), tuned), logits(HEAD.open(tuned), tuned), atol=5e-3, rtol=0
    )


def test_a_student_of_the_catalogue_may_have_another_vocabulary_but_not_with_hidden_states(
    tuned: Path, tiny_gpt2: Path, tmp_path: Path, machine: Any
) -> None:
    student = LocalModel(str(tiny_gpt2))
    facts = distil(student=student).compress(tuned, tmp_path / "small", given(machine))
    assert facts["steps"] == 2 and HEAD.open(tmp_path / "small").config.model_type == "gpt2"
    assert list(distil(student=student).reads()) == ["weights"]
    with pytest.raises(InvalidInput, match="another vocabulary; set compress") as found:
        distil(student=student, hidden=1.0).compress(tuned, tmp_path / "none", given(machine))
    assert "\n" not in str(found.value)


def test_latencies_take_turns_and_read_every_batch() -> None:
    order: list[tuple[str, int]] = []

    def model(name: str) -> Any:
        return lambda **batch: order.append((name, batch["row"]))

    batches: Any = {name: [{"row": 0}, {"row": 1}] for name in ("first", "second")}
    found = latencies({name: model(name) for name in batches}, batches, runs=4)
    assert len(order) == 2 * (3 + 4)
    timed = order[6:]
    assert timed[:4] == [("first", 0), ("second", 0), ("second", 1), ("first", 1)]
    assert all(one.low <= one.median <= one.high and one.runs == 4 for one in found.values())


@pytest.mark.parametrize("head", [Regression(), MultiLabel(("a", "b"))])
@pytest.mark.parametrize("step", [distil(), prune(), Magnitude(share=0.5), Quantise()])
def test_tasks_without_one_class_a_text_are_refused_in_one_line(step: Any, head: Any) -> None:
    with pytest.raises(
        InvalidInput, match=r"compress\.x needs a task of one class a text"
    ) as found:
        step.check(head, "compress.x")
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("compression", [prune(), Quantise()])
def test_other_architectures_are_refused_by_name(
    tiny_gpt2: Path, tmp_path: Path, machine: Any, compression: Any
) -> None:
    for refused in (
        lambda: compression.compress(tiny_gpt2, tmp_path, given(machine)),
        lambda: compression.outline(checkpoint.outline(tiny_gpt2)),
    ):
        with pytest.raises(InvalidInput, match="gpt2 model") as found:
            refused()
        assert "\n" not in str(found.value)


def test_layers_of_any_architecture_are_cut(tiny_gpt2: Path, tiny_llama: Path) -> None:
    for start in (tiny_gpt2, tiny_llama):
        words = {name: rows[:1] for name, rows in read(start, 1).items()}
        torch.manual_seed(0)  # of the new heads
        whole = HEAD.open(start).eval()
        torch.manual_seed(0)
        cut = cut_layers(HEAD.open(start), 2, "cut").eval()
        with torch.inference_mode():
            assert torch.equal(whole(**words).logits, cut(**words).logits)
        assert distil().outline(checkpoint.outline(start)).config.num_hidden_layers == 1


def test_settings_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(InvalidInput, match="both name the student"):
        distil(student=_Model(), student_layers=1)
    with pytest.raises(InvalidInput, match=r"frozen_layers leaves out"):
        distil(hidden=1.0, frozen_layers=1)
    with pytest.raises(InvalidInput, match=r"label_smoothing needs a task with classes"):
        distil(label_smoothing=0.1).check(HEAD, "compress.distil")


class _Model:
    requires_training = False
