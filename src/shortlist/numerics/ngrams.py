r"""N-grams of words in compiled loops over raw UTF-8: hashed, counted, summed.

A word is a run of word characters, or a run of other signs, in lower case: what
`regex.findall(r"\w+|[^\w\s]+", text.lower())` finds. `regex` has Unicode's word characters (UTS
18: an accent belongs to its letter), Python's `re` has not; NLTK cuts with `regex`, too, since 3.10.
The loop reads bytes; a document with a character that it cannot lower by itself (a capital outside
ASCII, anything outside the basic plane) is cut by that very expression first. No function here holds
the interpreter's lock while it counts.
"""
# numba carries no type stubs: what its decorator returns is unknown to the checker.
# pyright: reportUntypedFunctionDecorator=false, reportUnknownMemberType=false
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import regex
from numba import njit

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

WORDS = regex.compile(r"\w+|[^\w\s]+")
_SPACE, _WORD, _SIGN, _PYTHON = 0, 1, 2, 3

# Fowler-Noll-Vo 1a, 64 bits, and the finaliser of SplitMix64.
_BASIS, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_S27, _S30, _S31, _S32 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)
_MARKED = 1 << 18  # at most so many buckets are told apart by one bit each
_DE_BRUIJN = np.uint64(0x03F79D71B4CB0A89)  # its upper six bits, shifted by k, differ for every k
_PLACES = np.zeros(64, dtype=np.int64)
for _place in range(64):
    _PLACES[((0x03F79D71B4CB0A89 << _place) & (2**64 - 1)) >> 58] = _place


def compiled(function: Callable[..., Any]) -> Any:
    """Returns `function` compiled without the interpreter's lock, kept on disk between runs."""
    return njit(nogil=True, cache=True)(function)


@dataclass(frozen=True)
class Texts:
    """Documents as bytes.

    Attributes:
        data: their UTF-8, one after the other.
        offsets: (n + 1,) where each begins and the last one ends.
        cut: (n,) whether a document stands there as lowered words with a space between them.
    """

    data: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    cut: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.cut)


def readable(data: NDArray[np.uint8], offsets: NDArray[np.integer[Any]]) -> Texts:
    """Returns the documents so that the compiled loops read them exactly.

    Args:
        data: valid UTF-8.
        offsets: (n + 1,) where each document begins and the last one ends.
    """
    begins = np.asarray(offsets, dtype=np.int64)
    cut = _beyond(data, begins, kinds_of_characters())
    if not cut.any():
        return Texts(data, begins, cut)
    raw = data.tobytes()
    parts = [raw[start:stop] for start, stop in pairwise(begins)]
    for row in np.flatnonzero(cut):
        parts[row] = " ".join(WORDS.findall(parts[row].decode().lower())).encode()
    begins = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    return Texts(np.frombuffer(b"".join(parts), dtype=np.uint8), begins, cut)


def lengths(texts: Texts) -> NDArray[np.int64]:
    """Returns the (n,) number of words of each document."""
    return _lengths(texts.data, texts.offsets, texts.cut, kinds_of_characters())


