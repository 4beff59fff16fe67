"""Near copies: texts that share most of their shingles (runs of five words).

Texts are compared as sets of 32-bit hashes of their shingles after folding case, punctuation and
space; a text of fewer words is one shingle, one without words has no copies. `clusters` groups the
near copies of one pool by MinHash and bands (Broder 1997; Leskovec et al., Mining of Massive
Datasets, section 3.4); `near_copies` compares every pair of two small collections.
"""
# numba carries no type stubs: the checker does not know what its decorator returns.
# pyright: reportUntypedFunctionDecorator=false

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from shortlist.core import Corpus
from shortlist.kernels.hashing import FNV_BASIS, FNV_PRIME, GOLDEN, compiled, fnv1a

SHINGLE = 5  # words
THRESHOLD = 0.8  # Jaccard similarity of near copies within a pool
BANDS, ROWS = 20, 5
MAX_MISSES = 1024  # failed comparisons of one document in one bucket
SPLIT_JACCARD, SPLIT_CONTAINMENT = 0.5, 0.7  # of near copies across splits

_PIECE = 1 << 23  # characters folded at a time
_SEED = 20240501
SPACE, BREAK = 32, 10  # between words and between texts of folded lines
_29, _32 = np.uint64(29), np.uint64(32)
_NOT_WORD = re.compile(r"[\W_]+")
_ASCII_FOLD = bytes(
    ord(chr(code).lower()) if code < 128 and chr(code).isalnum() else 32 for code in range(256)
)


def fold(text: str) -> str:
    """Returns the words of a text in lower case, one space apart, without punctuation."""
    if text.isascii():
        return " ".join(text.encode().translate(_ASCII_FOLD).decode().split())
    return _NOT_WORD.sub(" ", text.casefold()).strip()


@dataclass(frozen=True)
class Clusters:
    """Near copies within a pool.

    Attributes:
        labels: (n,) the smallest row of each document's cluster; its own where it has no copy.
        not_compared: upper bound of the candidate pairs that were not compared, because their
            bucket holds too many pairs below the threshold (documents of one template).
    """

    labels: NDArray[np.int64]
    not_compared: int

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of documents in the cluster of each document, (n,)."""
        return np.bincount(self.labels, minlength=len(self.labels))[self.labels]


def clusters(
    texts: Sequence[str], threshold: float = THRESHOLD, bands: int = BANDS, rows: int = ROWS
) -> Clusters:
    """Returns the connected components of pairs whose Jaccard similarity is at least `threshold`.

    A pair of similarity s becomes a candidate with probability 1 - (1 - s^rows)^bands, 0.9996 at
    the default threshold, and every candidate is compared exactly. A cluster may hold two
    documents below the threshold that a third one connects. The result is deterministic. 200,000
    texts of 1,100 characters without copies take some three seconds on one core and 0.3 GB.
    """
    hashes, offsets = _shingle_sets(texts)
    draws = np.random.default_rng(_SEED)
    multipliers = draws.integers(1 << 31, size=bands * rows, dtype=np.uint32) * np.uint32(2)
    keys = _band_keys(hashes, offsets, multipliers + np.uint32(1), np.int64(rows))
    parents = np.arange(len(texts), dtype=np.int64)
    filled = np.flatnonzero(np.diff(offsets) > 0)
    not_compared = 0
    for column in keys:
        order = filled[np.argsort(column[filled], kind="stable")]
        not_compared += _join(order, column, hashes, offsets, parents, threshold, MAX_MISSES)
    _flatten(parents)
    return Clusters(parents, int(not_compared))


@dataclass(frozen=True)
class NearCopy:
    """One text that nearly repeats another.

    Attributes:
        row: row of the text.
        of: row of the text it repeats, in the other collection.
        jaccard: shared shingles over all shingles of the two.
        containment: shared shingles over those of the text with fewer.
    """

    row: int
    of: int
    jaccard: float
    containment: float


def near_copies(texts: Sequence[str], against: Sequence[str]) -> list[NearCopy]:
    """Returns, for each of `texts` that nearly repeats one of `against`, the closest such pair.

    A pair counts if its Jaccard similarity reaches `SPLIT_JACCARD` or its containment
    `SPLIT_CONTAINMENT`. All pairs are compared, by a product of sparse matrices.
    """
    hashes, offsets = _shingle_sets([*texts, *against])
    kinds, columns = np.unique(hashes, return_inverse=True)
    shape = (len(offsets) - 1, len(kinds))
    sets = csr_array((np.ones(len(hashes), np.int32), columns, offsets), shape=shape)
    shared: Any = (sets[: len(texts)] @ sets[len(texts) :].T).tocoo()
    sizes = np.diff(offsets)
    one, other = sizes[: len(texts)][shared.row], sizes[len(texts) :][shared.col]
    jaccard = shared.data / (one + other - shared.data)
    containment = shared.data / np.minimum(one, other)
    close = np.flatnonzero((jaccard >= SPLIT_JACCARD) | (containment >= SPLIT_CONTAINMENT))
    # Sorted by row; within a row the closest pair first, and of equal ones that of the first text.
    ranks = (shared.col[close], -containment[close], -jaccard[close], shared.row[close])
    close = close[np.lexsort(ranks)]
    _, first = np.unique(shared.row[close], return_index=True)
    return [
        NearCopy(
            int(shared.row[pair]),
            int(shared.col[pair]),
            float(jaccard[pair]),
            float(containment[pair]),
        )
        for pair in close[first]
    ]


def without_near_copies(corpus: Corpus, *protected: Corpus) -> Corpus:
    """Returns `corpus` without the documents that nearly repeat one of the `protected` corpora."""
    against = [text for other in protected for text in other.texts]
    repeated = {pair.row for pair in near_copies(corpus.texts, against)}
    return corpus.take([row for row in range(len(corpus)) if row not in repeated])


def _shingle_sets(texts: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Returns the sorted shingle hashes of all texts, one text after another, and their offsets.

    With 32 bits two texts of 150 shingles share one by chance once in 200,000 pairs.
    """
    hashes, sizes = [np.zeros(0, np.uint32)], [np.zeros(1, np.int64)]
    for _, piece in pieces(texts, _PIECE):
        values, lines, _ = word_runs(as_lines(map(fold, piece)), SHINGLE)
        keys = _distinct(lines.astype(np.uint64) << _32 | (values * FNV_PRIME) >> _32)
        hashes.append(keys.astype(np.uint32))
        sizes.append(np.bincount(keys >> _32, minlength=len(piece)))
    return np.concatenate(hashes), np.cumsum(np.concatenate(sizes))


