r"""Words of raw UTF-8, found and lowered in compiled loops that release the interpreter's lock.

A word is a run of word characters or a run of other signs, in lower case:
`regex.findall(r"\w+|[^\w\s]+", text.lower())`, which is NLTK's WordPunctTokenizer since 3.10.
`regex` has Unicode's word characters (UTS 18: an accent belongs to its letter), Python's `re` has
not. The loop reads bytes; a document with a character that it cannot lower (a capital outside
ASCII, anything outside the basic plane) is tokenized by that expression beforehand.
"""
# numba carries no type stubs: the checker does not know what its decorator returns.
# pyright: reportUntypedFunctionDecorator=false, reportUnknownMemberType=false
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import regex

from shortlist.kernels.hashing import FNV_BASIS, compiled, fnv1a, mix

if TYPE_CHECKING:
    from numpy.typing import NDArray

WORDS = regex.compile(r"\w+|[^\w\s]+")
PLACEHOLDER = regex.compile(r"\[[A-Z]+_\d+\]")  # what stands in the place of personal data
_SPACE, _WORD, _SIGN, _PYTHON = 0, 1, 2, 3  # classes of characters; `tokenize` relies on 0 and 1
_ZERO, _ONE = np.uint64(_SPACE), np.uint64(_WORD)
_LOWERED = np.arange(256, dtype=np.uint8)
_LOWERED[65:91] += 32


@dataclass(frozen=True)
class TextBatch:
    """Documents as bytes.

    Attributes:
        data: their UTF-8, one after the other.
        offsets: (n + 1,) where each begins and the last one ends.
        pretokenized: (n,) whether a document is stored as lowered words, one space apart.
    """

    data: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    pretokenized: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.pretokenized)


def text_batch(data: NDArray[np.uint8], offsets: NDArray[np.integer[Any]]) -> TextBatch:
    """Returns the documents in the form that the compiled loops read.

    Args:
        data: valid UTF-8.
        offsets: (n + 1,) where each document begins and the last one ends.
    """
    begins = np.asarray(offsets, dtype=np.int64)
    by_python = _need_python(data, begins, character_classes())
    if not by_python.any():
        return TextBatch(data, begins, by_python)
    sizes, parts, last = np.diff(begins), list[bytes](), 0
    for row in np.flatnonzero(by_python):
        text = data[begins[row] : begins[row + 1]].tobytes().decode()
        tokens = " ".join(WORDS.findall(text.lower())).encode()
        parts += [data[last : begins[row]].tobytes(), tokens]
        sizes[row], last = len(tokens), begins[row + 1]
    parts.append(data[last : begins[-1]].tobytes())
    ends = np.concatenate([begins[:1], begins[0] + np.cumsum(sizes)])
    return TextBatch(np.frombuffer(b"".join(parts), dtype=np.uint8), ends, by_python)


def count_words(texts: TextBatch) -> NDArray[np.int64]:
    """Returns the (n,) number of words of each document."""
    return _count_words(texts.data, texts.offsets, texts.pretokenized, character_classes())


@cache
def character_classes() -> NDArray[np.uint8]:
    """Returns the (2^16,) classes of the basic plane's characters by `regex` and `str.lower`."""
    plane = "".join(map(chr, range(1 << 16)))
    classes = np.full(1 << 16, _SIGN, dtype=np.uint8)
    for pattern, number in ((r"\w+", _WORD), (r"\s+", _SPACE)):
        for run in regex.finditer(pattern, plane):
            classes[run.start() : run.end()] = number
    changed = [code for code in range(128, 1 << 16) if chr(code).lower() != chr(code)]
    classes[changed] = _PYTHON
    return classes


@compiled
def _need_python(data: Any, offsets: Any, classes: Any) -> Any:
    """Returns (n,) whether a document holds a character that the loops cannot lower."""
    result = np.zeros(len(offsets) - 1, dtype=np.bool_)
    for row in range(len(result)):
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
            code, size = _decode(data, at)
            if code < 0 or classes[code] == _PYTHON:
                result[row] = True
                break
            at += size
    return result


