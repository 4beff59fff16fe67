"""A training that is killed goes on: the same epochs, scores and weights to the last bit."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy
from safetensors.torch import load_file

from shortlist.core import Corpus
from shortlist.models.heads.labels import SingleLabel
from shortlist.runtime import Runtime
from shortlist.store.cache import unfinished
from shortlist.trainers.adapters import Lora
from shortlist.trainers.classify import Classifier, Validation
from shortlist.trainers.language_model import CausalLM, LanguageModelTrainer, MaskedLM
from shortlist.trainers.resuming import STATE, Clock, State

LABELS = ("baking", "sailing", "stars")
HEAD = SingleLabel(LABELS)
BASE: dict[str, Any] = {**toy.TRAINING, "epochs": 6, "keep": "best", "patience": 2}
PRACTICES: dict[str, dict[str, Any]] = {
    "plain": {},
    "gradual": {"unfreeze": 1, "layer_decay": 0.8, "schedule": "cosine"},
    "pulled": {"ema": 0.9, "l2_sp": 0.01, "frozen_layers": 1, "r_drop": 1.0},
    "averaged": {"swa_epoch": 2, "mixout": 0.3, "unfreeze": 1, "unfreeze_steps": 4},
    "lora": {"peft": Lora(2, 4, 0.1, "all"), "ema": 0.5},
    "last": {"keep": "last", "patience": None, "divergence": 50.0},
}


class Killed(Exception):
    """What stands for a kill."""


def die() -> None:
    raise Killed


def examples(seed: int) -> Corpus:
    return toy.labelled(LABELS, seed=seed)


def margin(values: np.ndarray) -> float:
    """Returns a score that is best in the third epoch or so: it likes confidence, not certainty."""
    return -float(abs(values.max(1).mean() - 0.6))


def trained(
    start: Path, at: Path, machine: Runtime, practice: str, stop: int | None = None
) -> dict[str, Any]:
    """Returns the facts of a training that dies in the middle of epoch `stop`, counted from 0."""

    class Mortal(Classifier):
        def training_step(self, inputs: Any, batch_idx: int) -> torch.Tensor:
            if self.epoch_of(batch_idx) == stop and batch_idx == 1:
                die()
            return super().training_step(inputs, batch_idx)

    module = Mortal(**{**BASE, **PRACTICES[practice]})
    validation = Validation(examples(1), margin)
    facts = module.train_on(start, examples(0), validation, HEAD, at, 3, machine)
    return {**facts, "losses": module.losses}


CHILD = """
import sys; sys.path[:0] = {tests}
import json, os, signal
from pathlib import Path
import test_resuming
from shortlist.runtime import Runtime
test_resuming.die = lambda: os.kill(os.getpid(), signal.SIGKILL)
machine = Runtime(accelerator="cpu", progress=False, checkpoint_seconds=0.0)
at = Path({at!r}); at.mkdir()
facts = test_resuming.{call}
(at / "facts.json").write_text(json.dumps(facts))
"""


def in_process(at: Path, call: str) -> int:
    """Returns the exit code of a process that trains by a call of a function of this module."""
    tests = [str(Path(toy.__file__).parent), str(Path(__file__).parent)]
    code = CHILD.format(tests=tests, at=str(at), call=call)
    return subprocess.run([sys.executable, "-c", code], check=False).returncode


def assert_same_weights(one: Path, other: Path) -> None:
    ours, theirs = (load_file(place / "model.safetensors") for place in (one, other))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("practice", PRACTICES)
def test_a_killed_training_goes_on_and_ends_with_the_same_weights(
    tiny_model: Path, tmp_path: Path, machine: Runtime, practice: str
) -> None:
    never = replace(machine, checkpoint_seconds=None)
    whole = trained(tiny_model, tmp_path / ".whole.1", never, practice)
    assert not unfinished(tmp_path / ".whole.1").exists()
    saving = replace(machine, checkpoint_seconds=0.0)
    ran = len(whole.get("validation", range(BASE["epochs"])))
    for stop in (0, 2, 2, ran - 1):
        with pytest.raises(Killed):
            trained(tiny_model, tmp_path / f".killed.{stop}", saving, practice, stop)
        state = State.read(unfinished(tmp_path / ".killed.0") / STATE)
        assert state.facts.get("epoch", 0) == stop
    found = trained(tiny_model, tmp_path / ".killed.9", saving, practice)
    assert found == whole
    assert_same_weights(tmp_path / ".killed.9", tmp_path / ".whole.1")
    assert not unfinished(tmp_path / ".killed.9").exists()


def test_early_stopping_ends_before_the_last_epoch_in_these_tests(
    tiny_model: Path, tmp_path: Path, machine: Runtime
) -> None:
    facts = trained(tiny_model, tmp_path / ".whole.1", machine, "plain")
    assert facts["epoch"] + 2 == len(facts["validation"]) < BASE["epochs"]


def test_no_state_is_written_before_its_time(
    tiny_model: Path, tmp_path: Path, machine: Runtime
) -> None:
    for seconds in (None, 3600.0):
        with pytest.raises(Killed):
            rare = replace(machine, checkpoint_seconds=seconds)
            trained(tiny_model, tmp_path / ".rare.1", rare, "plain", 2)
        assert not unfinished(tmp_path / ".rare.1").exists()


WARM: dict[str, Any] = {**toy.TRAINING, "epochs": 3, "hidden_dropout": 0.2}
WARM_UPS: dict[str, dict[str, Any]] = {
    "plain": {},
    "gradual": {"unfreeze": 1, "layer_decay": 0.8, "schedule": "cosine", "ema": 0.9},
    "averaged": {"swa_epoch": 2, "mixout": 0.3, "unfreeze": 1, "unfreeze_steps": 2},
    "pulled": {"l2_sp": 0.01, "frozen_layers": 1, "swa_epoch": 1, "swa_learning_rate": 1e-3},
    "lora": {"peft": Lora(2, 4, 0.1, "all"), "ema": 0.5},
}
OBJECTIVES: dict[str, tuple[type[LanguageModelTrainer], dict[str, Any]]] = {
    "mlm": (MaskedLM, {"mask_share": 0.3}),
    "clm": (CausalLM, {"block": 64}),
}
QUICK = (("mlm", "averaged"), ("clm", "plain"))  # in the default suite


def warmed(
    objective: str, start: Path, at: Path, machine: Runtime, practice: str, stop: int | None = None
) -> dict[str, Any]:
    """Returns the facts of a warm-up that dies in step `stop`, counted from 0."""
    kind, own = OBJECTIVES[objective]

    class Mortal(kind):  # type: ignore[misc, valid-type]
        def training_step(self, inputs: Any, batch_idx: int) -> torch.Tensor:
            if len(self.losses) == stop:
                die()
            return super().training_step(inputs, batch_idx)

    module = Mortal(**{**WARM, **own, **WARM_UPS[practice]})
    facts = module.train_on(start, examples(0).unlabelled(), at, 3, machine)
    return {**facts, "losses": module.losses}


@pytest.mark.parametrize(
    ("objective", "practice"),
    [
        pytest.param(
            objective,
            practice,
            marks=() if (objective, practice) in QUICK else pytest.mark.slow,
        )
        for objective in OBJECTIVES
        for practice in WARM_UPS
    ],
)
def test_a_warm_up_killed_at_any_step_ends_with_the_same_weights(
    tiny_model: Path,
    tiny_gpt2: Path,
    tmp_path: Path,
    machine: Runtime,
    objective: str,
    practice: str,
) -> None:
    start = tiny_model if objective == "mlm" else tiny_gpt2
    never = replace(machine, checkpoint_seconds=None)
    whole = warmed(objective, start, tmp_path / ".whole.1", never, practice)
    assert not unfinished(tmp_path / ".whole.1").exists() and whole["steps"] >= 9
    saving = replace(machine, checkpoint_seconds=0.0)
    for stop in (0, *range(whole["steps"])):
        with pytest.raises(Killed):
            warmed(objective, start, tmp_path / f".killed.{stop}", saving, practice, stop)
        state = State.read(unfinished(tmp_path / ".killed.0") / STATE)
        assert len(state.losses) == stop
    found = warmed(objective, start, tmp_path / ".killed.99", saving, practice)
    assert found == whole
    assert_same_weights(tmp_path / ".killed.99", tmp_path / ".whole.1")
    assert not unfinished(tmp_path / ".killed.99").exists()


@pytest.mark.slow  # three range tests
def test_a_rate_that_was_found_is_found_again_after_a_kill(
    tiny_model: Path, tmp_path: Path, machine: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(WARM_UPS, "found", {"learning_rate": "find"})
    saving = replace(machine, checkpoint_seconds=0.0)
    places = [tmp_path / name for name in (".whole.1", ".killed.1", ".killed.2")]
    for place in places:
        place.mkdir()
    whole = warmed("mlm", tiny_model, places[0], machine, "found")
    with pytest.raises(Killed):
        warmed("mlm", tiny_model, places[1], saving, "found", 5)
    assert warmed("mlm", tiny_model, places[2], saving, "found") == whole


def test_writing_takes_a_twentieth_of_the_time_at_most() -> None:
    now = time.monotonic()
    assert Clock(None, now - 1e6).due() is False
    assert Clock(0.0, now + 60, 60.0).due()
    assert Clock(10.0, now - 11).due() and not Clock(10.0, now - 9).due()
    assert not Clock(10.0, now - 19, 1.0).due() and Clock(10.0, now - 21, 1.0).due()


@pytest.mark.slow  # a process for each epoch
@pytest.mark.parametrize("practice", PRACTICES)
def test_processes_killed_in_every_epoch_leave_the_weights_of_an_undisturbed_one(
    tiny_model: Path, tmp_path: Path, practice: str
) -> None:
    def child(name: str, stop: int) -> int:
        call = f"trained(Path({str(tiny_model)!r}), at, machine, {practice!r}, {stop})"
        return in_process(tmp_path / name, call)

    assert child(".whole.1", -1) == 0
    ended = [child(f".killed.{stop}", stop) for stop in range(BASE["epochs"])]
    died = len([code for code in ended if code == -signal.SIGKILL])
    assert died >= 3 and ended == [-signal.SIGKILL] * died + [0] * (BASE["epochs"] - died)
    last = ".killed.9"
    if died == BASE["epochs"]:
        assert child(last, -1) == 0
    else:  # stopped early, undisturbed
        last = f".killed.{died}"
    facts = [(tmp_path / name / "facts.json").read_text() for name in (".whole.1", last)]
    assert facts[0] == facts[1]
    assert_same_weights(tmp_path / last, tmp_path / ".whole.1")


@pytest.mark.slow  # a process for each step
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_processes_killed_in_steps_of_a_warm_up_leave_the_weights_of_an_undisturbed_one(
    tiny_model: Path, tiny_gpt2: Path, tmp_path: Path, objective: str
) -> None:
    start = tiny_model if objective == "mlm" else tiny_gpt2

    def child(name: str, stop: int) -> int:
        call = f"warmed({objective!r}, Path({str(start)!r}), at, machine, 'plain', {stop})"
        return in_process(tmp_path / name, call)

    assert child(".whole.1", -1) == 0
    for stop in (2, 5, 6):
        assert child(f".killed.{stop}", stop) == -signal.SIGKILL
    assert child(".killed.9", -1) == 0
    facts = [(tmp_path / name / "facts.json").read_text() for name in (".whole.1", ".killed.9")]
    assert facts[0] == facts[1]
    assert_same_weights(tmp_path / ".killed.9", tmp_path / ".whole.1")
