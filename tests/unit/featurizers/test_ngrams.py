"""N-gram vectors are counts of what is written, in buckets."""

import hashlib
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy

from shortlist.core import Corpus
from shortlist.errors import InvalidInput
from shortlist.featurizers import ngrams
from shortlist.featurizers.ngrams import NGrams

TEXTS = [*toy.sentences("music", 4), "A b, c... a B!", "don't 12", "", "Ein Ärgernis"]


def counts(texts: list[str], machine: Any, buckets: int = 500, max_n: int = 2) -> np.ndarray:
    found, _ = NGrams(buckets, max_n).compute(Corpus.build(texts), Path(), machine)
    return found.toarray()


def naive(text: str, buckets: int, max_n: int) -> np.ndarray:
    words = re.findall(r"\w+|[^\w\s]+", text.lower())
    grams = Counter(
        " ".join(words[start : start + n])
        for n in range(1, max_n + 1)
        for start in range(len(words) - n + 1)
    )
    vector = np.zeros(buckets)
    for gram, count in grams.items():
        vector[int(hashlib.sha256(gram.encode()).hexdigest(), 16) % buckets] += count
    return vector


@pytest.mark.parametrize("max_n", [1, 2, 3])
def test_a_gram_is_in_the_bucket_that_the_whole_digest_names(machine: Any, max_n: int) -> None:
    expected = np.stack([naive(text, 500, max_n) for text in TEXTS])
    found = counts(TEXTS, machine, max_n=max_n)
    np.testing.assert_array_equal(found, expected)


def test_a_text_of_n_words_has_n_unigrams_and_one_bigram_less(machine: Any) -> None:
    assert counts(["a b, c"], machine).sum() == 4 + 3


def test_no_gram_is_lost_when_all_share_one_bucket(machine: Any) -> None:
    assert counts(["a b c"], machine, buckets=1).tolist() == [[5.0]]


def test_a_documents_counts_are_the_same_whatever_corpus_and_chunk_it_is_in(
    machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = counts(TEXTS, machine)
    monkeypatch.setattr(ngrams, "_CHUNK", 3)
    np.testing.assert_array_equal(counts(TEXTS[::-1], machine), whole[::-1])


def test_documents_without_a_word_are_counted(machine: Any) -> None:
    _, facts = NGrams(9, 1).compute(Corpus.build(["a", "", " "]), Path(), machine)
    assert facts == {"without_words": 2}


@pytest.mark.parametrize("settings", [(0, 2), (2**29 + 1, 2), (9, 0)])
def test_settings_out_of_range_are_refused_by_name(settings: tuple[int, int]) -> None:
    with pytest.raises(InvalidInput, match=r"featurizer\.buckets"):
        NGrams(*settings)


def test_columns_are_kept_in_32_bits(machine: Any) -> None:
    found, _ = NGrams(500, 2).compute(Corpus.build(TEXTS), Path(), machine)
    assert (found.data.dtype, found.indices.dtype) == (np.float32, np.int32)