def _distinct(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Returns the distinct keys, sorted: np.unique, which hashes them, took 100 times as long."""
    keys = np.sort(keys)
    return keys[np.concatenate([np.ones(min(len(keys), 1), bool), keys[1:] != keys[:-1]])]


def pieces(texts: Sequence[str], characters: int) -> Iterator[tuple[int, Sequence[str]]]:
    """Yields consecutive texts of at least `characters` characters together, after the row of the
    first; the last ones may have fewer.
    """
    first, size = 0, 0
    for row, text in enumerate(texts):
        size += len(text)
        if size >= characters:
            yield first, texts[first : row + 1]
            first, size = row + 1, 0
    if first < len(texts):
        yield first, texts[first:]


def as_lines(folded: Iterable[str]) -> NDArray[np.uint8]:
    """Returns folded texts as bytes, each followed by a line break."""
    return np.frombuffer(
        "".join(f"{text}\n" for text in folded).encode("utf-8", "surrogatepass"), np.uint8
    )


@compiled
def word_runs(data: Any, length: int) -> Any:
    """Returns hash, line and first word of each run of `length` words in lines of folded text.

    A line of fewer words is one run, a line without words none.
    """
    breaks = 1
    for byte in data:
        breaks += byte in (SPACE, BREAK)
    words, hashes = np.empty(breaks, np.uint64), np.empty(breaks, np.uint64)
    lines, starts = np.empty(breaks, np.int64), np.empty(breaks, np.int64)
    total, line, count, word, inside = 0, 0, 0, FNV_BASIS, False
    for byte in data:
        if byte != SPACE and byte != BREAK:
            word = fnv1a(word, byte)
            inside = True
            continue
        if inside:
            words[count] = word
            count += 1
        word, inside = FNV_BASIS, False
        if byte == SPACE:
            continue
        width = min(length, count)
        for start in range(count - width + 1 if count else 0):
            value = GOLDEN
            for step in range(width):
                value = (value ^ words[start + step]) * GOLDEN
                value ^= value >> _29
            hashes[total], lines[total], starts[total] = value, line, start
            total += 1
        line, count = line + 1, 0
    return hashes[:total], lines[:total], starts[:total]


@compiled
def _band_keys(hashes: Any, offsets: Any, multipliers: Any, rows: int) -> Any:
    """Returns one key per band and document, (bands, n): equal keys make two documents candidates.

    A permutation of the 32-bit hashes is a product with an odd number.
    """
    bands = len(multipliers) // rows
    keys = np.empty((bands, len(offsets) - 1), np.uint64)
    least = np.empty(len(multipliers), np.uint32)
    for document in range(len(offsets) - 1):
        least[:] = np.uint32(0xFFFFFFFF)
        for at in range(offsets[document], offsets[document + 1]):
            value = hashes[at]
            for index in range(len(multipliers)):
                least[index] = min(least[index], np.uint32(value * multipliers[index]))
        for band in range(bands):
            key = FNV_BASIS
            for index in range(band * rows, (band + 1) * rows):
                key = (key ^ np.uint64(least[index])) * GOLDEN
                key ^= key >> np.uint64(31)
            keys[band, document] = key
    return keys


@compiled
def _root(parents: Any, row: int) -> int:
    while parents[row] != row:
        parents[row] = parents[parents[row]]
        row = parents[row]
    return row


@compiled
def _join(
    order: Any, keys: Any, hashes: Any, offsets: Any, parents: Any, threshold: float, most: int
) -> int:
    """Joins near copies among documents of equal key; returns the pairs that were not compared."""
    not_compared, first = 0, 0
    for place in range(len(order)):
        row = order[place]
        if keys[row] != keys[order[first]]:
            first = place
        misses = 0
        for other in range(place - 1, first - 1, -1):
            one, two = _root(parents, row), _root(parents, order[other])
            if one == two:
                continue
            if misses == most:
                not_compared += other - first + 1
                break
            if _similar(hashes, offsets, row, order[other], threshold):
                parents[max(one, two)] = min(one, two)
            else:
                misses += 1
    return not_compared


@compiled
def _similar(hashes: Any, offsets: Any, one: int, two: int, threshold: float) -> bool:
    """Returns whether the Jaccard similarity of two sets is at least `threshold`."""
    a, end_a, b, end_b = offsets[one], offsets[one + 1], offsets[two], offsets[two + 1]
    size_a, size_b = end_a - a, end_b - b
    if min(size_a, size_b) < threshold * max(size_a, size_b):
        return False
    shared = 0
    while a < end_a and b < end_b:
        if hashes[a] == hashes[b]:
            shared += 1
            a += 1
            b += 1
        elif hashes[a] < hashes[b]:
            a += 1
        else:
            b += 1
    return shared >= threshold * (size_a + size_b - shared)


@compiled
def _flatten(parents: Any) -> None:
    for row in range(len(parents)):
        parents[row] = _root(parents, row)
