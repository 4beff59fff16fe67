"""The held-out loss is a property of model and document, not of how it was measured."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy

from shortlist.core import Corpus
from shortlist.models import checkpoint, likelihood
from shortlist.models.likelihood import held_out_loss, logits_at
from shortlist.models.tokens import batch, tokenize
from shortlist.runtime import Runtime

TEXTS = [*toy.sentences("sailing", 10), *toy.sentences("stars", 10), "boat", "mast " * 50]
CORPUS = Corpus.build(TEXTS)
# float32 cross-entropies of size 5, summed in another order.
ROUNDING = 1e-4


def losses(model: Path, corpus: Corpus = CORPUS, tokens: int = 8192) -> Any:
    machine = Runtime(accelerator="cpu", inference_tokens=tokens, progress=False)
    return held_out_loss("mlm", model, corpus, 32, machine)


@pytest.mark.parametrize("tokens", [1, 60, 200])
def test_another_batch_size_gives_the_same_loss_of_every_document(
    tiny_model: Path, tokens: int
) -> None:
    expected, found = losses(tiny_model), losses(tiny_model, tokens=tokens)
    np.testing.assert_array_equal(found.counts, expected.counts)
    np.testing.assert_allclose(found.sums, expected.sums, atol=ROUNDING)


def test_another_order_gives_the_same_loss_of_every_document(tiny_model: Path) -> None:
    rows = np.random.default_rng(0).permutation(len(CORPUS))
    expected, found = losses(tiny_model), losses(tiny_model, CORPUS.take(rows))
    np.testing.assert_array_equal(found.counts, expected.counts[rows])
    np.testing.assert_allclose(found.sums, expected.sums[rows], atol=ROUNDING)


def test_measuring_twice_gives_the_same_bits(tiny_model: Path) -> None:
    np.testing.assert_array_equal(losses(tiny_model).sums, losses(tiny_model).sums)


def test_a_loss_is_the_cross_entropy_at_the_masked_tokens(tiny_model: Path) -> None:
    tokenizer, model = checkpoint.tokenizer(tiny_model), checkpoint.masked_lm(tiny_model).eval()
    tokens, row = tokenize(tokenizer, CORPUS.texts, None, 32), 3
    ids = tokens.ids[row]
    where = likelihood.masked_positions(ids, int(CORPUS.id_bits()[row]), tokenizer.all_special_ids)
    shown = torch.from_numpy(ids.copy())
    shown[where] = tokenizer.mask_token_id
    with torch.no_grad():
        logits = model(input_ids=shown[None]).logits[0, where]
    expected = torch.nn.functional.cross_entropy(
        logits, torch.from_numpy(ids[where]), reduction="sum"
    )
    assert losses(tiny_model).sums[row] == pytest.approx(float(expected), abs=ROUNDING)


def test_the_masked_tokens_depend_on_the_id_and_the_text_alone() -> None:
    ids = np.arange(10, 210)
    one, same, other = (likelihood.masked_positions(ids, bits, [0]).tolist() for bits in (7, 7, 8))
    assert one == same != other


def test_the_share_of_masked_tokens_is_fifteen_percent() -> None:
    ids = np.arange(10, 110)
    counts = [len(likelihood.masked_positions(ids, bits * 2**40, [0])) for bits in range(1, 501)]
    # 4.5 standard errors of a proportion over 50,000 tokens
    assert abs(np.mean(counts) / 100 - 0.15) < 4.5 * np.sqrt(0.15 * 0.85 / 50_000)


def test_special_tokens_are_not_masked() -> None:
    ids = np.array([2, *range(10, 60), 3])
    for bits in range(50):
        assert not {0, 51} & set(likelihood.masked_positions(ids, bits, [2, 3]).tolist())


def test_every_document_with_a_word_predicts_one(tiny_model: Path) -> None:
    assert losses(tiny_model).counts.min() >= 1


def test_a_document_without_a_word_has_no_loss_and_no_count(tiny_model: Path) -> None:
    found = losses(tiny_model, Corpus.build(["", "boat"]))
    assert (found.sums[0], found.counts[0]) == (0.0, 0.0)


def test_logits_at_some_positions_are_those_of_the_whole_model(tiny_model: Path) -> None:
    tokenizer, model = checkpoint.tokenizer(tiny_model), checkpoint.masked_lm(tiny_model).eval()
    tokens = tokenize(tokenizer, TEXTS, None, 32)
    inputs = batch(tokens, range(len(TEXTS)), tokenizer.pad_token_id, types=False)
    where = torch.rand(inputs["input_ids"].shape, generator=torch.Generator().manual_seed(0)) < 0.2
    with torch.no_grad():
        found, whole = logits_at(model, inputs, where), model(**inputs).logits[where]
    torch.testing.assert_close(
        found, whole, atol=1e-5, rtol=0
    )  # a product over 32 in another order


def test_a_model_whose_head_is_unknown_is_run_whole(tiny_gpt2: Path) -> None:
    class Whole(torch.nn.Module):
        def forward(self, input_ids: torch.Tensor) -> Any:
            return type("Output", (), {"logits": input_ids[..., None].float()})

    ids = torch.tensor([[1, 2, 3]])
    where = torch.tensor([[True, False, True]])
    assert logits_at(Whole(), {"input_ids": ids}, where).tolist() == [[1.0], [3.0]]


def test_the_protocol_changes_with_the_length_and_not_with_the_model(
    tiny_model: Path, tmp_path: Path, machine: Any
) -> None:
    other = toy.write_bert(tmp_path, seed=1)
    short = held_out_loss("mlm", tiny_model, CORPUS, 16, machine)
    assert losses(tiny_model).protocol == losses(other).protocol != short.protocol


def test_the_protocol_changes_with_the_vocabulary(tiny_model: Path, tiny_gpt2: Path) -> None:
    bert, gpt2 = (checkpoint.tokenizer(path) for path in (tiny_model, tiny_gpt2))
    assert likelihood.protocol("mlm", 32, bert) == likelihood.protocol("mlm", 32, bert)
    assert likelihood.protocol("mlm", 32, bert) != likelihood.protocol("mlm", 32, gpt2)