@compiled
def _decode(data: Any, at: Any) -> Any:
    """Returns code (-1 outside the basic plane) and bytes of the non-ASCII character at `at`."""
    first = np.int64(data[at])
    if first < 0xE0:
        return ((first & 0x1F) << 6) | (np.int64(data[at + 1]) & 0x3F), 2
    if first < 0xF0:
        second, third = np.int64(data[at + 1]) & 0x3F, np.int64(data[at + 2]) & 0x3F
        return ((first & 0x0F) << 12) | (second << 6) | third, 3
    return np.int64(-1), 4


@compiled
def tokenize(
    data: Any, start: Any, stop: Any, pretokenized: Any, classes: Any,
    letters: Any, filled: Any, ends: Any, hashes: Any,
) -> Any:  # fmt: skip
    """Tokenizes one document and returns its number of words.

    Writes the lowered words, one space apart, into `letters` from place `filled` on (twice the
    document's bytes suffice), where each ends into `ends` and its 64-bit hash into `hashes`.

    The loop has no branch on the ends of words, which a processor cannot predict: the entry of the
    next word is written at every byte and overwritten unless the word has ended. Places are
    unsigned, because numba checks signed indices for negative values.
    """
    at, end, place = np.uint64(start), np.uint64(stop), np.uint64(filled)
    n, previous, value = _ZERO, _ZERO, FNV_BASIS
    while at < end:
        byte, size = data[at], _ONE
        if pretokenized:
            here = np.uint64(byte != 32)
        elif byte < 0x80:
            here = np.uint64(classes[byte])
        else:
            code, width = _decode(data, np.int64(at))
            here, size = np.uint64(classes[code]), np.uint64(width)
        differs = _nonzero(here ^ previous)
        ended = differs & _nonzero(previous)
        ends[n], hashes[n], letters[place] = place, value, 32
        n, place, previous = n + ended, place + ended, here
        same = differs - _ONE  # all bits set, or none
        value = (value & same) | (FNV_BASIS & ~same)
        byte = _LOWERED[byte]
        letters[place] = byte
        value = fnv1a(value, byte)
        if size > _ONE:
            for more in range(_ONE, size):
                letters[place + more] = data[at + more]
                value = fnv1a(value, data[at + more])
            place += (size - _ONE) * _nonzero(here)
        place += _nonzero(here)
        at += size
    if previous != _ZERO:
        ends[n], hashes[n] = place, value
        n += _ONE
    for word in range(n):
        hashes[word] = mix(hashes[word])
    return np.int64(n)


@compiled
def _nonzero(bits: Any) -> Any:
    """Returns 1 where one of the two lowest bits is set, else 0."""
    return (bits | (bits >> _ONE)) & _ONE


@compiled
def hash_words(data: Any, start: Any, stop: Any, pretokenized: Any, classes: Any, out: Any) -> Any:
    """Writes the 64-bit hash of each word of one document into `out` and returns their number."""
    letters = np.empty(2 * (stop - start), dtype=np.uint8)
    ends = np.empty(stop - start, dtype=np.int64)
    return tokenize(data, start, stop, pretokenized, classes, letters, 0, ends, out)


@compiled
def max_bytes(offsets: Any) -> Any:
    """Returns the bytes of the longest document: an upper bound of its number of words."""
    most = 0
    for row in range(len(offsets) - 1):
        most = max(most, offsets[row + 1] - offsets[row])
    return most


@compiled
def _count_words(data: Any, offsets: Any, pretokenized: Any, classes: Any) -> Any:
    counts = np.empty(len(offsets) - 1, dtype=np.int64)
    words = np.empty(max_bytes(offsets), dtype=np.uint64)
    for row in range(len(counts)):
        counts[row] = hash_words(
            data, offsets[row], offsets[row + 1], pretokenized[row], classes, words
        )
    return counts
