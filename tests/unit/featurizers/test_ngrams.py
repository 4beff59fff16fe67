"""N-gram vectors are counts of what is written, in buckets."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from sklearn.utils import murmurhash3_32

from shortlist.core import Corpus
from shortlist.featurizers import ngrams
from shortlist.featurizers.ngrams import NGrams

TEXTS = [*toy.sentences("music", 4), "A b, c... a B!", "don't 12", ""]


def counts(texts: list[str], machine: Any, buckets: int = 500, longest: int = 2) -> np.ndarray:
    found, _ = NGrams(buckets, longest).compute(Corpus.build(texts), Path(), machine)
    return found.toarray()


def naive(text: str, buckets: int, longest: int) -> np.ndarray:
    words = re.findall(r"\w+|[^\w\s]+", text.lower())
    grams = Counter(
        " ".join(words[start : start + n])
        for n in range(1, longest + 1)
        for start in range(len(words) - n + 1)
    )
    vector = np.zeros(buckets)
    for gram, count in grams.items():
        vector[abs(murmurhash3_32(gram, seed=0)) % buckets] += count
    return vector


@pytest.mark.parametrize("longest", [1, 2, 3])
def test_counts_are_those_of_a_counter_over_hashed_grams(machine: Any, longest: int) -> None:
    expected = np.stack([naive(text, 500, longest) for text in TEXTS])
    np.testing.assert_array_equal(counts(TEXTS, machine, longest=longest), expected)


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
