"""A document's loss is what transformers says of it, alone and without padding."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy

from shortlist.core import Corpus
from shortlist.errors import InvalidInput
from shortlist.featurizers.model_loss import ModelLoss
from shortlist.models import checkpoint
from shortlist.models.likelihood import Masked
from shortlist.models.pretrained import LocalModel
from shortlist.runtime import Runtime

CORPUS = Corpus.build([*toy.sentences("sailing", 6), "boat", *toy.sentences("stars", 6)])
ROUNDING = 1e-5  # relative; float32 cross-entropies of size 5


def losses(model: Path, at: Path, corpus: Corpus = CORPUS, tokens: int = 8192) -> np.ndarray:
    at.mkdir(exist_ok=True)
    machine = Runtime(accelerator="cpu", inference_tokens=tokens, progress=False)
    found = ModelLoss(LocalModel(str(model)), 100).compute(corpus, at, machine)[0]
    assert found.shape == (len(corpus), 1)
    return np.array(found[:, 0])


def test_a_decoders_loss_is_that_of_transformers(tiny_gpt2: Path, tmp_path: Path) -> None:
    model, words = checkpoint.causal_lm(tiny_gpt2).eval(), checkpoint.tokenizer(tiny_gpt2)
    expected = []
    for text in CORPUS.texts:
        ids = torch.tensor([[words.eos_token_id, *words(text)["input_ids"]]])
        with torch.no_grad():
            expected.append(float(model(input_ids=ids, labels=ids).loss))
    np.testing.assert_allclose(losses(tiny_gpt2, tmp_path), expected, rtol=ROUNDING)


def test_an_encoders_loss_is_that_of_transformers_at_the_hidden_tokens(
    tiny_model: Path, tmp_path: Path
) -> None:
    model, words = checkpoint.masked_lm(tiny_model).eval(), checkpoint.tokenizer(tiny_model)
    asked = Masked(tiny_model, 100, torch.device("cpu")).predictions(CORPUS)
    expected = []
    for ids, place in zip(asked.tokens.ids, asked.positions, strict=True):
        shown, labels = torch.from_numpy(ids.copy()), torch.full((len(ids),), -100)
        labels[place] = shown[place]
        shown[place] = words.mask_token_id
        with torch.no_grad():
            expected.append(float(model(input_ids=shown[None], labels=labels[None]).loss))
    np.testing.assert_allclose(losses(tiny_model, tmp_path), expected, rtol=ROUNDING)


@pytest.mark.parametrize("tokens", [1, 150])
@pytest.mark.parametrize("name", ["tiny_model", "tiny_gpt2"])
def test_neither_batches_nor_neighbours_have_a_part_in_a_loss(
    request: pytest.FixtureRequest, name: str, tokens: int, tmp_path: Path
) -> None:
    model, rows = request.getfixturevalue(name), np.arange(len(CORPUS))[::-2]
    whole = losses(model, tmp_path / "a")
    part = losses(model, tmp_path / "b", CORPUS.take(rows), tokens)
    np.testing.assert_allclose(part, whole[rows], rtol=ROUNDING)


@pytest.mark.parametrize("name", ["tiny_model", "tiny_gpt2"])
def test_a_text_without_a_token_has_no_loss_and_is_counted(
    request: pytest.FixtureRequest, name: str, tmp_path: Path, machine: Any
) -> None:
    made = ModelLoss(LocalModel(str(request.getfixturevalue(name))), 16)
    found, facts = made.compute(Corpus.build(["boat", ""]), tmp_path, machine)
    assert facts == {"truncated": 0, "without_words": 1}
    assert found[0, 0] > 0 == found[1, 0]


def test_an_encoder_without_a_trained_head_is_refused_by_name(tmp_path: Path, machine: Any) -> None:
    whole = toy.write_bert(tmp_path / "whole")
    for part in (checkpoint.encoder(whole), checkpoint.tokenizer(whole)):
        part.save_pretrained(tmp_path / "bare")
    with pytest.raises(InvalidInput, match=r"trained masked-LM head was expected, .*lacks cls\."):
        ModelLoss(LocalModel(str(tmp_path / "bare")), 16).reader(machine)


def test_more_tokens_than_positions_are_refused_with_the_setting(
    tiny_gpt2: Path, machine: Any
) -> None:
    with pytest.raises(InvalidInput, match=r"set featurizer\.max_length=128"):
        ModelLoss(LocalModel(str(tiny_gpt2)), 129).reader(machine)
