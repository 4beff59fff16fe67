"""Causal-LM training: packing keeps every token, and the loss falls."""

import shutil
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
from shortlist.errors import InvalidInput
from shortlist.models import checkpoint
from shortlist.models.likelihood import IGNORED, causal_model, held_out_loss
from shortlist.runtime import Runtime
from shortlist.trainers.language_model import CausalLM, pack, pack_shuffled

END = 99
DOCUMENTS = st.lists(
    st.lists(st.integers(0, 50), max_size=9).map(lambda ids: np.array(ids, dtype=np.int64)),
    min_size=1,
    max_size=12,
)


@given(DOCUMENTS, st.integers(1, 20))
def test_the_blocks_read_row_by_row_are_the_stream(documents: list[np.ndarray], block: int) -> None:
    blocks = pack(documents, block, END)
    stream = [token for ids in documents for token in [*ids.tolist(), END]]
    flat = blocks.ravel()
    assert flat[flat != IGNORED].tolist() == stream
    # Only the end of the last block is filled up, and less than a block of it.
    assert (flat[: len(stream)] != IGNORED).all()
    assert 0 <= flat.size - len(stream) < block
    assert blocks.shape[1] == min(block, len(stream))


def test_less_than_one_block_becomes_one_shorter_block() -> None:
    assert pack([np.array([1, 2])], 10, END).tolist() == [[1, 2, END]]


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
        "betas": [0.9, 0.999],
        "eps": 1e-8,
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


def test_documents_are_packed_in_an_order_that_the_seed_decides(tiny_gpt2: Path) -> None:
    words = checkpoint.tokenizer(tiny_gpt2)
    one, again, other = (
        pack_shuffled(words, 7, CORPUS, 10_000, seed)[0].tolist() for seed in (0, 0, 1)
    )
    given = pack([np.array(words(text)["input_ids"]) for text in CORPUS.texts], 10_000, 7)[0]
    assert one == again != other and given.tolist() not in (one, other)
    assert sorted(one) == sorted(other) == sorted(given.tolist())


def test_a_tokenizer_without_an_end_token_is_refused_by_name(
    tiny_gpt2: Path, tmp_path: Path, machine: Any
) -> None:
    endless = tmp_path / "endless"
    shutil.copytree(tiny_gpt2, endless)
    words = checkpoint.tokenizer(tiny_gpt2)
    words.eos_token = None
    words.save_pretrained(endless)
    with pytest.raises(InvalidInput, match=r"with an end token was expected .*endless has none"):
        trainer().train_on(endless, CORPUS, tmp_path, 0, machine)
    with pytest.raises(InvalidInput, match="with an end token was expected"):
        causal_model(endless, None, "context", machine.device)


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


def test_every_token_of_the_corpus_and_an_end_token_each_is_trained_on(
    tiny_gpt2: Path, tmp_path: Path, machine: Any
) -> None:
    facts = trainer(epochs=1).train_on(tiny_gpt2, CORPUS, tmp_path, 0, machine)
    size = sum(len(text.encode()) + 1 for text in CORPUS.texts)  # bytes, and an end token each
    assert size % 32  # or the last block would not be the case in question
    assert facts["tokens"] == size
    assert facts["steps"] == -(-size // (32 * 4))


def test_the_loss_of_a_batch_is_the_mean_over_what_is_there_to_predict(tiny_gpt2: Path) -> None:
    module = trainer()
    module.model = checkpoint.causal_lm(tiny_gpt2).eval()
    ids = torch.arange(40, 56)[None]
    whole = module.model(input_ids=ids).logits[0]
    losses = torch.nn.functional.cross_entropy(whole[:-1], ids[0, 1:], reduction="none")
    short = torch.cat([ids[:, :10], torch.full((1, 6), IGNORED)], dim=1)
    found = module.training_step(torch.cat([ids, short]), 0)
    # The short row's nine predictions are the first nine of the whole row's fifteen.
    torch.testing.assert_close(found, torch.cat([losses, losses[:9]]).mean())
    alone = torch.full((1, 16), IGNORED)
    alone[0, 0] = 7
    assert module.training_step(alone, 0).item() == 0.0


def test_betas_and_eps_reach_the_optimizer(tiny_gpt2: Path) -> None:
    module = trainer(betas=[0.7, 0.8], eps=1e-5)
    module.model = checkpoint.causal_lm(tiny_gpt2)
    module.prepare()
    module.steps_in_all = 10
    for group in module.configure_optimizers()["optimizer"].param_groups:
        assert (group["betas"], group["eps"]) == ((0.7, 0.8), 1e-5)


@pytest.mark.parametrize("wrong", [{"betas": [0.9]}, {"betas": [0.9, 1.0]}, {"eps": 0.0}])
def test_impossible_moments_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="betas of two numbers"):
        trainer(**wrong)


def test_a_held_out_loss_is_the_cross_entropy_after_an_end_token(
    tiny_gpt2: Path, machine: Any
) -> None:
    model, words = checkpoint.causal_lm(tiny_gpt2).eval(), checkpoint.tokenizer(tiny_gpt2)
    ids = torch.tensor([[words.eos_token_id, *words(CORPUS.texts[0])["input_ids"]]])
    with torch.no_grad():
        expected = float(model(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
    found = held_out_loss("clm", tiny_gpt2, CORPUS, 128, machine)
    assert found.counts[0] == ids.shape[1] - 1
    assert found.sums[0] == pytest.approx(expected, rel=1e-5)  # float32 sums of some 60 numbers


@pytest.mark.parametrize("tokens", [4, 500])
def test_another_batch_size_and_order_give_the_same_loss_of_every_document(
    tiny_gpt2: Path, machine: Any, tokens: int
) -> None:
    expected = held_out_loss("clm", tiny_gpt2, CORPUS, 64, machine)
    other = Runtime(accelerator="cpu", inference_tokens=tokens, progress=False)
    found = held_out_loss("clm", tiny_gpt2, CORPUS.take(range(23, -1, -1)), 64, other)
    np.testing.assert_array_equal(found.counts[::-1], expected.counts)
    np.testing.assert_allclose(found.sums[::-1], expected.sums, rtol=1e-5)  # as above


def test_texts_longer_than_the_model_has_positions_are_refused_before_they_are_read(
    tiny_gpt2: Path, machine: Any
) -> None:
    with pytest.raises(InvalidInput, match=r"warmup\.max_length=129 exceeds the model's 128"):
        held_out_loss("clm", tiny_gpt2, CORPUS, 129, machine)
