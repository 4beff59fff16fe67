"""Counts of character n-grams against a brute-force cut of the same bytes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.sparse import csr_array

from shortlist.kernels.characters import count

TEXTS = ["You're SO  silly,\tsilly", "", "   ", "a", "ça va, straße?", "no\nwhere \U0001d54a"]
BUCKETS = 2**20  # so many that different n-grams of these texts share none


def grams(text: str, shortest: int, longest: int) -> Counter[bytes]:
    words = [f" {word} ".encode() for word in text.lower().split()]
    found = Counter(
        word[start : start + size]
        for word in words
        for size in range(shortest, longest + 1)
        for start in range(len(word) - size + 1)
    )
    return found


def counts(texts: list[str], shortest: int, longest: int, buckets: int = BUCKETS) -> csr_array:
    return csr_array(count(texts, shortest, longest, buckets), shape=(len(texts), buckets))


@pytest.mark.parametrize(("shortest", "longest"), [(2, 2), (3, 5), (2, 9)])
def test_each_ngram_of_a_text_is_counted_once_for_each_time_it_stands_there(
    shortest: int, longest: int
) -> None:
    found = counts(TEXTS, shortest, longest)
    for row, text in enumerate(TEXTS):
        held = found[[row]]
        expected = grams(text, shortest, longest)
        assert sorted(held.data.tolist()) == sorted(expected.values())
        assert np.all(np.diff(held.indices) > 0)


def test_one_ngram_has_one_bucket_wherever_it_stands() -> None:
    found = counts(["silly goose", "goose", "a mongoose", "GOOSE!"], 3, 5)
    shared = (found @ found.T).toarray()
    words = [grams(text, 3, 5) for text in ("silly goose", "goose", "a mongoose", "GOOSE!")]
    for i, one in enumerate(words):
        for j, other in enumerate(words):
            assert shared[i, j] == sum(one[gram] * other[gram] for gram in one)


def test_few_buckets_keep_the_number_of_ngrams() -> None:
    few, many = counts(TEXTS, 3, 5, 7), counts(TEXTS, 3, 5)
    np.testing.assert_array_equal(few.sum(axis=1), many.sum(axis=1))
    assert few.indices.max() < 7
