"""Practices of training: each is nothing when off, and what its formula says when on."""

from __future__ import annotations

import itertools
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy
from safetensors.torch import load_file
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

from shortlist.core import Corpus
from shortlist.errors import InvalidInput
from shortlist.models import checkpoint
from shortlist.models.heads.labels import Regression, SingleLabel, classification_loss
from shortlist.runtime import Runtime
from shortlist.trainers import practice
from shortlist.trainers.classify import Classifier, Validation
from shortlist.trainers.language_model import MaskedLM

LABELS = ("baking", "sailing")
HEAD = SingleLabel(LABELS)
BASE = toy.TRAINING


def examples(n: int = 8) -> Corpus:
    return toy.labelled(LABELS, n)


def classifier(**changed: Any) -> Classifier:
    return Classifier(**{**BASE, "keep": "last", "patience": None, **changed})


def trained(start: Path, at: Path, machine: Any, **changed: Any) -> dict[str, torch.Tensor]:
    classifier(**changed).train_on(start, examples(), None, HEAD, at, 0, machine)
    return load_file(at / "model.safetensors")


def scheduled(schedule: Any, steps: int) -> list[float]:
    return [practice.rate_factor(schedule, step, steps, 0) for step in range(steps)]


@pytest.mark.parametrize(
    ("name", "make"),
    [("linear", get_linear_schedule_with_warmup), ("cosine", get_cosine_schedule_with_warmup)],
)
def test_without_warm_up_schedules_are_those_of_transformers(name: str, make: Any) -> None:
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    schedule, rates = make(optimiser, 0, 17), []
    for _ in range(17):
        rates.append(schedule.get_last_lr()[0])
        optimiser.step()
        schedule.step()
    assert scheduled(name, 17) == pytest.approx(rates, abs=1e-12)


@pytest.mark.parametrize("rise", [4, 7])
def test_one_cycle_is_that_of_torch(rise: int) -> None:
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 1.0, total_steps=20, pct_start=rise / 20, cycle_momentum=False
    )
    for step in range(20):
        found = practice.rate_factor("one_cycle", step, 20, rise)
        assert found == pytest.approx(schedule.get_last_lr()[0], abs=1e-9), step
        optimiser.step()
        if step < 19:
            schedule.step()


@pytest.mark.parametrize("name", ["linear", "constant", "cosine"])
def test_warm_up_rises_evenly_to_the_peak(name: Any) -> None:
    rates = [practice.rate_factor(name, step, 20, 4) for step in range(20)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert all(0 <= late <= early for early, late in itertools.pairwise(rates[4:]))


def test_smoothing_zero_and_weights_of_balanced_data_are_the_plain_loss() -> None:
    logits = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(12) % 3
    weights = practice.balanced_weights(labels, 3)
    plain = functional.cross_entropy(logits, labels)
    assert torch.equal(classification_loss(logits, labels), plain)
    assert torch.allclose(classification_loss(logits, labels, 0.0, weights), plain)
    smooth = classification_loss(logits, labels, 0.3)
    uniform = -logits.log_softmax(-1).mean()
    assert torch.allclose(smooth, 0.7 * plain + 0.3 * uniform)


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    labels = np.array([0, 0, 0, 1, 2, 2])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(practice.balanced_weights(torch.tensor(labels), 3), expected)


def test_the_divergence_of_two_passes_is_symmetric_and_zero_for_equal_ones() -> None:
    first, second = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(1))
    found = practice.symmetric_divergence(first, second)
    p, q = first.log_softmax(-1), second.log_softmax(-1)
    both = [
        functional.kl_div(a, b, log_target=True, reduction="batchmean") for a, b in ((p, q), (q, p))
    ]
    assert torch.allclose(found, sum(both, torch.zeros(())) / 2)
    assert torch.allclose(found, practice.symmetric_divergence(second, first))
    assert practice.symmetric_divergence(first, first) == 0


