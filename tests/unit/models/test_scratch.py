"""A GPT-2 that does not exist yet: its tokenizer loses nothing, its first weights are seeded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import toy
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from shortlist.errors import InvalidInput
from shortlist.models import checkpoint
from shortlist.models.scratch import END, ScratchModel, byte_pairs

TEXTS = toy.sentences("sailing", 60)
WORDS = byte_pairs(TEXTS, 320)


def scratch(**changed: Any) -> ScratchModel:
    settings: dict[str, Any] = {
        "vocabulary": 320,
        "layers": 1,
        "heads": 2,
        "width": 16,
        "positions": 32,
        "dropout": 0.0,
        "documents": None,
        "seed": 0,
        "pretraining": None,
    }
    return ScratchModel(**{**settings, **changed})


@given(st.text())
def test_any_text_comes_back_whole(text: str) -> None:
    assert WORDS.decode(WORDS(text)["input_ids"]) == text


def test_the_vocabulary_is_bytes_one_special_token_and_merges() -> None:
    assert len(WORDS) == 320
    assert WORDS.all_special_tokens == [END]
    assert len(byte_pairs(["a"], 320)) == 257  # nothing to merge
    assert len(WORDS(TEXTS[0])["input_ids"]) < len(TEXTS[0].encode()) / 2


def test_the_untrained_model_is_a_directory_that_transformers_opens(tmp_path: Path) -> None:
    scratch().begin(TEXTS, tmp_path)
    model, words = checkpoint.causal_lm(tmp_path), checkpoint.tokenizer(tmp_path)
    config = model.config
    assert (config.n_layer, config.n_head, config.n_embd, config.n_positions) == (1, 2, 16, 32)
    assert config.vocab_size == len(words) == 320
    assert words.eos_token == words.pad_token == END
    assert words(TEXTS[0])["input_ids"] == WORDS(TEXTS[0])["input_ids"]
    with torch.no_grad():  # weights drawn small: every token is about as likely as any
        loss = model(input_ids=torch.arange(30)[None], labels=torch.arange(30)[None]).loss
    assert float(loss) == pytest.approx(torch.log(torch.tensor(320.0)).item(), abs=0.1)


def test_the_seed_decides_the_first_weights_and_nothing_else_does(tmp_path: Path) -> None:
    found = []
    for place, seed in (("a", 0), ("b", 0), ("c", 1)):
        torch.manual_seed(len(found))  # the caller's generator, which must be left alone too
        before = torch.get_rng_state()
        scratch(seed=seed).begin(TEXTS, tmp_path / place)
        assert torch.equal(torch.get_rng_state(), before)
        found.append(load_file(tmp_path / place / "model.safetensors")["transformer.wte.weight"])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_it_has_no_directory_before_it_is_made() -> None:
    assert scratch().identity() == {}
    with pytest.raises(InvalidInput, match=r"pre-trained on the pool first; .*model=local"):
        scratch().directory()


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("vocabulary", 256, "model.vocabulary must be at least 257"),
        ("heads", 3, "model.width=16 must be a multiple of model.heads=3"),
        ("dropout", 1.0, "model.dropout"),
        ("documents", 0, "model.documents must be at least 1"),
    ],
)
def test_an_impossible_architecture_is_refused_by_the_setting(
    setting: str, value: float, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        scratch(**{setting: value})
