"""The compiled loops against expressions, vectorizers and counters in Python."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.feature_extraction.text import CountVectorizer

from shortlist.core import Corpus
from shortlist.kernels.ngrams import (
    bucket_cache,
    column_sums,
    count_character_ngrams,
    count_ngrams,
    dots,
)
from shortlist.kernels.words import count_words, text_batch

# So many that two of some hundred n-grams share one with a chance of 10^-4.
MANY = 2**29
BYTE_BUCKETS = 2**20  # no two character n-grams of `BYTE_TEXTS` share one
BYTE_TEXTS = ["You're SO  silly,\tsilly", "", "   ", "a", "ça va, straße?", "no\nwhere \U0001d54a"]
TEXTS = [
    "The cat's 2nd mat -- sat_on it!",
    "the CAT ' S 2nd mat",
    "Ärger über Straße, café crème…",
    "ärger ÜBER strasse",
    "İstanbul ΣΊΣΥΦΟΣ ΣΑΣ",
    "naïve “quotes” — dash—ed",
    "नमस्ते दुनिया 你好 世界",
    "I ❤️ 😀😀 #Zoo",
    "a\x1cb\x85c d\te\n",
    "x² ½ ⓐ e\u0301te\u0301",
    "",
    "   ",
    "word",
]


def words(text: str) -> list[str]:
    return regex.findall(r"\w+|[^\w\s]+", text.lower())


def matrix(texts: list[str], max_n: int, buckets: int = MANY) -> csr_array:
    found = count_ngrams(text_batch(*Corpus.build(texts).utf8(0, len(texts))), max_n, buckets)
    return csr_array(found, shape=(len(texts), buckets))


def columns(values: csr_array) -> Counter[tuple[int, ...]]:
    """What stands in the columns that are not empty, whatever their order."""
    names, place = np.unique(values.indices, return_inverse=True)
    shape = (values.shape[0], len(names))
    dense = csr_array((values.data, place, values.indptr), shape=shape).toarray().astype(int)
    return Counter(map(tuple, dense.T.tolist()))


@pytest.mark.parametrize("max_n", [1, 2, 3])
def test_counts_are_those_of_scikit_learns_vectorizer_up_to_the_names_of_columns(
    max_n: int,
) -> None:
    vectorizer = CountVectorizer(
        tokenizer=words, token_pattern=None, lowercase=False, ngram_range=(1, max_n)
    )
    expected = csr_array(vectorizer.fit_transform(TEXTS))
    assert columns(matrix(TEXTS, max_n)) == columns(expected)


@settings(max_examples=100)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), max_size=5))
def test_any_texts_are_cut_as_the_expression_cuts_them(texts: list[str]) -> None:
    vocabulary = Counter(word for text in texts for word in words(text))
    found = matrix(texts, 1)
    _, place = np.unique(found.indices, return_inverse=True)
    assert sorted(np.bincount(place, found.data)) == sorted(vocabulary.values())
    assert count_words(text_batch(*Corpus.build(texts).utf8(0, len(texts)))).tolist() == [
        len(words(text)) for text in texts
    ]


# Ends in a space of three bytes, signs alone, a capital that Python must lower, more than one block.
ATOMS = ["a", "B", ".", " ", "é", "—", "\u2003", "Ä", "x" * 70, "y" * 55]


@settings(max_examples=100)
@given(
    st.lists(st.lists(st.sampled_from(ATOMS), max_size=9).map("".join), max_size=70, unique=True),
    st.integers(1, 4),
    st.sampled_from([1, 97, 10_000]),
)
def test_every_n_gram_of_many_documents_is_where_hashlib_puts_it(
    texts: list[str], max_n: int, buckets: int
) -> None:
    expected = np.zeros((len(texts), buckets))
    for row, text in enumerate(texts):
        cut = words(text)
        for last in range(1, len(cut) + 1):
            for first in range(max(0, last - max_n), last):
                gram = " ".join(cut[first:last]).encode()
                expected[row, int(hashlib.sha256(gram).hexdigest(), 16) % buckets] += 1
    np.testing.assert_array_equal(matrix(texts, max_n, buckets).toarray(), expected)


def test_a_row_of_any_slice_is_the_row_of_the_whole() -> None:
    whole, corpus = matrix(TEXTS, 2), Corpus.build(TEXTS)
    for start, stop in ((0, 3), (2, 9), (12, 13), (5, 5)):
        found = count_ngrams(text_batch(*corpus.utf8(start, stop)), 2, MANY)
        part = csr_array(found, shape=(stop - start, MANY))
        assert (part != whole[start:stop]).nnz == 0


@pytest.mark.parametrize("buckets", [1, 64, 65, 400, 2**18, 2**18 + 1])
def test_columns_of_a_row_are_sorted_and_different_however_many_buckets_there_are(
    buckets: int,
) -> None:
    texts = [" ".join(map(str, np.arange(3000) % 700)), "a b a", "", "c"]
    found = matrix(texts, 2, buckets)
    for row in range(4):
        columns = found.indices[found.indptr[row] : found.indptr[row + 1]]
        assert (np.diff(columns) > 0).all()
    assert found.sum(axis=1).tolist() == [3000 + 2999, 3 + 2, 0, 1]


@pytest.mark.parametrize("few", [100, 10_000])
def test_few_buckets_hold_what_many_would_put_there(few: int) -> None:
    # A bucket is a remainder: k of `few` is what k and k + few are of twice as many.
    whole, half = (matrix(TEXTS, 2, size).toarray() for size in (2 * few, few))
    np.testing.assert_array_equal(whole.reshape(len(TEXTS), 2, few).sum(axis=1), half)


def test_dots_are_products_with_each_column_of_weights() -> None:
    found = matrix(TEXTS, 2, 500)
    weights = np.random.default_rng(0).normal(size=(500, 3))
    expected = found.toarray().astype(float) @ weights
    np.testing.assert_allclose(
        dots(found.data, found.indices, found.indptr, weights), expected, atol=1e-12
    )


def test_a_bigram_is_not_its_words_in_the_other_order_nor_one_word() -> None:
    assert matrix(["a b", "b a", "ab"], 2)[:, :].sum(axis=1).tolist() == [3, 3, 1]
    rows = [set(matrix([text], 2).indices) for text in ("a b", "b a", "ab")]
    assert len(rows[0] & rows[1]) == 2 and not rows[2] & (rows[0] | rows[1])


def test_buckets_are_filled_evenly() -> None:
    texts = [" ".join(f"w{k}" for k in range(20_000))]
    found = matrix(texts, 1, buckets=100).toarray()[0]
    # Chi-squared of 99 degrees of freedom: beyond 170 once in 10^5.
    assert ((found - 200) ** 2 / 200).sum() < 170


def test_column_sums_are_exact_where_float32_would_stop_counting() -> None:
    indices, values = np.zeros(3, np.int32), np.array([2**24, 1, 1], np.float32)
    assert column_sums(indices, values, 2).tolist() == [2**24 + 2, 0]


@pytest.mark.parametrize("buckets", [1, 2, 1000, 1024, 1025, MANY])
def test_ngrams_that_are_in_the_cache_are_counted_alike(buckets: int) -> None:
    known = bucket_cache()
    texts = [*TEXTS, *(f"w{k} w{k % 7} w{k // 3}" for k in range(3000))]
    documents = text_batch(*Corpus.build(texts).utf8(0, len(texts)))
    first, again = (count_ngrams(documents, 2, buckets, known) for _ in range(2))
    for one, two, new in zip(first, again, count_ngrams(documents, 2, buckets), strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, new)
    assert np.count_nonzero(known) > 3000


def test_a_full_cache_of_other_ngrams_changes_nothing() -> None:
    # Every slot holds another n-gram's entry: none may be taken for one of these.
    full = np.random.default_rng(0).integers(1, 2**64, len(bucket_cache()), dtype=np.uint64)
    documents = text_batch(*Corpus.build(TEXTS).utf8(0, len(TEXTS)))
    for found, expected in zip(
        count_ngrams(documents, 2, 999, full), count_ngrams(documents, 2, 999), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_products_are_the_same_in_any_number_of_threads() -> None:
    found, weights = matrix(TEXTS, 2, 500), np.random.default_rng(0).normal(size=(500, 2))
    one, three = (
        dots(found.data, found.indices, found.indptr, weights, threads) for threads in (1, 3)
    )
    np.testing.assert_array_equal(one, three)


def byte_grams(text: str, min_n: int, max_n: int) -> Counter[bytes]:
    words = [f" {word} ".encode() for word in text.lower().split()]
    found = Counter(
        word[start : start + size]
        for word in words
        for size in range(min_n, max_n + 1)
        for start in range(len(word) - size + 1)
    )
    return found


def byte_matrix(texts: list[str], min_n: int, max_n: int, buckets: int = BYTE_BUCKETS) -> csr_array:
    return csr_array(
        count_character_ngrams(texts, min_n, max_n, buckets), shape=(len(texts), buckets)
    )


@pytest.mark.parametrize(("min_n", "max_n"), [(2, 2), (3, 5), (2, 9)])
def test_each_character_ngram_of_a_text_is_counted_once_for_each_time_it_stands_there(
    min_n: int, max_n: int
) -> None:
    found = byte_matrix(BYTE_TEXTS, min_n, max_n)
    for row, text in enumerate(BYTE_TEXTS):
        held = found[[row]]
        expected = byte_grams(text, min_n, max_n)
        assert sorted(held.data.tolist()) == sorted(expected.values())
        assert np.all(np.diff(held.indices) > 0)


def test_one_character_ngram_has_one_bucket_wherever_it_stands() -> None:
    found = byte_matrix(["silly goose", "goose", "a mongoose", "GOOSE!"], 3, 5)
    shared = (found @ found.T).toarray()
    words = [byte_grams(text, 3, 5) for text in ("silly goose", "goose", "a mongoose", "GOOSE!")]
    for i, one in enumerate(words):
        for j, other in enumerate(words):
            assert shared[i, j] == sum(one[gram] * other[gram] for gram in one)


def test_few_buckets_keep_the_number_of_character_ngrams() -> None:
    few, many = byte_matrix(BYTE_TEXTS, 3, 5, 7), byte_matrix(BYTE_TEXTS, 3, 5)
    np.testing.assert_array_equal(few.sum(axis=1), many.sum(axis=1))
    assert few.indices.max() < 7