def test_the_pull_is_the_gradient_of_half_the_squared_distance() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    start = torch.tensor([0.5, 1.0, 3.0])
    (weight**3).sum().backward()
    plain = weight.grad.clone()  # type: ignore[union-attr]
    practice.add_pull([weight], [start], 0.7)
    (expected,) = torch.autograd.grad(0.7 / 2 * ((weight - start) ** 2).sum(), weight)
    assert torch.allclose(weight.grad - plain, expected)  # type: ignore[operator]


def test_an_average_of_constant_weights_is_they_and_follows_changes() -> None:
    average, weight = torch.ones(3), torch.ones(3)
    practice.update_average([average], [weight], 0.9, 1)
    assert torch.equal(average, weight)
    practice.update_average([average], [weight * 3], 0.9, 1000)
    assert torch.allclose(average, torch.full((3,), 0.9 + 0.3))
    practice.update_average([average], [weight * 3], 0.0, 1000)
    assert torch.equal(average, weight * 3)


def test_mixout_keeps_the_mean_and_what_has_not_moved() -> None:
    torch.manual_seed(0)
    weight, start = torch.randn(2, 20, 30)
    drawn = torch.stack([practice.mixout(weight, start, 0.4) for _ in range(4000)])
    # A draw is start or start + (weight - start) / 0.6: its mean is the weight (Lee et al., eq. 5).
    error = (weight - start).abs() * (0.4 / 0.6 / 4000) ** 0.5
    assert ((drawn.mean(0) - weight).abs() < 5 * error + 1e-6).all()
    kept = torch.isclose(drawn, start, atol=1e-5)
    moved = torch.isclose(drawn, start + (weight - start) / 0.6, atol=1e-5)
    assert (kept | moved).all() and float(kept.float().mean()) == pytest.approx(0.4, abs=0.01)
    assert torch.allclose(practice.mixout(start, start, 0.4), start, atol=1e-6)


def test_mixout_mixes_in_training_alone_and_leaves_the_model_as_it_was(start: Path) -> None:
    model = checkpoint.classifier(start, 2)
    model.config.pad_token_id = 0
    ids = torch.arange(5, 15)[None]
    modules = practice.trained_matrices(model)
    assert len(modules) == (13 if "bert" in start.name else 8)  # BERT's pooler is mixed too
    before = model.eval()(input_ids=ids).logits
    with practice.mixing([(module, torch.zeros_like(w)) for module, w in modules], 0.5):
        assert torch.equal(model(input_ids=ids).logits, before)
        for module in (
            module for module in model.modules() if isinstance(module, torch.nn.Dropout)
        ):
            module.p = 0.0
        first, second = (model.train()(input_ids=ids).logits for _ in range(2))
        assert not torch.equal(first, second)
        first.sum().backward()
    assert all(module.weight.grad is not None for module, _ in modules)
    assert torch.equal(model.eval()(input_ids=ids).logits, before)
    assert not any("forward" in vars(module) for module, _ in modules)


def test_the_average_of_epochs_is_that_of_swa_utils(
    tiny_model: Path, tmp_path: Path, machine: Any
) -> None:
    averaged: list[Any] = []

    class Watched(Classifier):
        def on_train_epoch_end(self) -> None:
            if self.current_epoch >= 1:
                if not averaged:
                    averaged.append(torch.optim.swa_utils.AveragedModel(self.model))
                averaged[0].update_parameters(self.model)

    rates: list[float] = []

    class Rates(Watched):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            super().on_train_batch_start(batch, batch_idx)
            rates.append(self.optimizers(use_pl_optimizer=False).param_groups[0]["lr"])  # type: ignore[union-attr]

    settings = {**BASE, "epochs": 4, "keep": "last", "patience": None, "swa_epoch": 2}
    module = Rates(**settings, swa_learning_rate=1e-3)
    module.train_on(tiny_model, examples(), None, HEAD, tmp_path, 0, machine)
    found = load_file(tmp_path / "model.safetensors")
    for name, weight in averaged[0].module.named_parameters():
        assert torch.allclose(found[name], weight, atol=1e-6), name
    assert rates[2:] == pytest.approx([1e-3] * (len(rates) - 2)) and rates[0] == 5e-3


