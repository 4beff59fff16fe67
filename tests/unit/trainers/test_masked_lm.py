"""Masked-LM training: BERT's masking, and a loss that falls."""

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
from shortlist.models.likelihood import IGNORED
from shortlist.trainers.language_model import MaskedLM, dense_parameters, mask

MASK, WORDS = 4, 1000
IDS = torch.randint(5, WORDS, (500, 400), generator=torch.Generator().manual_seed(0))
NONE = torch.zeros(IDS.shape, dtype=torch.bool)


def masked(special: torch.Tensor = NONE, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    return mask(IDS, special, 0.15, MASK, WORDS, torch.Generator().manual_seed(seed))


def near(found: float, expected: float, n: int) -> bool:
    """Within 4.5 standard errors of a proportion over n draws: missed with probability 1e-5."""
    return abs(found - expected) < 4.5 * np.sqrt(expected * (1 - expected) / n)


def test_fifteen_percent_of_the_tokens_are_asked_for() -> None:
    asked = masked()[1] != IGNORED
    assert near(float(asked.float().mean()), 0.15, asked.numel())


def test_of_the_asked_eighty_percent_are_masked_and_ten_stay_and_ten_change() -> None:
    inputs, labels = masked()
    asked = labels != IGNORED
    shown, truth, n = inputs[asked], IDS[asked], int(asked.sum())
    hidden, same = shown == MASK, shown == truth
    # A random token is the true one, or the mask, once in a thousand: far inside the tolerance.
    assert near(float(hidden.float().mean()), 0.8, n)
    assert near(float(same.float().mean()), 0.1, n)
    assert near(float((~hidden & ~same).float().mean()), 0.1, n)


def test_labels_are_the_tokens_that_stood_there() -> None:
    labels = masked()[1]
    assert torch.equal(labels[labels != IGNORED], IDS[labels != IGNORED])


def test_what_is_not_asked_for_stays_as_it_is() -> None:
    inputs, labels = masked()
    assert torch.equal(inputs[labels == IGNORED], IDS[labels == IGNORED])


def test_special_tokens_are_never_asked_for() -> None:
    special = torch.rand(IDS.shape, generator=torch.Generator().manual_seed(2)) < 0.5
    assert (masked(special)[1][special] == IGNORED).all()


def trainer(**changed: Any) -> MaskedLM:
    settings = {
        "mask_share": 0.15,
        "epochs": 6,
        "learning_rate": 5e-3,
        "batch_size": 8,
        "max_length": 32,
        "weight_decay": 0.01,
        "warmup_fraction": 0.06,
        "clip": 1.0,
        "precision": "32",
        "betas": [0.9, 0.999],
        "eps": 1e-8,
    }
    return MaskedLM(**{**settings, **changed})


CORPUS = Corpus.build(toy.sentences("sailing", 64))


def test_the_loss_falls_on_the_corpus_it_is_trained_on(
    tiny_model: Path, tmp_path: Path, machine: Any
) -> None:
    facts = trainer().train_on(tiny_model, CORPUS, tmp_path, 0, machine)
    before = trainer().losses_on(tiny_model, CORPUS, machine)
    after = trainer().losses_on(tmp_path, CORPUS, machine)
    # 48 steps; half a nat is ten standard errors over the some 90 tokens that are asked for.
    assert after.sums.sum() / after.counts.sum() < before.sums.sum() / before.counts.sum() - 0.5
    assert facts["steps"] == 6 * 8


def test_the_same_seed_trains_the_same_weights_bit_for_bit(
    tiny_model: Path, tmp_path: Path, machine: Any
) -> None:
    weights = []
    for run, seed in enumerate((0, 0, 1)):
        at = tmp_path / str(run)
        trainer(epochs=1).train_on(tiny_model, CORPUS, at, seed, machine)
        weights.append(load_file(at / "model.safetensors"))
    first, second, other = weights
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_training_does_not_touch_the_model_it_starts_from(
    tiny_model: Path, tmp_path: Path, machine: Any
) -> None:
    before = (tiny_model / "model.safetensors").read_bytes()
    trainer(epochs=1).train_on(tiny_model, CORPUS, tmp_path, 0, machine)
    assert (tiny_model / "model.safetensors").read_bytes() == before


def test_what_was_read_and_cut_is_counted(tiny_model: Path, tmp_path: Path, machine: Any) -> None:
    corpus = Corpus.build(["boat mast", "sail " * 40])
    facts = trainer(epochs=1).train_on(tiny_model, corpus, tmp_path, 0, machine)
    assert (facts["documents"], facts["tokens"], facts["truncated"]) == (2, 4 + 32, 1)


def test_a_loss_that_is_no_number_stops_the_training(
    tiny_model: Path, tmp_path: Path, machine: Any
) -> None:
    told = r"warm-up: the loss is not a number at step \d+; lower the learning rate \(now 1e\+38\)$"
    diverging = trainer(learning_rate=1e38, clip=1e38, precision="32")
    with pytest.raises(InvalidInput, match=told):
        diverging.train_on(tiny_model, CORPUS, tmp_path, 0, machine)


def test_a_batch_in_which_no_token_is_asked_for_trains_nothing(
    tiny_model: Path, tmp_path: Path, machine: Any
) -> None:
    # One word: asked for with probability 0.15 a step; the mean over no token is not a number.
    corpus = Corpus.build(["boat"])
    facts = trainer(epochs=3).train_on(tiny_model, corpus, tmp_path, 0, machine)
    assert (facts["steps"], facts["first_loss"]) == (3, 0.0)
    trained = checkpoint.masked_lm(tmp_path).state_dict()
    assert all(torch.isfinite(value).all() for value in trained.values())


def test_weights_outside_embedding_tables_are_counted_tied_ones_once(tiny_model: Path) -> None:
    model = MaskedLM.load(tiny_model)
    config = model.config
    width, inner = config.hidden_size, config.intermediate_size
    layer = 4 * (width + 1) * width + (width + 1) * inner + (inner + 1) * width + 4 * width
    head = (width + 1) * width + 2 * width + config.vocab_size  # its decoder is the word embeddings
    expected = config.num_hidden_layers * layer + head + 2 * width
    assert dense_parameters(model) == expected


@pytest.mark.parametrize("setting", [{"ema": 0.9}, {"l2_sp": 0.1}, {"mixout": 0.5}])
def test_weights_that_are_cut_over_processes_have_no_average_and_no_start(
    setting: dict[str, Any],
) -> None:
    module = trainer(**setting)
    module.configure_model()  # no strategy cuts them
    module._device_mesh = {"data_parallel": None}
    with pytest.raises(InvalidInput, match=rf"set warmup\.{next(iter(setting))}=null or runtime"):
        module.configure_model()
