"""Which documents of a pool are nearly copies of each other?

Two documents are near copies if the Jaccard similarity of their sets of `SHINGLE` consecutive words
is `THRESHOLD` or more, after folding (case, punctuation, space); a cluster is what such pairs
connect. Candidates come from MinHash and bands (Broder 1997; Leskovec et al., Mining of Massive
Datasets, section 3.4); each is confirmed on the sets themselves. So no pair is joined that should
not be, and a pair at similarity s is found with probability 1 - (1 - s^ROWS)^BANDS: 0.9996 at the
threshold, by one band at least.

A cluster may hold two documents less alike than the threshold, through a third between them. A
document of fewer words than a shingle is one shingle by itself; one without words has no copies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from shortlist.data.contamination import folded

SHINGLE = 5  # words
THRESHOLD = 0.8
BANDS, ROWS = 20, 5
MOST_MISSES = (
    1024  # comparisons in vain for a document in a bucket, after which the rest is counted
)

_PIECE = 1 << 23  # characters folded at a time
_SEED = 20240501
_PRIME = np.uint64(0x100000001B3)  # FNV-1a
_BASIS = np.uint64(0xCBF29CE484222325)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_SPACE, _BREAK = 32, 10

# Compiled on first use, about a second for all; nothing is written into the package.
_compiled: Any = njit(nogil=True)


@dataclass(frozen=True)
class Clusters:
    """Near copies within a pool.

    Attributes:
        labels: (n,) the smallest row of each document's cluster; its own where it has no copy.
        not_compared: candidate pairs that were left unconfirmed, at most: a bucket of many alike
            but not alike enough (one template, say) is not compared pair by pair to its end.
    """

    labels: NDArray[np.int64]
    not_compared: int

    @property
    def sizes(self) -> NDArray[np.int64]:
        """How many documents the cluster of each document has, (n,)."""
        return np.bincount(self.labels, minlength=len(self.labels))[self.labels]


def clusters(texts: Sequence[str]) -> Clusters:
    """Returns the clusters of near copies among `texts`; the same for the same texts, always.

    200,000 texts of 1,000 characters take about half a minute on one core and 0.2 GB.
    """
    hashes, offsets = _sets(texts)
    draws = np.random.default_rng(_SEED)
    multipliers = draws.integers(1 << 31, size=BANDS * ROWS, dtype=np.uint32) * np.uint32(2)
    keys = _bands(hashes, offsets, multipliers + np.uint32(1), np.int64(ROWS))
    parents = np.arange(len(texts), dtype=np.int64)
    filled = np.flatnonzero(np.diff(offsets) > 0)
    left = 0
    for band in range(BANDS):
        column = keys[band]
        order = filled[np.argsort(column[filled], kind="stable")]
        left += _join(order, column, hashes, offsets, parents, THRESHOLD, MOST_MISSES)
    _flatten(parents)
    return Clusters(parents, int(left))


def _sets(texts: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Returns the sorted shingle hashes of all texts, one after another, and where each begins.

    Of 32 bits: two texts of 150 shingles share one by chance once in 200,000 pairs.
    """
    found, sizes = [np.zeros(0, np.uint32)], [np.zeros(1, np.int64)]
    for piece in _pieces(texts):
        data = np.frombuffer("".join(f"{folded(text)}\n" for text in piece).encode(), np.uint8)
        keys = np.unique(_shingles(data, SHINGLE))
        found.append(keys.astype(np.uint32))
        sizes.append(np.bincount(keys >> np.uint64(32), minlength=len(piece)))
    return np.concatenate(found), np.cumsum(np.concatenate(sizes))


def _pieces(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    first, size = 0, 0
    for row, text in enumerate(texts):
        size += len(text)
        if size >= _PIECE:
            yield texts[first : row + 1]
            first, size = row + 1, 0
    if first < len(texts):
        yield texts[first:]


@_compiled
def _shingles(data: Any, shingle: int) -> Any:
    """Returns every shingle of every line: the line in the upper 32 bits, its hash in the lower."""
    out = np.empty(len(data), np.uint64)
    words = np.empty(len(data) + 1, np.uint64)
    total, document, count, word, inside = 0, 0, 0, _BASIS, False
    for at in range(len(data)):
        sign = data[at]
        if sign != _SPACE and sign != _BREAK:
            word = (word ^ np.uint64(sign)) * _PRIME
            inside = True
            continue
        if inside:
            words[count] = word
            count += 1
        word, inside = _BASIS, False
        if sign == _SPACE:
            continue
        width, line = min(shingle, count), np.uint64(document) << np.uint64(32)
        for start in range(count - width + 1 if count else 0):
            value = _MIX
            for step in range(width):
                value = (value ^ words[start + step]) * _MIX
                value ^= value >> np.uint64(29)
            out[total] = line | ((value * _PRIME) >> np.uint64(32))
            total += 1
        document, count = document + 1, 0
    return out[:total].copy()


@_compiled
def _bands(hashes: Any, offsets: Any, multipliers: Any, rows: int) -> Any:
    """Returns one key a band and document, (bands, n): equal keys make two documents candidates.

    A permutation of 32 bits is a product with an odd number; the hashes are random already.
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
            key = _BASIS
            for index in range(band * rows, (band + 1) * rows):
                key = (key ^ np.uint64(least[index])) * _MIX
                key ^= key >> np.uint64(31)
            keys[band, document] = key
    return keys


@_compiled
def _root(parents: Any, row: int) -> int:
    while parents[row] != row:
        parents[row] = parents[parents[row]]
        row = parents[row]
    return row


@_compiled
def _join(
    order: Any, keys: Any, hashes: Any, offsets: Any, parents: Any, threshold: float, most: int
) -> int:
    """Joins near copies among documents of equal key; returns the pairs that were not compared."""
    left, first = 0, 0
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
                left += other - first + 1
                break
            if _alike(hashes, offsets, row, order[other], threshold):
                parents[max(one, two)] = min(one, two)
            else:
                misses += 1
    return left


@_compiled
def _alike(hashes: Any, offsets: Any, one: int, two: int, threshold: float) -> bool:
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


@_compiled
def _flatten(parents: Any) -> None:
    for row in range(len(parents)):
        parents[row] = _root(parents, row)
