r"""Words of raw UTF-8, cut and lowered in compiled loops.

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
_S27, _S30, _S31 = np.uint64(27), np.uint64(30), np.uint64(31)


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
def spelled(data: Any, start: Any, stop: Any, cut: Any, kinds: Any, letters: Any, ends: Any) -> Any:
    """Writes the words of one document into `letters`, lowered, a space after each, and where each
    ends into `ends`; returns their number. Twice the document's bytes are room enough.
    """
    found, filled, kind, at = 0, 0, _SPACE, start
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
                ends[found] = filled
                found += 1
                letters[filled] = 32
                filled += 1
            kind = here
        if here != _SPACE:
            for place in range(at, at + size):
                letter = data[place]
                letters[filled] = letter + 32 if 65 <= letter <= 90 else letter
                filled += 1
        at += size
    if kind != _SPACE:
        ends[found] = filled
        found += 1
    return found


@compiled
def words_of(data: Any, start: Any, stop: Any, cut: Any, kinds: Any, out: Any) -> Any:
    """Writes the 64-bit hash of each word of one document into `out` and returns their number."""
    letters = np.empty(2 * (stop - start), dtype=np.uint8)
    ends = np.empty(stop - start, dtype=np.int64)
    found = spelled(data, start, stop, cut, kinds, letters, ends)
    first = 0
    for word in range(found):
        value = _BASIS
        for place in range(first, ends[word]):
            value = (value ^ np.uint64(letters[place])) * _PRIME
        out[word] = mixed(value)
        first = ends[word] + 1
    return found


@compiled
def mixed(value: Any) -> Any:
    """Returns 64 bits each of which hangs on all 64 of `value`."""
    value = (value ^ (value >> _S30)) * _FIRST
    value = (value ^ (value >> _S27)) * _SECOND
    return value ^ (value >> _S31)


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
    room = longest_text(offsets)
    letters, ends = np.empty(2 * room, dtype=np.uint8), np.empty(room, dtype=np.int64)
    for row in range(len(found)):
        start, stop = offsets[row], offsets[row + 1]
        found[row] = spelled(data, start, stop, cut[row], kinds, letters, ends)
    return found
