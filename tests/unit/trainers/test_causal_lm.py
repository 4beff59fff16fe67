"""Causal-LM training: packing keeps every token or counts it, and the loss falls."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from shortlist.core import Corpus
from shortlist.models import checkpoint
from shortlist.models.likelihood import causal_losses
from shortlist.runtime import Runtime
from shortlist.trainers.causal_lm import CausalLM, pack

END = 99
DOCUMENTS = st.lists(
    st.lists(st.integers(0, 50), max_size=9).map(lambda ids: np.array(ids, dtype=np.int64)),
    min_size=1,
    max_size=12,
)


@given(DOCUMENTS, st.integers(1, 20))
def test_packing_keeps_every_token_in_order_and_counts_the_tail(
    documents: list[np.ndarray], block: int
) -> None:
    blocks, tail = pack(documents, block, END)
    stream = [token for ids in documents for token in [*ids.tolist(), END]]
    assert blocks.ravel().tolist() == stream[: len(stream) - tail]
    assert tail < block


def test_less_than_one_block_becomes_one_shorter_block() -> None:
    blocks, tail = pack([np.array([1, 2])], 10, END)
    assert (blocks.tolist(), tail) == ([[1, 2, END]], 0)


CORPUS = Corpus.build(toy.sentences("sailing", 24))


def trainer(**changed: Any) -> CausalLM:
    settings = {
        "block": 32,
        "epochs": 3,
        "learning_rate": 5e-3,
        "batch_size": 4,
        "max_length": 64,
        "weight_decay": 0.01,
        "warmup_fraction": 0.0,
        "clip": 1.0,
        "precision": "32",
    }
    return CausalLM(**{**settings, **changed})


def test_the_loss_falls_on_the_corpus_it_is_trained_on(
    tiny_gpt2: Path, tmp_path: Path, machine: Any
) -> None:
    trainer().train_on(tiny_gpt2, CORPUS, tmp_path, 0, machine)
    before = trainer().losses_on(tiny_gpt2, CORPUS, machine)
    after = trainer().losses_on(tmp_path, CORPUS, machine)
    # From log 257 = 5.5 nats to the frequencies of letters in about 35 steps.
    assert after.sums.sum() / after.counts.sum() < before.sums.sum() / before.counts.sum() - 1


def test_the_same_seed_trains_the_same_weights_bit_for_bit(
    tiny_gpt2: Path, tmp_path: Path, machine: Any
) -> None:
    weights = []
    for run, seed in enumerate((0, 0, 1)):
        at = tmp_path / str(run)
        trainer(epochs=1).train_on(tiny_gpt2, CORPUS, at, seed, machine)
        weights.append(load_file(at / "model.safetensors"))
    first, second, other = weights
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_tokens_and_tail_add_up_to_the_corpus(
    tiny_gpt2: Path, tmp_path: Path, machine: Any
) -> None:
    facts = trainer(epochs=1).train_on(tiny_gpt2, CORPUS, tmp_path, 0, machine)
    size = sum(len(text.encode()) + 1 for text in CORPUS.texts)  # bytes, and an end token each
    assert facts["tokens"] + facts["tail_tokens_dropped"] == size
    assert facts["tokens"] % 32 == 0


def test_a_held_out_loss_is_the_cross_entropy_after_an_end_token(
    tiny_gpt2: Path, machine: Any
) -> None:
    model, words = checkpoint.causal_lm(tiny_gpt2).eval(), checkpoint.tokenizer(tiny_gpt2)
    ids = torch.tensor([[words.eos_token_id, *words(CORPUS.texts[0])["input_ids"]]])
    with torch.no_grad():
        expected = float(model(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
    found = causal_losses(tiny_gpt2, CORPUS, 128, machine)
    assert found.counts[0] == ids.shape[1] - 1
    assert found.sums[0] == pytest.approx(expected, rel=1e-5)  # float32 sums of some 60 numbers


@pytest.mark.parametrize("tokens", [4, 500])
def test_another_batch_size_and_order_give_the_same_loss_of_every_document(
    tiny_gpt2: Path, machine: Any, tokens: int
) -> None:
    expected = causal_losses(tiny_gpt2, CORPUS, 64, machine)
    other = Runtime(accelerator="cpu", inference_tokens=tokens, progress=False)
    found = causal_losses(tiny_gpt2, CORPUS.take(range(23, -1, -1)), 64, other)
    np.testing.assert_array_equal(found.counts[::-1], expected.counts)
    np.testing.assert_allclose(found.sums[::-1], expected.sums, rtol=1e-5)  # as above
