"""Does a document say a protected text again, with words left out, moved or changed?

What is compared are pairs of words: two words at most `REACH` places apart, in either order. An
edited word takes its own pairs with it and leaves the others, a moved one leaves most; texts that
merely speak of the same things share words but few pairs. Pairs that stand in more than `COMMON` of
the protected texts ("of the", "as well") tell nothing and are not counted.

A document repeats a protected text that has at least `FEWEST` telling pairs if a stretch of it, at
most `STRETCH` times as long as the text, holds `BASE` + `SHARE` * (their number) of them: a share
alone would let a stock phrase ("approved by the local ethics committee") stand for a short sentence.
Pairs are compared as hashes of 64 bits: a chance meeting of as many as are needed does not happen.
"""
# numba carries no type stubs: what its decorator returns is unknown to the checker.
# pyright: reportUntypedFunctionDecorator=false

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

REACH = 3  # places
COMMON = 10  # protected texts, equal ones counted once
FEWEST = 20  # telling pairs
BASE, SHARE = 8, 0.3  # pairs
STRETCH = 2

_BLOOM_BITS = 24
_BLOOM_SHIFT = np.uint64(64 - _BLOOM_BITS)
_BASIS, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)  # FNV-1a
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)  # SplitMix64
_S27, _S30, _S31 = np.uint64(27), np.uint64(30), np.uint64(31)
_SPACE, _BREAK = 32, 10

# Compiled on first use, about three seconds, and kept on disk for the next process.
_compiled: Any = njit(nogil=True, cache=True)


@dataclass(frozen=True)
class Known:
    """The telling pairs of the protected texts.

    Attributes:
        keys: (k,) hashes of all pairs, sorted.
        starts: (k + 1,) where the texts that have a pair begin in `owners`.
        owners: rows of the texts that have each pair.
        pairs: (m,) how many telling pairs each text has; 0 where it is not compared.
        lengths: (m,) words of each text.
        bloom: which hashes may be among `keys`, by their upper bits.
    """

    keys: NDArray[np.uint64]
    starts: NDArray[np.int64]
    owners: NDArray[np.int64]
    pairs: NDArray[np.int64]
    lengths: NDArray[np.int64]
    bloom: NDArray[np.bool_]

    @staticmethod
    def of(texts: Sequence[str]) -> Known:
        """Returns the pairs of `texts`, folded; of equal texts the first stands for all."""
        first = {text: row for row, text in reversed(list(enumerate(texts)))}
        rows = np.array(sorted(first.values()), dtype=np.int64)
        hashes, line, _ = _pairs(_joined([texts[int(row)] for row in rows]))
        keys, owners = _distinct(hashes, rows[line])
        _, which, spread = np.unique(keys, return_inverse=True, return_counts=True)
        telling = spread[which] <= COMMON
        keys, owners = keys[telling], owners[telling]
        enough = np.bincount(owners, minlength=len(texts))[owners] >= FEWEST
        keys, owners = keys[enough], owners[enough]
        each, starts = np.unique(keys, return_index=True)
        bloom = np.zeros(1 << _BLOOM_BITS, dtype=bool)
        bloom[each >> _BLOOM_SHIFT] = True
        return Known(
            each,
            np.append(starts, len(keys)).astype(np.int64),
            owners,
            np.bincount(owners, minlength=len(texts)).astype(np.int64),
            np.array([text.count(" ") + 1 for text in texts], dtype=np.int64),
            bloom,
        )


def repeats(piece: Sequence[str], known: Known) -> Iterator[tuple[int, int, float]]:
    """Returns (document of the piece, protected row, share of its telling pairs) of every copy.

    Args:
        piece: folded documents.
        known: what they are compared with.
    """
    if len(known.keys) == 0 or len(piece) == 0:
        return
    needed = np.ceil(BASE + SHARE * known.pairs).astype(np.int64)
    pairs: list[tuple[int, int]] = _candidates(
        _joined(piece), known.keys, known.starts, known.owners, known.bloom, needed
    ).tolist()
    for document, owner in pairs:
        found = _densest(piece[document], owner, known)
        if found >= needed[owner]:
            yield document, owner, found / int(known.pairs[owner])


