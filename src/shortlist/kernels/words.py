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

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import regex
from numba import njit
from numba.core import config

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

WORDS = regex.compile(r"\w+|[^\w\s]+")
_SPACE, _WORD, _SIGN, _PYTHON = 0, 1, 2, 3  # `spelled` counts on the first two
_NONE, _ONE = np.uint64(_SPACE), np.uint64(_WORD)
_LOWERED = np.arange(256, dtype=np.uint8)
_LOWERED[65:91] += 32

# Fowler-Noll-Vo 1a, 64 bits, and the finaliser of SplitMix64.
_BASIS, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31 = np.uint64(27), np.uint64(30), np.uint64(31)


def _keep_apart() -> None:
    """Gives each state of these files a folder of compiled code of its own.

    numba takes what it kept for fresh as long as the function's own file is as it was, whatever has
    become of the functions that it calls in others.
    """
    state, here = hashlib.sha256(), Path(__file__).parent
    for path in sorted(here.glob("*.py")):
        state.update(path.read_bytes())
    settings: Any = config
    if not settings.CACHE_DIR:
        settings.CACHE_DIR = str(here / "__pycache__" / f"numba-{state.hexdigest()[:16]}")


_keep_apart()


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
    sizes, parts, last = np.diff(begins), list[bytes](), 0
    for row in np.flatnonzero(cut):
        text = data[begins[row] : begins[row + 1]].tobytes().decode()
        words = " ".join(WORDS.findall(text.lower())).encode()
        parts += [data[last : begins[row]].tobytes(), words]
        sizes[row], last = len(words), begins[row + 1]
    parts.append(data[last : begins[-1]].tobytes())
    ends = np.concatenate([begins[:1], begins[0] + np.cumsum(sizes)])
    return Texts(np.frombuffer(b"".join(parts), dtype=np.uint8), ends, cut)


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
        bits = np.uint8(0)
        for byte in data[at:stop]:
            bits |= byte
        if bits < 0x80:
            continue
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
def spelled(
    data: Any, start: Any, stop: Any, cut: Any, kinds: Any,
    letters: Any, filled: Any, ends: Any, words: Any,
) -> Any:  # fmt: skip
    """Writes the words of one document into `letters` from the place `filled` on, lowered, a space
    between two, where each ends into `ends` and its 64-bit hash into `words`; returns their number.
    Twice the document's bytes are room enough for the letters.

    Where words end no processor foresees, so nothing in the loop branches on it: what would follow
    a word is written at every byte, and written over unless the word has ended. Places are
    unsigned: a signed index might count from the end, for which numba looks every time.
    """
    at, end, place = np.uint64(start), np.uint64(stop), np.uint64(filled)
    found, kind, value = _NONE, _NONE, _BASIS
    while at < end:
        byte, size = data[at], _ONE
        if cut:
            here = np.uint64(byte != 32)
        elif byte < 0x80:
            here = np.uint64(kinds[byte])
        else:
            code, width = _character(data, np.int64(at))
            here, size = np.uint64(kinds[code]), np.uint64(width)
        differs = _any(here ^ kind)
        ended = differs & _any(kind)
        ends[found], words[found], letters[place] = place, value, 32
        found, place, kind = found + ended, place + ended, here
        same = differs - _ONE  # all bits, or none
        value = (value & same) | (_BASIS & ~same)
        byte = _LOWERED[byte]
        letters[place] = byte
        value = (value ^ np.uint64(byte)) * _PRIME
        if size > _ONE:
            for more in range(_ONE, size):
                letters[place + more] = data[at + more]
                value = (value ^ np.uint64(data[at + more])) * _PRIME
            place += (size - _ONE) * _any(here)
        place += _any(here)
        at += size
    if kind != _NONE:
        ends[found], words[found] = place, value
        found += _ONE
    for word in range(found):
        words[word] = mixed(words[word])
    return np.int64(found)


@compiled
def _any(bits: Any) -> Any:
    """Returns 1 where one of the two lowest bits is set, else 0."""
    return (bits | (bits >> _ONE)) & _ONE


@compiled
def words_of(data: Any, start: Any, stop: Any, cut: Any, kinds: Any, out: Any) -> Any:
    """Writes the 64-bit hash of each word of one document into `out` and returns their number."""
    letters = np.empty(2 * (stop - start), dtype=np.uint8)
    ends = np.empty(stop - start, dtype=np.int64)
    return spelled(data, start, stop, cut, kinds, letters, 0, ends, out)


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
    words = np.empty(longest_text(offsets), dtype=np.uint64)
    for row in range(len(found)):
        found[row] = words_of(data, offsets[row], offsets[row + 1], cut[row], kinds, words)
    return found
