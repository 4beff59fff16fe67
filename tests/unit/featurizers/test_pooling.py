"""Pooling belongs to the document's tokens: padding, on whichever side, has no part in it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy

from shortlist.core import Corpus
from shortlist.errors import InvalidInput
from shortlist.featurizers.transformer import POOLINGS, Transformer
from shortlist.models import checkpoint
from shortlist.models.pretrained import LocalModel
from shortlist.runtime import Runtime

TEXTS = [*toy.sentences("sailing", 4), "boat", "mast " * 20, *toy.sentences("stars", 4)]
ROUNDING = 1e-5  # as in test_transformer
OWN = {  # the definition, over the states of one document without padding
    "mean": lambda states: states.mean(0),
    "last_token": lambda states: states[-1],
    "position_weighted": lambda states: (
        sum((i + 1) * state for i, state in enumerate(states)) / sum(range(1, len(states) + 1))
    ),
}


def featurizer(model: Path, **settings: Any) -> Transformer:
    usual: dict[str, Any] = {"max_length": 64, "layer": -1, "normalise": False, "precision": "32"}
    return Transformer(LocalModel(str(model)), **{**usual, "tuning": None, **settings})


def states(model: Path, layer: int) -> list[torch.Tensor]:
    """Hidden states of each text by itself."""
    opened, words = checkpoint.encoder(model), checkpoint.tokenizer(model)
    with torch.no_grad():
        return [
            opened(input_ids=torch.tensor([words(text)["input_ids"]]), output_hidden_states=True)
            .hidden_states[layer][0]
            for text in TEXTS
        ]  # fmt: skip


@pytest.mark.parametrize("tokens", [1, 100, 8192])
@pytest.mark.parametrize("pooling", OWN)
@pytest.mark.parametrize("name", ["tiny_model", "tiny_gpt2"])
def test_a_vector_is_the_pooling_of_the_documents_own_states_in_any_batch(
    request: pytest.FixtureRequest, name: str, pooling: str, tokens: int, tmp_path: Path
) -> None:
    model = request.getfixturevalue(name)
    machine = Runtime(accelerator="cpu", inference_tokens=tokens, progress=False)
    made = featurizer(model, pooling=pooling, max_length=128)
    found = made.compute(Corpus.build(TEXTS), tmp_path, machine)[0]
    expected = torch.stack([OWN[pooling](one) for one in states(model, -1)])
    np.testing.assert_allclose(found, expected, atol=ROUNDING)


@pytest.mark.parametrize("pooling", OWN)
def test_padding_on_either_side_changes_nothing(pooling: str) -> None:
    generator = torch.Generator().manual_seed(0)
    own = [torch.randn(length, 6, generator=generator) for length in (1, 3, 7)]
    expected = torch.stack([OWN[pooling](one) for one in own])
    for left in (True, False):
        hidden, mask = torch.full((3, 9, 6), 1e3), torch.zeros(3, 9, dtype=torch.long)
        for row, one in enumerate(own):
            where = slice(9 - len(one), 9) if left else slice(0, len(one))
            hidden[row, where], mask[row, where] = one, 1
        torch.testing.assert_close(POOLINGS[pooling](hidden, mask), expected, atol=1e-5, rtol=1e-5)


def test_the_released_vectors_are_the_mean_over_all_positions_of_a_padded_text(
    tiny_model: Path, tmp_path: Path, machine: Any
) -> None:
    opened, words = checkpoint.encoder(tiny_model), checkpoint.tokenizer(tiny_model)
    words.padding_side = "right"
    inputs = words(TEXTS, padding="max_length", max_length=40, truncation=True, return_tensors="pt")
    inputs.pop("token_type_ids", None)
    with torch.no_grad():
        expected = opened(**inputs).last_hidden_state.mean(1)
    made = featurizer(tiny_model, pooling="mean_all", max_length=40)
    found = made.compute(Corpus.build(TEXTS), tmp_path, machine)[0]
    np.testing.assert_allclose(found, expected, atol=ROUNDING)


@pytest.mark.parametrize("name", ["tiny_model", "tiny_gpt2"])
@pytest.mark.parametrize("layer", [-3, -2, -1, 0, 1, 2])
def test_a_layer_is_that_entry_of_the_hidden_states(
    request: pytest.FixtureRequest, name: str, layer: int, tmp_path: Path, machine: Any
) -> None:
    model = request.getfixturevalue(name)
    made = featurizer(model, pooling="mean", layer=layer, max_length=128)
    found = made.compute(Corpus.build(TEXTS), tmp_path, machine)[0]
    expected = torch.stack([one.mean(0) for one in states(model, layer)])
    np.testing.assert_allclose(found, expected, atol=ROUNDING)


@pytest.mark.parametrize("layer", [-4, 3])
def test_a_layer_the_model_does_not_have_is_refused_by_name(
    tiny_model: Path, machine: Any, layer: int
) -> None:
    with pytest.raises(InvalidInput, match=r"featurizer\.layer must lie between -3 and 2"):
        featurizer(tiny_model, pooling="mean", layer=layer).reader(machine)


def test_an_unknown_pooling_is_refused_with_the_near_ones(tiny_model: Path) -> None:
    with pytest.raises(InvalidInput, match="did you mean `last_token`"):
        featurizer(tiny_model, pooling="last_tokens")


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_text_without_a_token_is_the_zero_vector_and_counted(
    tiny_gpt2: Path, tmp_path: Path, machine: Any, pooling: str
) -> None:
    made = featurizer(tiny_gpt2, pooling=pooling, max_length=16)
    found, facts = made.compute(Corpus.build(["", "boat", ""]), tmp_path, machine)
    assert facts == {"truncated": 0, "without_words": 2}
    assert (np.abs(found).sum(1) > 0).tolist() == [False, True, False]
    (tmp_path / "only").mkdir()
    only = made.compute(Corpus.build([""]), tmp_path / "only", machine)
    assert (only[0].tolist(), only[1]["without_words"]) == ([[0.0] * 32], 1)