def _distinct(
    keys: NDArray[np.uint64], owners: NDArray[np.int64]
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Returns each pair of key and owner once, sorted."""
    order = np.lexsort((owners, keys))
    keys, owners = keys[order], owners[order]
    new = np.ones(len(keys), dtype=bool)
    new[1:] = (keys[1:] != keys[:-1]) | (owners[1:] != owners[:-1])
    return keys[new], owners[new]


def _joined(texts: Sequence[str]) -> NDArray[np.uint8]:
    return np.frombuffer(("\n".join(texts) + "\n").encode(), dtype=np.uint8)


def _densest(document: str, owner: int, known: Known) -> int:
    """Returns how many of the owner's telling pairs one stretch holds at most."""
    keys = np.repeat(known.keys, np.diff(known.starts))[known.owners == owner]
    hashes, _, places = _pairs(_joined([document]))
    mine = np.flatnonzero(np.isin(hashes, keys))
    found, places = hashes[mine], places[mine]
    width, most, first = STRETCH * int(known.lengths[owner]), 0, 0
    inside: dict[int, int] = {}
    for key, place in zip(found.tolist(), places.tolist(), strict=True):
        inside[key] = inside.get(key, 0) + 1
        while places[first] <= place - width:
            gone = int(found[first])
            inside[gone] -= 1
            if inside[gone] == 0:
                del inside[gone]
            first += 1
        most = max(most, len(inside))
    return most


@_compiled
def _mixed(z: Any) -> Any:
    z = (z ^ (z >> _S30)) * _FIRST
    z = (z ^ (z >> _S27)) * _SECOND
    return z ^ (z >> _S31)


@_compiled
def _pairs(data: Any) -> Any:
    """Returns hash, line and place (of the later word) of every pair of words in lines of text."""
    breaks = 0
    for byte in data:
        breaks += byte in (_SPACE, _BREAK)
    hashes = np.empty(breaks * REACH, dtype=np.uint64)
    lines = np.empty(breaks * REACH, dtype=np.int64)
    places = np.empty(breaks * REACH, dtype=np.int64)
    recent = np.zeros(REACH, dtype=np.uint64)
    n, line, place, word, filled = 0, 0, 0, _BASIS, False
    for byte in data:
        if byte != _SPACE and byte != _BREAK:
            word = (word ^ np.uint64(byte)) * _PRIME
            filled = True
            continue
        if filled:
            here = _mixed(word)
            for back in range(min(place, REACH)):
                # A sum: the pair is the same in either order.
                hashes[n] = _mixed(here + recent[(place - 1 - back) % REACH])
                lines[n], places[n] = line, place
                n += 1
            recent[place % REACH] = here
            place += 1
        word, filled = _BASIS, False
        if byte == _BREAK:
            line, place = line + 1, 0
    return hashes[:n], lines[:n], places[:n]


@_compiled
def _candidates(data: Any, keys: Any, starts: Any, owners: Any, bloom: Any, needed: Any) -> Any:
    """Returns (n, 2) lines and owners: the line as a whole has as many of the owner's pairs."""
    hashes, lines, _ = _pairs(data)
    seen = np.full(len(keys), -1, dtype=np.int64)  # line in which a pair was last counted
    counts = np.zeros(len(needed), dtype=np.int64)
    counted = np.full(len(needed), -1, dtype=np.int64)  # line that `counts` is of
    found, n = np.empty((64, 2), dtype=np.int64), 0
    for at in range(len(hashes)):
        if not bloom[hashes[at] >> _BLOOM_SHIFT]:
            continue
        key = np.searchsorted(keys, hashes[at])
        line = lines[at]
        if key == len(keys) or keys[key] != hashes[at] or seen[key] == line:
            continue
        seen[key] = line
        for place in range(starts[key], starts[key + 1]):
            owner = owners[place]
            if counted[owner] != line:
                counted[owner], counts[owner] = line, 0
            counts[owner] += 1
            if counts[owner] == needed[owner]:
                if n == len(found):
                    found = np.concatenate((found, np.empty_like(found)))
                found[n] = line, owner
                n += 1
    return found[:n]
