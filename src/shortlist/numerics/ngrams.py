"""N-grams of words in compiled loops over raw UTF-8: hashed, counted, summed.

An n-gram's bucket is the SHA-256 of its words, joined by spaces, modulo the number of buckets: that
of the DSIR authors' package. No function here holds the interpreter's lock while it counts.
"""
# numba carries no type stubs: what its decorator returns is unknown to the checker.
# pyright: reportUntypedFunctionDecorator=false, reportUnknownMemberType=false
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.numerics.sha256 import remainders
from shortlist.numerics.words import compiled, kinds_of_characters, longest_text, mixed, spelled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shortlist.numerics.words import Texts

_GOLDEN, _S32 = np.uint64(0x9E3779B97F4A7C15), np.uint64(32)
_MARKED = 1 << 18  # at most so many buckets are told apart by one bit each
_DE_BRUIJN = np.uint64(0x03F79D71B4CB0A89)  # its upper six bits, shifted by k, differ for every k
_PLACES = np.zeros(64, dtype=np.int64)
for _place in range(64):
    _PLACES[((0x03F79D71B4CB0A89 << _place) & (2**64 - 1)) >> 58] = _place


def count(
    texts: Texts, longest: int, buckets: int
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int64]]:
    """Returns (data, indices, indptr) of the (n, buckets) counts in CSR form, columns sorted.

    Args:
        texts: n documents.
        longest: n-grams of 1 to `longest` words are counted.
        buckets: they are hashed into so many, at most 2^29.
    """
    return _count(texts.data, texts.offsets, texts.cut, kinds_of_characters(), longest, buckets)


def column_sums(
    indices: NDArray[np.int32], values: NDArray[np.float32], columns: int
) -> NDArray[np.float64]:
    """Returns the (columns,) sums of a CSR matrix in float64, without a copy of it."""
    return _column_sums(indices, values, columns)


def dots(
    values: NDArray[np.float32],
    indices: NDArray[np.int32],
    indptr: NDArray[np.integer[Any]],
    weights: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Returns the (n, t) products of the rows of a CSR matrix with (d, t) weights, in float64."""
    return _dots(values, indices, indptr, weights)


@compiled
def _count(data: Any, offsets: Any, cut: Any, kinds: Any, longest: Any, buckets: Any) -> Any:
    n = len(offsets) - 1
    most = longest_text(offsets)
    letters, ends = np.empty(2 * most, dtype=np.uint8), np.empty(most, dtype=np.int64)
    firsts, lasts = np.empty(most * longest, np.int64), np.empty(most * longest, np.int64)
    grams = np.empty(len(firsts), dtype=np.int32)
    marked = buckets <= _MARKED
    tally = np.zeros(buckets if marked else 0, dtype=np.int32)
    marks = np.zeros((len(tally) + 63) // 64, dtype=np.uint64)
    indptr = np.zeros(n + 1, dtype=np.int64)
    room = max(1024, len(data) // 4)
    indices, values = np.empty(room, dtype=np.int32), np.empty(room, dtype=np.float32)
    filled = 0
    for row in range(n):
        start, stop = offsets[row], offsets[row + 1]
        size = spelled(data, start, stop, cut[row], kinds, letters, ends)
        found = 0
        for last in range(size):
            for first in range(last, max(last - longest, -1), -1):
                firsts[found] = ends[first - 1] + 1 if first else 0
                lasts[found] = ends[last]
                found += 1
        remainders(letters, firsts[:found], lasts[:found], buckets, grams)
        if filled + found > room:
            room = 2 * (filled + found)
            wider, more = np.empty(room, dtype=np.int32), np.empty(room, dtype=np.float32)
            wider[:filled], more[:filled] = indices[:filled], values[:filled]
            indices, values = wider, more
        if marked:
            filled = _merged_by_marks(grams[:found], tally, marks, indices, values, filled)
        else:
            filled = merged_by_sorting(grams[:found], indices, values, filled)
        indptr[row + 1] = filled
    return values[:filled].copy(), indices[:filled].copy(), indptr


@compiled
def merged_by_sorting(grams: Any, indices: Any, values: Any, filled: Any) -> Any:
    """Appends the different buckets of a document, sorted, with their counts; returns the end."""
    grams.sort()
    for place in range(len(grams)):
        if place and grams[place] == grams[place - 1]:
            values[filled - 1] += 1
        else:
            indices[filled], values[filled] = grams[place], 1
            filled += 1
    return filled


@compiled
def _merged_by_marks(
    grams: Any, tally: Any, marks: Any, indices: Any, values: Any, filled: Any
) -> Any:
    """Does the same with one bit a bucket, which are sorted as they stand; `tally` and `marks` are
    zeros before and after. Of 300 n-grams and 10,000 buckets some five times as fast.
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
            gram = (place << 6) + _PLACES[(lowest * _DE_BRUIJN) >> np.uint64(58)]
            indices[filled], values[filled] = gram, tally[gram]
            tally[gram] = 0
            filled += 1
    return filled


@compiled
def _column_sums(indices: Any, values: Any, columns: Any) -> Any:
    sums = np.zeros(columns, dtype=np.float64)
    for place in range(len(indices)):
        sums[indices[place]] += values[place]
    return sums


@compiled
def _dots(values: Any, indices: Any, indptr: Any, weights: Any) -> Any:
    found = np.zeros((len(indptr) - 1, weights.shape[1]), dtype=np.float64)
    for row in range(len(found)):
        for place in range(indptr[row], indptr[row + 1]):
            for column in range(weights.shape[1]):
                found[row, column] += values[place] * weights[indices[place], column]
    return found


@compiled
def joined(gram: Any, word: Any) -> Any:
    """Returns the hash of an n-gram from that of the words before the last one and the last one's."""
    return mixed(gram * _GOLDEN + word)


@compiled
def bucket(value: Any, buckets: Any) -> Any:
    """Returns the bucket of a hash: its upper 32 bits as a fraction of `buckets`."""
    return np.int64(((value >> _S32) * np.uint64(buckets)) >> _S32)
