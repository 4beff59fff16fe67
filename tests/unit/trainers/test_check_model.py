"""What a model lacks the parts for is refused by its configuration alone, as when it is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import toy

from shortlist.errors import InvalidInput
from shortlist.models.heads.base import Head
from shortlist.models.heads.labels import SingleLabel
from shortlist.models.heads.responses import Responses
from shortlist.models.heads.spans import Spans
from shortlist.models.heads.tags import Tags
from shortlist.runtime import Runtime
from shortlist.trainers.adapters import Dora, Ia3, Lora, PrefixTuning, PromptTuning
from shortlist.trainers.base import TrainingModule
from shortlist.trainers.classify import Classifier
from shortlist.trainers.language_model import CausalLM, MaskedLM

LABELS = ("baking", "sailing")
TUNED: dict[str, Any] = {**toy.TRAINING, "epochs": 1, "keep": "last", "patience": None}
LORA = Lora(2, 4, 0.1, "all")
REFUSED: dict[str, dict[str, Any]] = {
    "pattern": {"freeze": ["no.such.*"]},
    "too many": {"frozen_layers": 9},
    "pull": {"freeze": "all", "l2_sp": 0.1},
    "mix": {"freeze": "all", "mixout": 0.1},
    "length": {"max_length": 600},
    "targets": {"peft": Lora(2, 4, 0.1, ["*.no_such"])},
    "everything": {"freeze": ["*"]},
    "equal passes": {"r_drop": 1.0, "hidden_dropout": 0.0, "attention_dropout": 0.0},
}
ALLOWED: list[dict[str, Any]] = [
    {}, {"freeze": "all"}, {"frozen_layers": 1, "peft": LORA}, {"peft": Dora(2, 4, 0.0, "all")},
    {"peft": Ia3(None, None)}, {"peft": PrefixTuning(2)}, {"unfreeze": 1, "layer_decay": 0.9},
    {"head_learning_rate": 1e-3, "l2_sp": 0.1, "mixout": 0.1, "hidden_dropout": 0.1},
    {"r_drop": 1.0, "hidden_dropout": 0.0}, {"r_drop": 1.0, "attention_dropout": 0.0},
]  # fmt: skip


@pytest.fixture(params=["bert", "gpt2"])
def start(request: pytest.FixtureRequest, tiny_model: Path, tiny_gpt2: Path) -> Path:
    return tiny_model if request.param == "bert" else tiny_gpt2


def is_fresh(module: TrainingModule) -> bool:
    return module.model is None and not module.groups and module.unfreezing is None


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_training_would_refuse_is_refused_before_it(
    start: Path, tmp_path: Path, machine: Runtime, what: str
) -> None:
    said: list[str] = []
    for train in (False, True):
        module = Classifier(**{**TUNED, **REFUSED[what]})
        with pytest.raises(InvalidInput) as refusal:
            if train:
                corpus, head = toy.labelled(LABELS, n=2), SingleLabel(LABELS)
                module.train_on(start, corpus, None, head, tmp_path, 0, machine)
            else:
                module.check_model(start)
        said.append(str(refusal.value))
    assert said[0] == said[1]


@pytest.mark.parametrize("settings", ALLOWED, ids=str)
def test_a_check_changes_nothing(start: Path, settings: dict[str, Any]) -> None:
    before = torch.get_rng_state()
    module = Classifier(**{**TUNED, **settings})
    module.check_model(start)
    assert is_fresh(module) and torch.equal(torch.get_rng_state(), before)


def test_warm_ups_are_checked_by_their_own_lengths(tiny_model: Path, tiny_gpt2: Path) -> None:
    MaskedLM(mask_share=0.2, **toy.TRAINING).check_model(tiny_model)
    CausalLM(block=128, **toy.TRAINING).check_model(tiny_gpt2)
    with pytest.raises(InvalidInput, match=r"warmup\.block=129 exceeds"):
        CausalLM(block=129, **toy.TRAINING).check_model(tiny_gpt2)
    with pytest.raises(InvalidInput, match=r"warmup\.max_length=129 exceeds"):
        long = {**toy.TRAINING, "max_length": 129}  # of held-out texts
        CausalLM(block=64, **long).check_model(tiny_gpt2)
    with pytest.raises(InvalidInput, match=r"warmup\.head_learning_rate needs a head"):
        CausalLM(block=64, **toy.TRAINING, head_learning_rate=1e-3).check_model(tiny_gpt2)
    MaskedLM(mask_share=0.2, **toy.TRAINING).check_model(tiny_gpt2)  # said where it is opened


def test_r_drop_needs_something_that_differs_between_two_passes(tiny_llama: Path) -> None:
    def check(**changed: Any) -> None:
        Classifier(**{**TUNED, "r_drop": 1.0, **changed}).check_model(tiny_llama)

    with pytest.raises(InvalidInput, match=r"r_drop compares two passes .*, this model has none"):
        check()
    for on in ({"attention_dropout": 0.1}, {"peft": LORA}, {"mixout": 0.1}):
        check(**on)


@pytest.mark.parametrize("head", [Tags(("O", "B-X")), Spans(2, 4), Responses("{prompt}", None, 4)])
def test_models_of_every_kind_of_task_are_checked(start: Path, head: Head) -> None:
    Classifier(**TUNED).check_model(start, head.model_class)
    with pytest.raises(InvalidInput, match=r"'no\.such\.\*' matches none"):
        Classifier(**{**TUNED, "freeze": ["no.such.*"]}).check_model(start, head.model_class)


def test_a_warm_up_as_long_as_the_training_is_refused_by_the_number_of_examples(
    tiny_model: Path, tmp_path: Path, machine: Runtime
) -> None:
    corpus, head = toy.labelled(LABELS, n=8), SingleLabel(LABELS)  # 16 texts: 2 steps
    module = Classifier(**{**TUNED, "warmup_fraction": 0.0, "warmup_steps": 2})
    module.check_steps(len(corpus) + 1)
    said: list[str] = []
    for refuse in (
        lambda: module.check_steps(len(corpus)),
        lambda: module.train_on(tiny_model, corpus, None, head, tmp_path, 0, machine),
    ):
        with pytest.raises(InvalidInput, match="must be below the 2 steps") as refusal:
            refuse()
        said.append(str(refusal.value))
    assert said[0] == said[1]


def test_prompts_that_a_decoder_cannot_read_are_refused(tiny_model: Path, tiny_gpt2: Path) -> None:
    module = Classifier(**{**TUNED, "peft": PromptTuning(2)})
    module.check_model(tiny_model)
    with pytest.raises(InvalidInput, match="finds the last token of a text by its id"):
        module.check_model(tiny_gpt2)
