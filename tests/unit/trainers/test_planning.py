"""The plan of a training says what the training then does."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import toy
from safetensors.torch import load_file

from shortlist.core import Corpus
from shortlist.models.heads.labels import SingleLabel
from shortlist.runtime import Runtime
from shortlist.trainers.classify import Classifier
from shortlist.trainers.language_model import CausalLM
from shortlist.trainers.planning import Planned, TrainingPlan

BASE: dict[str, Any] = {**toy.TRAINING, "batch_size": 4, "warmup_fraction": 0.5}
TEXTS = [text for topic in ("sailing", "baking") for text in toy.sentences(topic, 7)]
LABELLED = Corpus.build(TEXTS, labels=["a"] * 7 + ["b"] * 7)


@pytest.mark.parametrize("changed", [{}, {"frozen_layers": 1}, {"freeze": "all"}])
def test_steps_groups_and_memory_are_those_of_the_training(
    tiny_model: Path, tmp_path: Path, machine: Runtime, changed: dict[str, Any]
) -> None:
    trainer = Classifier(**{**BASE, "keep": "last", "patience": None, **changed})
    typed = (tiny_model, LABELLED, None, SingleLabel(("a", "b")), tmp_path, 0, machine)
    trainer.only_plan = True
    with pytest.raises(Planned) as ended:
        trainer.train_on(*typed)
    plan = ended.value.plan
    assert list(tmp_path.iterdir()) == []
    trainer.only_plan = False
    facts = trainer.train_on(*typed)
    assert plan.steps == facts["steps"] and plan.rise == plan.steps // 2
    assert plan.tokens == trainer.tokens and plan.seconds > 0
    assert (plan.trained < plan.parameters) == bool(changed)
    assert plan.trained == (1122 if "freeze" in changed else plan.trained)  # pooler and head
    assert plan.state_bytes == 4 * plan.parameters + 12 * plan.trained
    assert plan.parameters > 20_000 and len(plan.groups) >= 2
    assert f"{plan.steps:,} steps" in "\n".join(plan.lines())


@pytest.mark.parametrize(
    ("changed", "begins"),
    [({}, ["epoch 1", "epoch 2"]), ({"unfreeze_steps": 3}, ["step 1", "step 4", "step 7"])],
)
def test_what_a_gradual_unfreezing_does_not_reach_is_frozen_in_plan_and_log(
    tiny_model: Path,
    tmp_path: Path,
    machine: Runtime,
    caplog: pytest.LogCaptureFixture,
    changed: dict[str, Any],
    begins: list[str],
) -> None:
    trainer = Classifier(**{**BASE, "keep": "last", "patience": None, "unfreeze": 1, **changed})
    typed = (tiny_model, LABELLED, None, SingleLabel(("a", "b")), tmp_path, 0, machine)
    trainer.only_plan = True
    with pytest.raises(Planned) as ended:
        trainer.train_on(*typed)
    plan = ended.value.plan
    trainer.only_plan = False
    with caplog.at_level(logging.INFO, "shortlist.trainers.base"):
        assert trainer.train_on(*typed)["steps"] == plan.steps == 8
    before, after = (load_file(at / "model.safetensors") for at in (tiny_model, tmp_path))
    moved = sum(
        weight.numel()
        for name, weight in after.items()
        if name not in before or not torch.equal(weight, before[name])
    )
    assert plan.trained == moved < plan.parameters  # the embeddings at least are not reached
    last = plan.groups[-1]
    assert last.startswith("gradual unfreezing: 1,122 parameters from ")  # pooler and head
    assert [f"from {unit} on" in last for unit in begins] == [True] * len(begins)
    assert last.count(" from ") == len(begins)
    assert last.endswith(f"{plan.parameters - moved:,} never, for which the training is too short")
    told = [record.message for record in caplog.records]
    assert f"fine-tuning: {last}" in told
    assert f"{moved:,} of {plan.parameters:,} parameters trained" in told[0]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.012, "0.012 seconds"),
        (59.0, "59 seconds"),
        (60.0, "1.0 minutes"),
        (6e4, "1,000.0 minutes"),
    ],
)
def test_a_time_below_a_minute_is_shown_in_seconds(seconds: float, shown: str) -> None:
    plan = TrainingPlan(
        what="", groups=(), parameters=2, trained=1, steps=1, rise=0, tokens=1, epochs=1,
        seconds=seconds, state_bytes=0, activation_bytes=0,
    )  # fmt: skip
    assert f"time: {shown}, without validation" in list(plan.lines())


def test_a_deeper_gradient_keeps_more_memory(
    tiny_gpt2: Path, tmp_path: Path, machine: Runtime
) -> None:
    kept = []
    for patterns in (None, ["*.h.0.*", "*wte*", "*wpe*"]):
        trainer = CausalLM(16, **{**BASE, "freeze": patterns})
        trainer.only_plan = True
        with pytest.raises(Planned) as ended:
            trainer.train_on(tiny_gpt2, Corpus.build(TEXTS), tmp_path, 0, machine)
        kept.append(ended.value.plan.activation_bytes)
    assert kept[0] > 1.2 * kept[1] > 0