@pytest.fixture(params=["bert", "gpt2"])
def start(request: pytest.FixtureRequest, tiny_model: Path, tiny_gpt2: Path) -> Path:
    return tiny_model if request.param == "bert" else tiny_gpt2


@pytest.fixture(scope="module")
def plain_runs(
    tiny_model: Path, tiny_gpt2: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[Path, Path]:
    """Directories of models that are trained with every practice off, by their start."""
    machine = Runtime(accelerator="cpu", progress=False)
    runs = {start: tmp_path_factory.mktemp("plain") for start in (tiny_model, tiny_gpt2)}
    for start, at in runs.items():
        trained(start, at, machine)
    return runs


def test_settings_that_change_nothing_change_no_weight(
    start: Path, plain_runs: dict[Path, Path], tmp_path: Path, machine: Any
) -> None:
    plain = load_file(plain_runs[start] / "model.safetensors")
    off = {"ema": 0.0, "divergence": 1e6, "layer_decay": 1.0, "head_learning_rate": 5e-3}
    same = trained(start, tmp_path / "same", machine, **off)
    assert all(torch.equal(plain[name], same[name]) for name in plain)


@pytest.mark.parametrize(
    "on",
    [
        {"ema": 0.9}, {"r_drop": 1.0}, {"label_smoothing": 0.2}, {"schedule": "cosine"},
        {"hidden_dropout": 0.5}, {"attention_dropout": 0.5}, {"mixout": 0.3}, {"swa_epoch": 1},
    ],
    ids=str,
)  # fmt: skip
def test_every_practice_reaches_the_weights(
    start: Path,
    plain_runs: dict[Path, Path],
    tmp_path: Path,
    machine: Any,
    on: dict[str, Any],
) -> None:
    plain = load_file(plain_runs[start] / "model.safetensors")
    other = trained(start, tmp_path, machine, **on)
    assert any(not torch.equal(plain[name], other[name]) for name in plain)
    assert all(torch.isfinite(weight).all() for weight in other.values())
    configs = [json.loads((at / "config.json").read_text()) for at in (plain_runs[start], tmp_path)]
    assert configs[0] == configs[1]  # the stored model keeps its own dropout


def test_a_pull_keeps_the_base_near_its_start(
    tiny_model: Path, tmp_path: Path, machine: Any
) -> None:
    corpus, away = Corpus.build(toy.sentences("sailing", 24)), []
    before = load_file(tiny_model / "model.safetensors")
    for strength in (None, 10.0):
        at = tmp_path / str(strength)
        module = MaskedLM(**{**BASE, "l2_sp": strength, "mask_share": 0.3, "weight_decay": 0.0})
        module.train_on(tiny_model, corpus, at, 0, machine)
        after = load_file(at / "model.safetensors")
        base = [name for name in before if name.startswith("bert.encoder")]
        away.append(float(sum(((after[name] - before[name]) ** 2).sum() for name in base)))
    assert away[1] < away[0]


def test_validation_measures_the_average_that_is_kept(
    tiny_model: Path, tmp_path: Path, machine: Any
) -> None:
    seen: list[Any] = []
    watched = Validation(examples(4), lambda values: seen.append(values) or float(len(seen)))
    module = classifier(ema=0.5, keep="best")
    module.train_on(tiny_model, examples(), watched, HEAD, tmp_path, 0, machine)
    found = module.predict(tmp_path, examples(4), HEAD, machine).values
    np.testing.assert_allclose(seen[-1], found, atol=1e-6)


def test_an_epoch_is_better_by_more_than_the_minimum_change(
    tiny_model: Path, tmp_path: Path, machine: Any
) -> None:
    scores = iter([0.5, 0.55, 0.58, 0.9])
    watched = Validation(examples(2), lambda values: next(scores))
    module = classifier(keep="best", patience=2, min_delta=0.1, epochs=4)
    facts = module.train_on(tiny_model, examples(2), watched, HEAD, tmp_path, 0, machine)
    assert (facts["epoch"], facts["validation"]) == (1, [0.5, 0.55, 0.58])


def test_a_training_that_diverges_ends_with_its_reason(
    tiny_model: Path, tmp_path: Path, machine: Any
) -> None:
    with pytest.raises(InvalidInput, match=r"the loss diverges, its mean over 20 steps .*; lower"):
        trained(
            tiny_model, tmp_path, machine, divergence=1.001, learning_rate=0.5, epochs=20,
            schedule="one_cycle", warmup_fraction=0.9,
        )  # fmt: skip


def test_the_log_begins_with_what_is_trained(
    tiny_model: Path, tmp_path: Path, machine: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "shortlist.trainers.base"):
        trained(tiny_model, tmp_path, machine, freeze="all", warmup_fraction=0, warmup_steps=1)
    first, *groups = [record.message for record in caplog.records]
    assert first.startswith("fine-tuning: 4 steps (1 of warm-up, then linear), batches of 8, ")
    # A pooler of 32 x 32 weights and 32 biases, and a head of 32 x 2 weights and 2 biases.
    assert "; 1,122 of " in first and "% frozen" in first
    assert groups == [
        "fine-tuning: 1,088 parameters at rate 0.005, weight decay 0.01 "
        "(bert.pooler.dense.weight and 1 more)",
        "fine-tuning: 34 parameters at rate 0.005, weight decay 0 (bert.pooler.dense.bias and 1 more)",
    ]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"warmup_steps": 3}, "both set the warm-up"),
        ({"schedule": "one_cycle", "warmup_fraction": 0.0}, "one_cycle needs a rise"),
        ({"min_delta": 0.1}, r"set finetune\.keep=best"),
        ({"metric": "accuracy"}, r"set finetune\.keep=best"),
        ({"swa_epoch": 3}, r"swa_epoch=3 must be one of the epochs .* found 2 epochs"),
        ({"swa_epoch": 1, "ema": 0.9}, r"only average of the weights, found finetune\.ema=0\.9"),
        ({"swa_learning_rate": 1e-3}, r"the rate from finetune\.swa_epoch on, which is null"),
        ({"unfreeze_steps": 5}, r"unfreeze_steps=5 needs the number of layers"),
    ],
)
def test_settings_that_make_no_sense_together_are_refused(changed: Any, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        classifier(**changed)


@pytest.mark.parametrize(
    "on", [{"class_weights": "balanced"}, {"label_smoothing": 0.1}, {"r_drop": 1.0}], ids=str
)
def test_what_needs_classes_is_refused_for_numbers(
    tiny_model: Path, tmp_path: Path, machine: Any, on: Any
) -> None:
    train = Corpus.build(["boat", "mast"], labels=[1.0, 2.0])
    with pytest.raises(InvalidInput, match="needs a task with classes"):
        classifier(**on).train_on(tiny_model, train, None, Regression(), tmp_path, 0, machine)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"warmup_fraction": 0.0, "warmup_steps": 4}, "below the 4 steps"),
        ({"freeze": "all", "l2_sp": 1.0}, "all of which are frozen"),
        ({"freeze": "all", "mixout": 0.5}, "all of which are frozen"),
    ],
)
def test_what_the_data_do_not_allow_is_refused(
    tiny_model: Path, tmp_path: Path, machine: Any, changed: Any, reason: str
) -> None:
    with pytest.raises(InvalidInput, match=reason):
        trained(tiny_model, tmp_path, machine, **changed)


def test_a_dropout_that_an_architecture_lacks_is_refused(
    tiny_gpt2: Path, tmp_path: Path, machine: Any
) -> None:
    with pytest.raises(InvalidInput, match="classifier dropout, gpt2 has none"):
        trained(tiny_gpt2, tmp_path, machine, classifier_dropout=0.1)
