"""Static vectors are the plain mean of word embeddings."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy

from shortlist.core import Corpus
from shortlist.featurizers.transformer import Static
from shortlist.models import checkpoint
from shortlist.models.pretrained import LocalModel

TEXTS = toy.sentences("sailing", 6) + toy.sentences("stars", 6)
ROUNDING = 1e-6  # a mean of at most 30 float32 numbers below 1


def vectors(
    model: Path, texts: list[str], at: Path, machine: Any, *, normalise: bool
) -> np.ndarray:
    at.mkdir(exist_ok=True)
    featurizer = Static(LocalModel(str(model)), 32, normalise)
    return np.array(featurizer.compute(Corpus.build(texts), at, machine)[0])


def test_a_vector_is_the_mean_of_the_words_without_special_tokens(
    tiny_model: Path, tmp_path: Path, machine: Any
) -> None:
    words = checkpoint.tokenizer(tiny_model)
    table = checkpoint.encoder(tiny_model).get_input_embeddings().weight.detach().numpy()
    expected = [
        table[[words.convert_tokens_to_ids(word) for word in text.split()]].mean(0)
        for text in TEXTS
    ]
    found = vectors(tiny_model, TEXTS, tmp_path, machine, normalise=False)
    np.testing.assert_allclose(found, np.stack(expected), atol=ROUNDING)


def test_a_vector_does_not_depend_on_the_chunk_it_is_computed_in(
    tiny_model: Path, tmp_path: Path, machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = vectors(tiny_model, TEXTS, tmp_path / "a", machine, normalise=True)
    monkeypatch.setattr(Static, "shard", 5)
    chunks = vectors(tiny_model, TEXTS, tmp_path / "b", machine, normalise=True)
    np.testing.assert_allclose(chunks, whole, atol=ROUNDING)


def test_a_documents_vector_is_the_same_whatever_corpus_it_is_in(
    tiny_model: Path, tmp_path: Path, machine: Any
) -> None:
    whole = vectors(tiny_model, TEXTS, tmp_path / "a", machine, normalise=True)
    part = vectors(tiny_model, TEXTS[::-2], tmp_path / "b", machine, normalise=True)
    np.testing.assert_allclose(part, whole[::-2], atol=ROUNDING)


@pytest.mark.parametrize("texts", [["", "boat"], ["boat", ""], ["boat", "", "mast"], [""]], ids=str)
def test_a_document_without_words_is_the_zero_vector_and_counted(
    tiny_model: Path, tmp_path: Path, machine: Any, texts: list[str]
) -> None:
    featurizer = Static(LocalModel(str(tiny_model)), 32, True)
    values, facts = featurizer.compute(Corpus.build(texts), tmp_path, machine)
    assert facts["without_words"] == 1
    empty = np.array([text == "" for text in texts])
    np.testing.assert_allclose(np.linalg.norm(values, axis=1), ~empty, atol=ROUNDING)