def count(
    texts: Texts, longest: int, buckets: int
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int64]]:
    """Returns (data, indices, indptr) of the (n, buckets) counts in CSR form, columns sorted.

    Args:
        texts: n documents.
        longest: n-grams of 1 to `longest` words are counted.
        buckets: they are hashed into so many, at most 2^31 - 1.
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


@cache
def kinds_of_characters() -> NDArray[np.uint8]:
    """Returns the kind of every character of the basic plane, as `regex` and `lower` see it."""
    plane = "".join(map(chr, range(1 << 16)))
    kinds = np.full(1 << 16, _SIGN, dtype=np.uint8)
    for pattern, kind in ((r"\w+", _WORD), (r"\s+", _SPACE)):
        for run in regex.finditer(pattern, plane):
            kinds[run.start() : run.end()] = kind
    changed = [code for code in range(128, 1 << 16) if chr(code).lower() != chr(code)]
    kinds[changed] = _PYTHON
    return kinds


@compiled
def _beyond(data: Any, offsets: Any, kinds: Any) -> Any:
    found = np.zeros(len(offsets) - 1, dtype=np.bool_)
    for row in range(len(found)):
        at, stop = offsets[row], offsets[row + 1]
        while at < stop:
            if data[at] < 0x80:
                at += 1
                continue
            code, size = _character(data, at)
            if code < 0 or kinds[code] == _PYTHON:
                found[row] = True
                break
            at += size
    return found


@compiled
def _character(data: Any, at: Any) -> Any:
    """Returns the code of the character at a byte of 0x80 or more, -1 beyond the basic plane, and
    its size.
    """
    first = np.int64(data[at])
    if first < 0xE0:
        return ((first & 0x1F) << 6) | (np.int64(data[at + 1]) & 0x3F), 2
    if first < 0xF0:
        second, third = np.int64(data[at + 1]) & 0x3F, np.int64(data[at + 2]) & 0x3F
        return ((first & 0x0F) << 12) | (second << 6) | third, 3
    return np.int64(-1), 4


@compiled
def words_of(data: Any, start: Any, stop: Any, cut: Any, kinds: Any, out: Any) -> Any:
    """Writes the 64-bit hash of each word of one document into `out` and returns their number."""
    found, kind, value, at = 0, _SPACE, _BASIS, start
    while at < stop:
        byte, size = data[at], 1
        if cut:
            here = _SPACE if byte == 32 else _WORD
        elif byte < 0x80:
            here = kinds[byte]
        else:
            code, size = _character(data, at)
            here = kinds[code]
        if here != kind:
            if kind != _SPACE:
                out[found] = mixed(value)
                found += 1
            value, kind = _BASIS, here
        if here != _SPACE:
            for place in range(at, at + size):
                letter = data[place]
                if 65 <= letter <= 90:
                    letter += 32
                value = (value ^ np.uint64(letter)) * _PRIME
        at += size
    if kind != _SPACE:
        out[found] = mixed(value)
        found += 1
    return found


@compiled
def mixed(value: Any) -> Any:
    """Returns 64 bits each of which hangs on all 64 of `value`."""
    value = (value ^ (value >> _S30)) * _FIRST
    value = (value ^ (value >> _S27)) * _SECOND
    return value ^ (value >> _S31)


@compiled
def joined(gram: Any, word: Any) -> Any:
    """Returns the hash of an n-gram from that of the words before the last one and the last one's."""
    return mixed(gram * _GOLDEN + word)


@compiled
def bucket(value: Any, buckets: Any) -> Any:
    """Returns the bucket of a hash: its upper 32 bits as a fraction of `buckets`."""
    return np.int64(((value >> _S32) * np.uint64(buckets)) >> _S32)


@compiled
def longest_text(offsets: Any) -> Any:
    """Returns the bytes of the longest document: it cannot have more words."""
    most = 0
    for row in range(len(offsets) - 1):
        most = max(most, offsets[row + 1] - offsets[row])
    return most


@compiled
def _lengths(data: Any, offsets: Any, cut: Any, kinds: Any) -> Any:
    found = np.empty(len(offsets) - 1, dtype=np.int64)
    words = np.empty(longest_text(offsets), dtype=np.uint64)
    for row in range(len(found)):
        found[row] = words_of(data, offsets[row], offsets[row + 1], cut[row], kinds, words)
    return found


@compiled
def _count(data: Any, offsets: Any, cut: Any, kinds: Any, longest: Any, buckets: Any) -> Any:
    n = len(offsets) - 1
    words = np.empty(longest_text(offsets), dtype=np.uint64)
    grams = np.empty(len(words) * longest, dtype=np.int32)
    marked = buckets <= _MARKED
    tally = np.zeros(buckets if marked else 0, dtype=np.int32)
    marks = np.zeros((len(tally) + 63) // 64, dtype=np.uint64)
    indptr = np.zeros(n + 1, dtype=np.int64)
    room = max(1024, len(data) // 4)
    indices, values = np.empty(room, dtype=np.int32), np.empty(room, dtype=np.float32)
    filled = 0
    for row in range(n):
        size = words_of(data, offsets[row], offsets[row + 1], cut[row], kinds, words)
        found = 0
        for last in range(size):
            gram = words[last]
            grams[found] = bucket(gram, buckets)
            found += 1
            for first in range(last - 1, max(last - longest, -1), -1):
                gram = joined(words[first], gram)
                grams[found] = bucket(gram, buckets)
                found += 1
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
