"""Transformer vectors belong to a document: neither its neighbours nor padding have a part in them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy

from shortlist.core import Corpus
from shortlist.errors import InvalidInput
from shortlist.featurizers.transformer import Transformer
from shortlist.models import checkpoint
from shortlist.models.pretrained import LocalModel
from shortlist.runtime import Runtime

# float32 sums of 32 numbers of size 1 in another order differ by some 1e-7; two layers carry it to 1e-6.
ROUNDING = 1e-5


def featurizer(model: Path, **settings: Any) -> Transformer:
    usual: dict[str, Any] = {"max_length": 32, "pooling": "mean", "layer": -1, "normalise": True}
    return Transformer(
        LocalModel(str(model)), **{**usual, "precision": "32", "tuning": None, **settings}
    )


def vectors(
    model: Path,
    corpus: Corpus,
    directory: Path,
    *,
    tokens: int = 8192,
    length: int = 32,
    normalise: bool = True,
    **settings: Any,
) -> np.ndarray:
    directory.mkdir(exist_ok=True)
    made = featurizer(model, max_length=length, normalise=normalise, **settings)
    machine = Runtime(accelerator="cpu", inference_tokens=tokens, progress=False)
    return np.array(made.compute(corpus, directory, machine)[0])


@pytest.fixture(scope="module")
def texts() -> list[str]:
    lengths = [(1, 2), (5, 9), (20, 30)]
    rng = __import__("random").Random(0)
    return [toy.sentence(rng, topic, *size) for topic in toy.TOPICS for size in lengths]


def test_vectors_are_those_of_a_loop_over_single_sentences(
    tiny_model: Path, texts: list[str], tmp_path: Path
) -> None:
    model, words = checkpoint.encoder(tiny_model), checkpoint.tokenizer(tiny_model)
    expected = []
    for text in texts:
        ids = torch.tensor([words(text)["input_ids"]])
        with torch.no_grad():
            mean = model(input_ids=ids).last_hidden_state[0].mean(0)
        expected.append((mean / mean.norm()).numpy())
    found = vectors(tiny_model, Corpus.build(texts), tmp_path)
    np.testing.assert_allclose(found, np.stack(expected), atol=ROUNDING)


@pytest.mark.parametrize("tokens", [1, 40, 100])
def test_vectors_do_not_depend_on_the_size_of_batches(
    tiny_model: Path, texts: list[str], tmp_path: Path, tokens: int
) -> None:
    corpus = Corpus.build(texts)
    found = vectors(tiny_model, corpus, tmp_path / "a", tokens=tokens)
    np.testing.assert_allclose(found, vectors(tiny_model, corpus, tmp_path / "b"), atol=ROUNDING)


def test_a_documents_vector_is_the_same_whatever_corpus_it_is_in(
    tiny_model: Path, texts: list[str], tmp_path: Path
) -> None:
    whole = vectors(tiny_model, Corpus.build(texts), tmp_path / "a")
    part = vectors(tiny_model, Corpus.build(texts[::-3]), tmp_path / "b")
    np.testing.assert_allclose(part, whole[::-3], atol=ROUNDING)


def test_bfloat16_vectors_point_where_those_of_float32_do(
    tiny_model: Path, texts: list[str], tmp_path: Path
) -> None:
    corpus = Corpus.build(texts)
    full = vectors(tiny_model, corpus, tmp_path / "a")
    half = vectors(tiny_model, corpus, tmp_path / "b", precision="bf16")
    assert (full * half).sum(1).min() > 0.999  # 8 bits of mantissa: errors of 2^-9 average out


def test_vectors_have_length_one_only_if_asked_for(
    tiny_model: Path, texts: list[str], tmp_path: Path
) -> None:
    corpus = Corpus.build(texts)
    scaled = vectors(tiny_model, corpus, tmp_path / "a")
    plain = vectors(tiny_model, corpus, tmp_path / "b", normalise=False)
    lengths = np.linalg.norm(plain, axis=1, keepdims=True)
    np.testing.assert_allclose(np.linalg.norm(scaled, axis=1), 1, atol=ROUNDING)
    assert np.abs(lengths - 1).max() > 0.1
    np.testing.assert_allclose(plain / lengths, scaled, atol=ROUNDING)


def test_what_is_cut_is_counted(tiny_model: Path, tmp_path: Path, machine: Any) -> None:
    made = featurizer(tiny_model, max_length=8)
    corpus = Corpus.build(["boat", "mast " * 20, "sail " * 6])
    assert made.compute(corpus, tmp_path, machine)[1] == {"truncated": 1}


def test_more_tokens_than_positions_are_refused_with_the_setting(
    tiny_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match=r"set featurizer\.max_length=128"):
        vectors(tiny_model, Corpus.build(["boat"]), tmp_path, length=129)


def test_the_precision_that_auto_came_to_is_part_of_the_identity(
    tiny_model: Path, machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    identities = []
    for can in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda can=can: can)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda can=can: can)
        made = featurizer(tiny_model, precision="auto")
        identities.append(made.identity(machine)["precision"])
    assert identities == ["bf16", "32"]
