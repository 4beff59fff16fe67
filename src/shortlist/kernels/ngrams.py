"""N-grams of words in compiled loops over raw UTF-8: hashed, counted, summed.

An n-gram's bucket is the SHA-256 of its words, joined by spaces, modulo the number of buckets: that
of the DSIR authors' package. No function here holds the interpreter's lock while it counts.
"""
# numba carries no type stubs: what its decorator returns is unknown to the checker.
# pyright: reportUntypedFunctionDecorator=false, reportUnknownMemberType=false
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.kernels.sha256 import BEHIND, remainders
from shortlist.kernels.words import compiled, kinds_of_characters, mixed, spelled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shortlist.kernels.words import Texts

_GOLDEN, _S32 = np.uint64(0x9E3779B97F4A7C15), np.uint64(32)
_REMEMBERED = 1 << 20
_TOGETHER = 32  # documents whose new n-grams are hashed at once
_MARKED = 1 << 18  # at most so many buckets are told apart by one bit each
_DE_BRUIJN = np.uint64(0x03F79D71B4CB0A89)  # its upper six bits, shifted by k, differ for every k
_PLACES = np.zeros(64, dtype=np.int64)
for _place in range(64):
    _PLACES[((0x03F79D71B4CB0A89 << _place) & (2**64 - 1)) >> 58] = _place


def memory() -> NDArray[np.uint64]:
    """Returns an empty memory of n-grams' buckets, so that those met before are not hashed again.

    An n-gram is known by 64 bits of another hash: the lower ones say where it stands, the upper ones
    stand there above the bucket, and a later one takes the place of an earlier. Up to 2^20 buckets
    all 64 count: among ten million n-grams two are taken for one with a chance of 10^-6. An entry is
    one word, so that threads may share it; it serves one number of buckets.
    """
    return np.zeros(_REMEMBERED, dtype=np.uint64)


def count(
    texts: Texts, longest: int, buckets: int, known: NDArray[np.uint64] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int64]]:
    """Returns (data, indices, indptr) of the (n, buckets) counts in CSR form, columns sorted.

    Args:
        texts: n documents.
        longest: n-grams of 1 to `longest` words are counted.
        buckets: they are hashed into so many, at most 2^29.
        known: a `memory` of as many buckets, which learns; None: one for this call.
    """
    known = memory() if known is None else known
    kinds = kinds_of_characters()
    return _count(texts.data, texts.offsets, texts.cut, kinds, longest, buckets, known)


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
    threads: int = 1,
) -> NDArray[np.float64]:
    """Returns the (n, t) products of the rows of a CSR matrix with (d, t) weights, in float64."""
    cuts = np.linspace(0, len(indptr) - 1, threads + 1).astype(np.int64)

    def of_rows(part: int) -> NDArray[np.float64]:
        return _dots(values, indices, indptr[cuts[part] : cuts[part + 1] + 1], weights)

    with ThreadPoolExecutor(threads) as pool:
        return np.concatenate(list(pool.map(of_rows, range(threads))))


@compiled
def _count(
    data: Any, offsets: Any, cut: Any, kinds: Any, longest: Any, buckets: Any, known: Any
) -> Any:
    n = len(offsets) - 1
    most = 0
    for row in range(0, n, _TOGETHER):
        most = max(most, offsets[min(row + _TOGETHER, n)] - offsets[row])
    grams = np.empty(most * longest, dtype=np.int32)
    grams_end = np.empty(_TOGETHER, dtype=np.int64)
    scratch = _scratch(most, longest)
    marked = buckets <= _MARKED
    tally = np.zeros(buckets if marked else 0, dtype=np.int32)
    marks = np.zeros((len(tally) + 63) // 64, dtype=np.uint64)
    indptr = np.zeros(n + 1, dtype=np.int64)
    room = max(1024, len(data) // 3)  # English has a different n-gram for every three or four bytes
    indices, values = np.empty(room, dtype=np.int32), np.empty(room, dtype=np.float32)
    filled = 0
    for row in range(0, n, _TOGETHER):
        stop = min(row + _TOGETHER, n)
        texts = (data, offsets[row : stop + 1], cut[row:stop], kinds)
        found = _hashed(texts, longest, buckets, known, scratch, grams, grams_end)
        if filled + found > room:
            room = 2 * (filled + found)
            wider, more = np.empty(room, dtype=np.int32), np.empty(room, dtype=np.float32)
            wider[:filled], more[:filled] = indices[:filled], values[:filled]
            indices, values = wider, more
        begin = 0
        for place in range(stop - row):
            of_row = grams[begin : grams_end[place]]
            begin = grams_end[place]
            if marked:
                filled = _merged_by_marks(of_row, tally, marks, indices, values, filled)
            else:
                filled = merged_by_sorting(of_row, indices, values, filled)
            indptr[row + place + 1] = filled
    return values[:filled], indices[:filled], indptr


@compiled
def _scratch(most: Any, longest: Any) -> Any:
    """Returns room for documents of `most` bytes: letters, the spaces around words, words' hashes;
    of n-grams: hashes, where they begin and end in the letters, which are new.
    """
    grams = most * longest
    return (
        np.empty(2 * most + BEHIND, np.uint8), np.empty(most + 1, np.int64), np.empty(most, np.uint64),
        np.empty(grams, np.uint64), np.empty(grams, np.int64), np.empty(grams, np.int64),
        np.empty(grams, np.int64),
    )  # fmt: skip


@compiled
def _hashed(
    texts: Any, longest: Any, buckets: Any, known: Any, scratch: Any, grams: Any, grams_end: Any
) -> Any:
    """Writes the bucket of each n-gram of some documents into `grams`, and where each document's end
    into `grams_end`; returns their number. What is not `known` is hashed, all at once.

    One loop for each thing: looked up by themselves, n-grams do not wait for each other's entry.
    """
    data, offsets, cut, kinds = texts
    letters, spaces, words, keys, firsts, lasts, new = scratch
    found, size = 0, 0
    spaces[0] = -1  # a word stands between two spaces
    for row in range(len(cut)):
        start, stop, filled = offsets[row], offsets[row + 1], spaces[size] + 1
        spaces[0] = filled - 1
        size = spelled(data, start, stop, cut[row], kinds, letters, filled, spaces[1:], words)
        for last in range(size):
            key = words[last]
            for first in range(last, max(last - longest, -1), -1):
                if first < last:
                    key = joined(words[first], key)
                keys[found] = key
                firsts[found], lasts[found] = spaces[first] + 1, spaces[last + 1]
                found += 1
        grams_end[row] = found
    slots, bits = np.uint64(len(known) - 1), np.uint64(1)
    while np.int64(1) << bits < buckets:
        bits += np.uint64(1)
    below = (np.uint64(1) << bits) - np.uint64(1)
    missing = 0
    for gram in range(found):
        entry = known[keys[gram] & slots]
        grams[gram], new[missing] = np.int32(entry & below), gram
        missing += np.int64((entry ^ keys[gram]) > below)
    remainders(letters, firsts, lasts, new[:missing], buckets, grams)
    for gram in new[:missing]:
        known[keys[gram] & slots] = (keys[gram] & ~below) | np.uint64(grams[gram])
    return found


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
