"""Frozen layers: the whole model and its upper part on the frozen states give the same outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import toy

from shortlist.errors import InvalidInput
from shortlist.models import checkpoint
from shortlist.models.frozen import FrozenLayers, state_batch
from shortlist.models.tokens import batch, tokenize


def test_the_upper_part_on_frozen_states_is_the_whole_model(tiny_model: Path, machine: Any) -> None:
    model = checkpoint.classifier(tiny_model, 3).eval()
    tokens = tokenize(checkpoint.tokenizer(tiny_model), toy.sentences("music", 7), None, 16)
    rows = [5, 0, 3]
    with torch.inference_mode():
        expected = model(**batch(tokens, rows, 0, types=False)).logits
    names = list(model.state_dict())
    frozen = FrozenLayers.of(model, 1, "finetune.frozen_layers")
    states = frozen.states(tokens, 0, False, machine)
    with frozen.without_frozen_layers(), torch.inference_mode():
        found = model(**state_batch(states, rows)).logits
    assert torch.allclose(found, expected, atol=1e-5)
    assert list(model.state_dict()) == names
    with torch.inference_mode():
        assert torch.equal(model(**batch(tokens, rows, 0, types=False)).logits, expected)
    still = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    assert still and all(".embeddings." in name or ".layer.0." in name for name in still)


@pytest.mark.parametrize("count", [2, 9])
def test_freezing_every_layer_is_refused(tiny_model: Path, count: int) -> None:
    with pytest.raises(InvalidInput, match=r"finetune.frozen_layers must be below the model's 2"):
        FrozenLayers.of(checkpoint.classifier(tiny_model, 2), count, "finetune.frozen_layers")


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_decoder_on_frozen_states_is_the_whole_decoder(
    kind: str, tiny_gpt2: Path, tiny_llama: Path, machine: Any
) -> None:
    at = tiny_gpt2 if kind == "gpt2" else tiny_llama
    model, words = checkpoint.classifier(at, 3).eval(), checkpoint.tokenizer(at)
    model.config.pad_token_id = pad = words.pad_token_id
    tokens = tokenize(words, toy.sentences("music", 7), None, 30)
    tokens.ids[5] = tokens.ids[5][
        :9
    ]  # rows of different lengths: the last token is found by its id
    tokens.lengths[5] = 9
    rows = [5, 0, 3]
    whole = batch(tokens, rows, pad, types=False)
    with torch.inference_mode():
        expected = model(**whole).logits
    names, config = list(model.state_dict()), model.config.to_json_string()
    frozen = FrozenLayers.of(model, 1, "finetune.frozen_layers")
    states = frozen.states(tokens, pad, False, machine)
    given = {**state_batch(states, rows), "input_ids": whole["input_ids"]}
    with frozen.without_frozen_layers(), torch.inference_mode():
        found = model(**given).logits
    assert torch.allclose(found, expected, atol=1e-5)
    assert (list(model.state_dict()), model.config.to_json_string()) == (names, config)
    with torch.inference_mode():
        assert torch.equal(model(**whole).logits, expected)
    still = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    parts = (".wte.", ".wpe.", ".h.0.", "embed_tokens", "layers.0.")
    assert still and all(any(part in name for part in parts) for name in still)


def test_layers_of_several_kinds_are_refused(tiny_gpt2: Path) -> None:
    model = checkpoint.causal_lm(tiny_gpt2)
    model.config.layer_types = ["full_attention", "sliding_attention"]
    with pytest.raises(
        InvalidInput, match="layers of one kind, found GPT2LMHeadModel with full_att"
    ):
        FrozenLayers.of(model, 1, "warmup.frozen_layers")
