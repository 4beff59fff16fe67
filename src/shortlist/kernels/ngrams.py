"""N-grams of words and of characters, hashed and counted in compiled loops over raw UTF-8.

The bucket of an n-gram of words is the SHA-256 of its words, joined by spaces, modulo the number of
buckets, as in the DSIR authors' package. No function here holds the interpreter's lock.
"""
# numba carries no type stubs: the checker does not know what its decorator returns.
# pyright: reportUntypedFunctionDecorator=false, reportUnknownMemberType=false
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from shortlist.kernels.hashing import FNV_BASIS, bucket, combine, compiled, fnv1a, mix
from shortlist.kernels.sha256 import READ_AHEAD, sha256_modulo
from shortlist.kernels.words import character_classes, max_bytes, tokenize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from shortlist.kernels.words import TextBatch

Csr: TypeAlias = "tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int64]]"

_CACHE_SLOTS = 1 << 20
_BATCH = 32  # documents whose uncached n-grams are hashed together
_MAX_TALLY = 1 << 18  # up to so many buckets are sorted by a bit map
_DE_BRUIJN = np.uint64(0x03F79D71B4CB0A89)  # its upper six bits, shifted by k, differ for every k
_BIT = np.zeros(64, dtype=np.int64)
for _place in range(64):
    _BIT[((0x03F79D71B4CB0A89 << _place) & (2**64 - 1)) >> 58] = _place


def bucket_cache() -> NDArray[np.uint64]:
    """Returns an empty cache of n-grams' buckets, which saves hashing frequent n-grams again.

    An n-gram is identified by 64 bits of a cheaper hash: the lower bits choose the slot, the upper
    ones are stored above the bucket, and a later entry replaces an earlier one. Up to 2^20 buckets
    all 64 bits count: among ten million n-grams two are confused with probability 10^-6. An entry
    is one machine word, so threads may share the cache; it serves one number of buckets.
    """
    return np.zeros(_CACHE_SLOTS, dtype=np.uint64)


def count_ngrams(
    texts: TextBatch, max_n: int, buckets: int, cache: NDArray[np.uint64] | None = None
) -> Csr:
    """Returns (data, indices, indptr) of the (n, buckets) counts in CSR form, columns sorted.

    Args:
        texts: n documents.
        max_n: n-grams of 1 to `max_n` words are counted.
        buckets: number of buckets, at most 2^29.
        cache: a `bucket_cache` for as many buckets, which is updated; None: one for this call.
    """
    cache = bucket_cache() if cache is None else cache
    classes = character_classes()
    return _count_ngrams(
        texts.data, texts.offsets, texts.pretokenized, classes, max_n, buckets, cache
    )


def count_character_ngrams(texts: Sequence[str], min_n: int, max_n: int, buckets: int) -> Csr:
    """Returns (data, indices, indptr) of the (n, buckets) counts in CSR form, columns sorted.

    A text is lowered and split at white space; a word is counted with one space on either side, and
    no n-gram spans two words. The length of an n-gram is in bytes of UTF-8, its hash FNV-1a.

    Args:
        texts: n texts.
        min_n: bytes of the smallest n-gram, at least 2.
        max_n: bytes of the largest.
        buckets: number of buckets, at most 2^31 - 1.
    """
    words = [text.lower().split() for text in texts]
    parts = [" ".join(["", *some, ""]).encode() if some else b"" for some in words]
    ends = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    data = np.frombuffer(b"".join(parts), dtype=np.uint8)
    return _count_character_ngrams(data, ends, min_n, max_n, buckets)


@compiled
def column_sums(
    indices: NDArray[np.int32], values: NDArray[np.float32], columns: int
) -> NDArray[np.float64]:
    """Returns the (columns,) sums of a CSR matrix in float64, without a copy of it."""
    sums = np.zeros(columns, dtype=np.float64)
    for place in range(len(indices)):
        sums[indices[place]] += values[place]
    return sums


