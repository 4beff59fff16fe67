"""Pre-training learns more than word frequencies, and a kill changes nothing of what it ends with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy
from safetensors.torch import load_file

from shortlist.core import Corpus
from shortlist.errors import InvalidInput
from shortlist.models import checkpoint
from shortlist.models.likelihood import held_out_loss
from shortlist.models.pretrained import ScratchModel
from shortlist.models.tokens import tokenize
from shortlist.store.cache import unfinished
from shortlist.trainers.language_model import CausalLM
from shortlist.trainers.pretraining import MuonAndAdam, Pretraining
from shortlist.trainers.resuming import State

CORPUS = Corpus.build(toy.sentences("sailing", 100))
SHORT = CORPUS.take(np.arange(40))


def trainer(**changed: Any) -> Pretraining:
    settings: dict[str, Any] = {
        "block": 32,
        "matrix_rate": 0.02,
        "epochs": 4,
        "learning_rate": 1e-2,
        "batch_size": 4,
        "max_length": 32,
        "weight_decay": 0.01,
        "warmup_fraction": 0.1,
        "clip": 1.0,
        "precision": "32",
        "betas": [0.9, 0.95],
        "eps": 1e-8,
    }
    return Pretraining(**{**settings, **changed})


def begun(directory: Path, dropout: float = 0.0) -> Path:
    ScratchModel(290, 1, 2, 32, 64, dropout, None, 0, None).initialise(CORPUS.texts, directory)
    return directory


def test_a_toy_corpus_is_learnt_beyond_the_frequencies_of_its_tokens(
    tmp_path: Path, machine: Any
) -> None:
    start = begun(tmp_path / "start")
    facts = trainer().train_on(start, CORPUS, tmp_path / "made", 0, machine)
    held_out = Corpus.build(toy.sentences("sailing", 40, seed=9))
    found = held_out_loss("clm", tmp_path / "made", held_out, 64, machine)
    ids = np.concatenate(tokenize(checkpoint.tokenizer(start), held_out.texts, None, None).ids)
    shares = np.unique(ids, return_counts=True)[1] / len(ids)
    unigrams = -(shares * np.log(shares)).sum()  # no model of single tokens does better on them
    assert found.sums.sum() / found.counts.sum() < unigrams - 0.3
    assert facts["documents"] == 100 and facts["last_loss"] < facts["first_loss"]


class Killed(Exception):
    """What stands for a kill."""


@pytest.mark.parametrize(("matrix_rate", "unfreeze"), [(0.02, None), (None, None), (None, 1)])
def test_what_was_killed_goes_on_and_ends_with_the_same_weights(
    tmp_path: Path,
    machine: Any,
    monkeypatch: pytest.MonkeyPatch,
    matrix_rate: float | None,
    unfreeze: int | None,
) -> None:
    def fresh() -> Pretraining:
        return trainer(epochs=2, matrix_rate=matrix_rate, unfreeze=unfreeze)

    start = begun(tmp_path / "start", dropout=0.1)
    whole = fresh().train_on(start, SHORT, tmp_path / ".whole.1", 0, machine)
    machine = replace(machine, checkpoint_seconds=0.0)
    steps = [0]
    step = CausalLM.training_step

    def counted(self: Any, inputs: Any, batch_idx: int) -> Any:
        steps[0] += 1
        if steps[0] in (5, whole["steps"] // 2 + 5):  # in the first epoch, and in the second
            raise Killed
        return step(self, inputs, batch_idx)

    monkeypatch.setattr(CausalLM, "training_step", counted)
    for run in (1, 2):
        with pytest.raises(Killed):
            fresh().train_on(start, SHORT, tmp_path / f".killed.{run}", 0, machine)
    last = tmp_path / ".killed.3"
    assert unfinished(last).is_dir()
    found = fresh().train_on(start, SHORT, last, 0, machine)
    assert steps[0] == whole["steps"] + 2  # a killed step each, and nothing was done twice
    assert found == whole
    ours, theirs = (load_file(path / "model.safetensors") for path in (last, tmp_path / ".whole.1"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert not unfinished(last).exists()


def test_a_state_kept_after_the_last_step_is_the_model(
    tmp_path: Path, machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = begun(tmp_path / "start")
    machine = replace(machine, checkpoint_seconds=0.0)
    save = checkpoint.save
    monkeypatch.setattr(checkpoint, "save", lambda *_: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        trainer(epochs=1).train_on(start, CORPUS, tmp_path / ".a.1", 0, machine)
    monkeypatch.setattr(checkpoint, "save", save)
    made = trainer(epochs=1).train_on(start, CORPUS, tmp_path / ".a.2", 0, machine)
    assert made["last_loss"] < made["first_loss"]
    kept = load_file(tmp_path / ".a.2" / "model.safetensors")
    first = load_file(start / "model.safetensors")
    assert not torch.equal(kept["transformer.wte.weight"], first["transformer.wte.weight"])


@pytest.mark.parametrize("place", [0, 2, -1, -100], ids=["length", "metadata", "last", "weight"])
def test_a_damaged_state_is_not_gone_on_from(
    place: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "state.safetensors"
    state = {"losses": torch.zeros(3, dtype=torch.float64), "step x": torch.tensor(3.0)}
    state["weight x"] = torch.ones(30, 2)
    State(state, {"epoch": 1, "scores": [0.1]}).write(path)
    read = State.read(path)
    assert read.facts == {"epoch": 1, "scores": [0.1]}
    assert {name: value.tolist() for name, value in read.tensors.items()} == {
        name: value.tolist() for name, value in state.items()
    }
    raw = bytearray(path.read_bytes())
    raw[place] ^= 4
    path.write_bytes(raw)
    assert State.read(path) == State()
    assert "is damaged; training starts from the first step" in caplog.text


def test_muon_steps_the_matrices_of_the_layers_and_adamw_all_else(tmp_path: Path) -> None:
    module = trainer(learning_rate=1e-3, eps=1e-6)
    module.model = checkpoint.causal_lm(begun(tmp_path / "start"))
    module.steps_in_all = 10
    found = module.configure_optimizers()
    muon, adam = found["optimizer"].param_groups
    names = {id(weight): name for name, weight in module.model.named_parameters()}
    assert {names[id(weight)].split(".")[-2] for weight in muon["params"]} == {
        "c_attn",
        "c_proj",
        "c_fc",
    }
    assert all(weight.ndim == 2 for weight in muon["params"])
    assert len(muon["params"]) + len(adam["params"]) == len(names)
    assert (adam["betas"], adam["eps"], adam["weight_decay"]) == ((0.9, 0.95), 1e-6, 0.0)
    # One schedule for both: the first of ten steps rises to half of the peak, the second is it.
    assert (muon["lr"], adam["lr"]) == (0.01, 0.0005)
    module.training_step(torch.arange(32)[None], 0).backward()
    found["optimizer"].step()
    found["lr_scheduler"]["scheduler"].step()
    assert (muon["lr"], adam["lr"]) == (0.02, 0.001)


def test_both_halves_step_as_each_would_alone() -> None:
    torch.manual_seed(0)
    shapes = ((6, 4), (5,))
    ours, theirs = ([torch.nn.Parameter(torch.ones(shape)) for shape in shapes] for _ in "ab")
    both = MuonAndAdam(ours[:1], ours[1:], matrix_rate=0.1, weight_decay=0.1, lr=0.01)
    alone = [
        torch.optim.Muon(theirs[:1], lr=0.1, weight_decay=0.1),
        torch.optim.AdamW(theirs[1:], lr=0.01, weight_decay=0.0),
    ]
    for _ in range(3):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn_like(mine)
            other.grad = mine.grad.clone()
        both.step()
        for one in alone:
            one.step()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other)


def test_a_rate_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"model\.pretraining\.matrix_rate must be above 0"):
        trainer(matrix_rate=0.0)