def dots(
    values: NDArray[np.float32],
    indices: NDArray[np.int32],
    indptr: NDArray[np.integer[Any]],
    weights: NDArray[np.float64],
    threads: int = 1,
) -> NDArray[np.float64]:
    """Returns the (n, t) products of the rows of a CSR matrix with (d, t) weights, in float64."""
    cuts = np.linspace(0, len(indptr) - 1, threads + 1).astype(np.int64)

    def of_rows(part: int) -> NDArray[np.float64]:
        return _dots(values, indices, indptr[cuts[part] : cuts[part + 1] + 1], weights)

    with ThreadPoolExecutor(threads) as pool:
        return np.concatenate(list(pool.map(of_rows, range(threads))))


@compiled
def _count_ngrams(
    data: Any, offsets: Any, pretokenized: Any, classes: Any, max_n: Any, buckets: Any, cache: Any
) -> Any:
    n = len(offsets) - 1
    most = 0
    for row in range(0, n, _BATCH):
        most = max(most, offsets[min(row + _BATCH, n)] - offsets[row])
    grams = np.empty(most * max_n, dtype=np.int32)
    grams_end = np.empty(_BATCH, dtype=np.int64)
    scratch = _scratch(most, max_n)
    small = buckets <= _MAX_TALLY
    tally = np.zeros(buckets if small else 0, dtype=np.int32)
    marks = np.zeros((len(tally) + 63) // 64, dtype=np.uint64)
    indptr = np.zeros(n + 1, dtype=np.int64)
    size = max(1024, len(data) // 3)  # English has a different n-gram for every three or four bytes
    indices, values = np.empty(size, dtype=np.int32), np.empty(size, dtype=np.float32)
    filled = 0
    for row in range(0, n, _BATCH):
        stop = min(row + _BATCH, n)
        texts = (data, offsets[row : stop + 1], pretokenized[row:stop], classes)
        total = _hash_ngrams(texts, max_n, buckets, cache, scratch, grams, grams_end)
        indices, values = _grown(indices, values, filled, filled + total)
        begin = 0
        for place in range(stop - row):
            of_row = grams[begin : grams_end[place]]
            begin = grams_end[place]
            if small:
                filled = _append_by_marks(of_row, tally, marks, indices, values, filled)
            else:
                filled = _append_by_sorting(of_row, indices, values, filled)
            indptr[row + place + 1] = filled
    return values[:filled], indices[:filled], indptr


@compiled
def _grown(indices: Any, values: Any, filled: Any, needed: Any) -> Any:
    """Returns arrays of at least `needed` entries, whose first `filled` are those given."""
    if needed <= len(indices):
        return indices, values
    more = np.empty(2 * needed, dtype=np.int32), np.empty(2 * needed, dtype=np.float32)
    more[0][:filled], more[1][:filled] = indices[:filled], values[:filled]
    return more


@compiled
def _scratch(most: Any, max_n: Any) -> Any:
    """Returns buffers for documents of `most` bytes.

    Of words: letters, ends, hashes. Of n-grams: hashes, where they begin and end in the letters,
    which of them are not in the cache.
    """
    grams = most * max_n
    return (
        np.empty(2 * most + READ_AHEAD, np.uint8), np.empty(most + 1, np.int64),
        np.empty(most, np.uint64), np.empty(grams, np.uint64), np.empty(grams, np.int64),
        np.empty(grams, np.int64), np.empty(grams, np.int64),
    )  # fmt: skip


@compiled
def _hash_ngrams(
    texts: Any, max_n: Any, buckets: Any, cache: Any, scratch: Any, grams: Any, grams_end: Any
) -> Any:
    """Writes the bucket of each n-gram of some documents into `grams`, and where each document's
    end into `grams_end`; returns their number. What is not in the cache is hashed together.

    The cache is read in a loop of its own, so that no look-up waits for the one before it.
    """
    data, offsets, pretokenized, classes = texts
    letters, spaces, words, keys, firsts, lasts, missing = scratch
    n, size = 0, 0
    spaces[0] = -1  # a word lies between two spaces
    for row in range(len(pretokenized)):
        start, stop, filled = offsets[row], offsets[row + 1], spaces[size] + 1
        spaces[0] = filled - 1
        size = tokenize(
            data, start, stop, pretokenized[row], classes, letters, filled, spaces[1:], words
        )
        for last in range(size):
            key = words[last]
            for first in range(last, max(last - max_n, -1), -1):
                if first < last:
                    key = combine(words[first], key)
                keys[n] = key
                firsts[n], lasts[n] = spaces[first] + 1, spaces[last + 1]
                n += 1
        grams_end[row] = n
    slots, bits = np.uint64(len(cache) - 1), np.uint64(1)
    while np.int64(1) << bits < buckets:
        bits += np.uint64(1)
    below = (np.uint64(1) << bits) - np.uint64(1)
    misses = 0
    for gram in range(n):
        entry = cache[keys[gram] & slots]
        grams[gram], missing[misses] = np.int32(entry & below), gram
        misses += np.int64((entry ^ keys[gram]) > below)
    sha256_modulo(letters, firsts, lasts, missing[:misses], buckets, grams)
    for gram in missing[:misses]:
        cache[keys[gram] & slots] = (keys[gram] & ~below) | np.uint64(grams[gram])
    return n


@compiled
def _append_by_sorting(grams: Any, indices: Any, values: Any, filled: Any) -> Any:
    """Appends the distinct buckets of a document, sorted, with their counts; returns the end."""
    grams.sort()
    for place in range(len(grams)):
        if place and grams[place] == grams[place - 1]:
            values[filled - 1] += 1
        else:
            indices[filled], values[filled] = grams[place], 1
            filled += 1
    return filled


@compiled
def _append_by_marks(
    grams: Any, tally: Any, marks: Any, indices: Any, values: Any, filled: Any
) -> Any:
    """Does the same with a bit map of the buckets; `tally` and `marks` are zero before and after.

    For 300 n-grams and 10,000 buckets about five times as fast as sorting.
    """
    for gram in grams:
        marks[gram >> 6] |= np.uint64(1) << np.uint64(gram & 63)
        tally[gram] += 1
    for place in range(len(marks)):
        left = marks[place]
        marks[place] = 0
        while left:
            lowest = left & (~left + np.uint64(1))
            left ^= lowest
            gram = (place << 6) + _BIT[(lowest * _DE_BRUIJN) >> np.uint64(58)]
            indices[filled], values[filled] = gram, tally[gram]
            tally[gram] = 0
            filled += 1
    return filled


@compiled
def _count_character_ngrams(data: Any, offsets: Any, min_n: Any, max_n: Any, buckets: Any) -> Any:
    n = len(offsets) - 1
    grams = np.empty(max_bytes(offsets) * (max_n - min_n + 1), dtype=np.int32)
    size = max(1024, len(data))
    indices, values = np.empty(size, dtype=np.int32), np.empty(size, dtype=np.float32)
    indptr = np.zeros(n + 1, dtype=np.int64)
    filled = 0
    for row in range(n):
        total = 0
        for first in range(offsets[row], offsets[row + 1]):
            value = FNV_BASIS
            for last in range(first, min(first + max_n, offsets[row + 1])):
                value = fnv1a(value, data[last])
                if last - first + 1 >= min_n:
                    grams[total] = bucket(mix(value), buckets)
                    total += 1
                if data[last] == 32 and last > first:
                    break
        indices, values = _grown(indices, values, filled, filled + total)
        filled = _append_by_sorting(grams[:total], indices, values, filled)
        indptr[row + 1] = filled
    return values[:filled].copy(), indices[:filled].copy(), indptr


@compiled
def _dots(values: Any, indices: Any, indptr: Any, weights: Any) -> Any:
    products = np.zeros((len(indptr) - 1, weights.shape[1]), dtype=np.float64)
    for row in range(len(products)):
        for place in range(indptr[row], indptr[row + 1]):
            for column in range(weights.shape[1]):
                products[row, column] += values[place] * weights[indices[place], column]
    return products
