"""Leaks: documents of the pool that repeat a protected (validation or test) text.

After folding case, punctuation and space, a document leaks if
- it equals a protected text (`exact`, `normalised`),
- it shares `RUN` consecutive words with one, or contains a whole one of `SHORTEST` to `RUN` - 1 words
  (`ngram`); shorter texts ("I agree.") leak only by equality,
- it paraphrases one (`near`): see `Pairs`.

Windows of words are compared by polynomial hashes, pairs of words by 64-bit hashes. A match of
windows is confirmed on the text; a chance match of as many pairs as a leak needs does not occur.
"""
# numba carries no type stubs: the checker does not know what its decorator returns.
# pyright: reportUntypedFunctionDecorator=false

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shortlist.core import Corpus
from shortlist.data.near_copies import fold
from shortlist.kernels.hashing import FNV_BASIS, GOLDEN, compiled, fnv1a, mix

RUN = 13  # consecutive words, as in the decontamination of GPT-3 (Brown et al. 2020, appendix C)
SHORTEST = 8  # words

REACH = 3  # places between the words of a pair
COMMON = 10  # distinct protected texts; a pair that more of them hold is not counted
FEWEST = 20  # counted pairs of a text that can be paraphrased
BASE, SHARE = 8, 0.3  # a paraphrase holds BASE + SHARE * (number of counted pairs) of them
STRETCH = 2  # lengths of the text within which a paraphrase holds them

Kind: TypeAlias = Literal["exact", "normalised", "ngram", "near"]
KINDS: tuple[Kind, ...] = ("exact", "normalised", "ngram", "near")  # the strongest first
_Hashes: TypeAlias = NDArray[np.uint64]
_Rows: TypeAlias = NDArray[np.int64]

_PIECE = 1 << 22  # bytes of text hashed at a time: about 150 MB of intermediate arrays
_WINDOW_BITS, _PAIR_BITS = 25, 24  # of the Bloom filters, which hold the upper bits of the hashes
_PAIR_SHIFT = np.uint64(64 - _PAIR_BITS)
_SPACE, _BREAK = 32, 10


@dataclass(frozen=True)
class Leak:
    """One document of the pool that repeats protected text.

    Attributes:
        id: the document's id.
        kind: `exact`, `normalised` (equal after folding), `ngram` (a run of words) or `near` (a
            paraphrase).
        where: id of the protected document.
        share: share of the protected text's counted pairs that the document holds (`near`); else 1.
    """

    id: str
    kind: Kind
    where: str
    share: float = 1.0


def find_leaks(pool: Corpus, protected: Corpus) -> list[Leak]:
    """Returns the documents of `pool` that repeat text of `protected`, each once, in pool order.

    Of a pair both texts are protected, each by itself. The kind is the strongest that applies.
    """
    if len(pool) == 0 or len(protected) == 0:
        return []
    texts, owners = protected.texts, protected.ids
    if protected.texts_b is not None:
        texts, owners = texts + protected.texts_b, owners + owners
    known = [fold(text) for text in texts]
    whole: dict[str, int] = {}
    for row, text in enumerate(known):
        whole.setdefault(text, row)
    whole.pop("", None)
    literal = set(texts)
    lengths = {min(text.count(" ") + 1, RUN) for text in known}
    windows = [_Windows.of(known, length) for length in sorted(lengths) if length >= SHORTEST]
    pairs = Pairs.of(known)
    leaks: list[Leak] = []
    pool_texts, ids = pool.texts, pool.ids
    for first, piece in _folded_pieces(pool_texts):
        contained: dict[int, int] = {}
        words = _Words.of(piece)
        for table in windows:
            for document, owner in table.matches(words, piece, known):
                contained[document] = min(owner, contained.get(document, owner))
        near: dict[int, tuple[float, int]] = {}
        for document, owner, share in find_paraphrases(piece, pairs):
            near[document] = max((share, owner), near.get(document, (0.0, 0)))
        for offset, text in enumerate(piece):
            row = first + offset
            if text in whole:
                kind: Kind = "exact" if pool_texts[row] in literal else "normalised"
                leaks.append(Leak(ids[row], kind, owners[whole[text]]))
            elif offset in contained:
                leaks.append(Leak(ids[row], "ngram", owners[contained[offset]]))
            elif offset in near:
                share, owner = near[offset]
                leaks.append(Leak(ids[row], "near", owners[owner], share))
    return leaks


def _folded_pieces(texts: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    first, piece, size = 0, list[str](), 0
    for row, text in enumerate(texts):
        piece.append(fold(text))
        size += len(text)
        if size >= _PIECE:
            yield first, piece
            first, piece, size = row + 1, [], 0
    if piece:
        yield first, piece


def _joined(texts: Sequence[str]) -> NDArray[np.uint8]:
    return np.frombuffer(("\n".join(texts) + "\n").encode(), dtype=np.uint8)


@dataclass(frozen=True)
class _Words:
    """The words of folded texts, joined by line breaks, and the hashes of their prefixes.

    The hash of bytes a..b is (H[b] - H[a]) * B^-a, where H[i] = sum over j < i of (byte_j + 1) *
    B^j, all modulo 2^64, and B is odd, so that it has an inverse.

    Attributes:
        starts: (w,) first byte of each word.
        ends: (w,) byte behind each word.
        documents: (w,) text of each word.
        prefix: H, one more than there are bytes.
        inverse: B^-a for every byte.
    """

    starts: _Rows
    ends: _Rows
    documents: _Rows
    prefix: _Hashes
    inverse: _Hashes

    @staticmethod
    def of(texts: Sequence[str]) -> _Words:
        data = _joined(texts)
        # Folded texts have single spaces; two line breaks in succession enclose an empty text.
        breaks = np.flatnonzero((data == _SPACE) | (data == _BREAK))
        before = np.concatenate(([-1], breaks[:-1]))
        lines = np.cumsum(data[breaks] == _BREAK) - (data[breaks] == _BREAK)
        filled = breaks > before + 1
        powers, inverse = _powers(len(data))
        prefix = np.zeros(len(data) + 1, dtype=np.uint64)
        np.cumsum((data.astype(np.uint64) + np.uint64(1)) * powers, out=prefix[1:])
        return _Words((before + 1)[filled], breaks[filled], lines[filled], prefix, inverse)

    def windows(self, length: int) -> tuple[_Hashes, _Rows]:
        """Returns hash and first word of every window of `length` words within one text."""
        last = np.arange(length - 1, len(self.starts))
        first = last - (length - 1)
        first = first[self.documents[first] == self.documents[last]]
        start, end = self.starts[first], self.ends[first + length - 1]
        return (self.prefix[end] - self.prefix[start]) * self.inverse[start], first


_power_cache: list[tuple[_Hashes, _Hashes]] = []


def _powers(size: int) -> tuple[_Hashes, _Hashes]:
    """Returns B^0 .. B^(size-1) and their inverses modulo 2^64; the longest so far is kept."""
    if not _power_cache or len(_power_cache[0][0]) < size:
        factors = np.ones((2, size), dtype=np.uint64)
        factors[0, 1:], factors[1, 1:] = GOLDEN, np.uint64(pow(int(GOLDEN), -1, 2**64))
        powers, inverse = np.cumprod(factors, axis=1, dtype=np.uint64)
        _power_cache[:] = [(powers, inverse)]
    powers, inverse = _power_cache[0]
    return powers[:size], inverse[:size]


@dataclass(frozen=True)
class _Windows:
    """The windows of one length of the protected texts, sorted by hash."""

    length: int
    hashes: _Hashes
    owners: _Rows
    bloom: NDArray[np.bool_]

    @staticmethod
    def of(known: Sequence[str], length: int) -> _Windows:
        # Windows shorter than a run cover whole texts only.
        rows = [
            row for row, text in enumerate(known) if length == RUN or text.count(" ") + 1 == length
        ]
        words = _Words.of([known[row] for row in rows])
        hashes, first = words.windows(length)
        owners = np.array(rows, dtype=np.int64)[words.documents[first]]
        order = np.argsort(hashes, kind="stable")
        bloom = np.zeros(1 << _WINDOW_BITS, dtype=bool)
        bloom[hashes >> np.uint64(64 - _WINDOW_BITS)] = True
        return _Windows(length, hashes[order], owners[order], bloom)

    def matches(
        self, words: _Words, piece: Sequence[str], known: Sequence[str]
    ) -> Iterator[tuple[int, int]]:
        """Returns (document of the piece, protected row) for every confirmed shared window."""
        hashes, first = words.windows(self.length)
        maybe = np.flatnonzero(self.bloom[hashes >> np.uint64(64 - _WINDOW_BITS)])
        hashes, first = hashes[maybe], first[maybe]
        place = np.searchsorted(self.hashes, hashes)
        inside = place < len(self.hashes)
        hits = np.flatnonzero(inside)[self.hashes[place[inside]] == hashes[inside]]
        confirmed: set[tuple[int, int]] = set()
        for hit in hits.tolist():
            document, owner = int(words.documents[first[hit]]), int(self.owners[place[hit]])
            if (document, owner) in confirmed:
                continue
            word = int(first[hit] - np.searchsorted(words.documents, document))
            window = " ".join(piece[document].split(" ")[word : word + self.length])
            if f" {window} " in f" {known[owner]} ":
                confirmed.add((document, owner))
                yield document, owner


@dataclass(frozen=True)
class Pairs:
    """The counted pairs of words of the protected texts, by which paraphrases are recognised.

    A pair is two words at most `REACH` places apart, in either order: an edited word changes only
    its own pairs, a moved one few, and texts on one subject share words but few pairs. Pairs that
    more than `COMMON` protected texts hold ("of the") are not counted. A document paraphrases a
    text with at least `FEWEST` counted pairs if a stretch of it, at most `STRETCH` times as long as
    the text, holds `BASE` + `SHARE` * (their number) of them. `BASE` keeps a stock phrase ("approved
    by the local ethics committee") from matching a short text.

    Attributes:
        keys: (k,) hashes of all pairs, sorted.
        starts: (k + 1,) where the texts that hold a pair begin in `owners`.
        owners: rows of the texts that hold each pair.
        counts: (m,) number of counted pairs of each text; 0 where it is not compared.
        lengths: (m,) number of words of each text.
        bloom: whether `keys` may hold a hash, by its upper bits.
    """

    keys: _Hashes
    starts: _Rows
    owners: _Rows
    counts: _Rows
    lengths: _Rows
    bloom: NDArray[np.bool_]

    @staticmethod
    def of(texts: Sequence[str]) -> Pairs:
        """Returns the pairs of folded `texts`; of equal texts only the first is compared."""
        first = {text: row for row, text in reversed(list(enumerate(texts)))}
        rows = np.array(sorted(first.values()), dtype=np.int64)
        hashes, line, _ = _pairs(_joined([texts[int(row)] for row in rows]))
        keys, owners = _distinct(hashes, rows[line])
        _, which, texts_of = np.unique(keys, return_inverse=True, return_counts=True)
        rare = texts_of[which] <= COMMON
        keys, owners = keys[rare], owners[rare]
        enough = np.bincount(owners, minlength=len(texts))[owners] >= FEWEST
        keys, owners = keys[enough], owners[enough]
        unique, starts = np.unique(keys, return_index=True)
        bloom = np.zeros(1 << _PAIR_BITS, dtype=bool)
        bloom[unique >> _PAIR_SHIFT] = True
        return Pairs(
            unique,
            np.append(starts, len(keys)).astype(np.int64),
            owners,
            np.bincount(owners, minlength=len(texts)).astype(np.int64),
            np.array([text.count(" ") + 1 for text in texts], dtype=np.int64),
            bloom,
        )

    @cached_property
    def needed(self) -> _Rows:
        """Number of counted pairs that a paraphrase of each text holds, (m,)."""
        return np.ceil(BASE + SHARE * self.counts).astype(np.int64)

    def densest(self, document: str, owner: int) -> int:
        """Returns the most counted pairs of text `owner` in one stretch of a folded document."""
        keys = np.repeat(self.keys, np.diff(self.starts))[self.owners == owner]
        hashes, _, places = _pairs(_joined([document]))
        shared = np.flatnonzero(np.isin(hashes, keys))
        hashes, places = hashes[shared], places[shared]
        width, most, first = STRETCH * int(self.lengths[owner]), 0, 0
        inside: dict[int, int] = {}
        for key, place in zip(hashes.tolist(), places.tolist(), strict=True):
            inside[key] = inside.get(key, 0) + 1
            while places[first] <= place - width:
                left = int(hashes[first])
                inside[left] -= 1
                if inside[left] == 0:
                    del inside[left]
                first += 1
            most = max(most, len(inside))
        return most


def find_paraphrases(piece: Sequence[str], pairs: Pairs) -> Iterator[tuple[int, int, float]]:
    """Returns (document of the piece, protected row, share of its counted pairs) of paraphrases.

    Args:
        piece: folded documents.
        pairs: the pairs of the protected texts.
    """
    if len(pairs.keys) == 0 or len(piece) == 0:
        return
    candidates: list[tuple[int, int]] = _candidates(
        _joined(piece), pairs.keys, pairs.starts, pairs.owners, pairs.bloom, pairs.needed
    ).tolist()
    for document, owner in candidates:
        count = pairs.densest(piece[document], owner)
        if count >= pairs.needed[owner]:
            yield document, owner, count / int(pairs.counts[owner])


def _distinct(keys: _Hashes, owners: _Rows) -> tuple[_Hashes, _Rows]:
    """Returns each combination of key and owner once, sorted."""
    order = np.lexsort((owners, keys))
    keys, owners = keys[order], owners[order]
    new = np.ones(len(keys), dtype=bool)
    new[1:] = (keys[1:] != keys[:-1]) | (owners[1:] != owners[:-1])
    return keys[new], owners[new]


@compiled
def _pairs(data: Any) -> Any:
    """Returns hash, line and place (of the later word) of every pair of words in lines of text."""
    breaks = 0
    for byte in data:
        breaks += byte in (_SPACE, _BREAK)
    hashes = np.empty(breaks * REACH, dtype=np.uint64)
    lines = np.empty(breaks * REACH, dtype=np.int64)
    places = np.empty(breaks * REACH, dtype=np.int64)
    recent = np.zeros(REACH, dtype=np.uint64)
    n, line, place, word, filled = 0, 0, 0, FNV_BASIS, False
    for byte in data:
        if byte != _SPACE and byte != _BREAK:
            word = fnv1a(word, byte)
            filled = True
            continue
        if filled:
            here = mix(word)
            for back in range(min(place, REACH)):
                # A sum is the same for either order of the words.
                hashes[n] = mix(here + recent[(place - 1 - back) % REACH])
                lines[n], places[n] = line, place
                n += 1
            recent[place % REACH] = here
            place += 1
        word, filled = FNV_BASIS, False
        if byte == _BREAK:
            line, place = line + 1, 0
    return hashes[:n], lines[:n], places[:n]


@compiled
def _candidates(data: Any, keys: Any, starts: Any, owners: Any, bloom: Any, needed: Any) -> Any:
    """Returns (n, 2) lines and owners where the whole line holds the needed number of pairs."""
    hashes, lines, _ = _pairs(data)
    last_line = np.full(len(keys), -1, dtype=np.int64)  # line in which a pair was last counted
    counts = np.zeros(len(needed), dtype=np.int64)
    line_of_counts = np.full(len(needed), -1, dtype=np.int64)
    found, n = np.empty((64, 2), dtype=np.int64), 0
    for at in range(len(hashes)):
        if not bloom[hashes[at] >> _PAIR_SHIFT]:
            continue
        key = np.searchsorted(keys, hashes[at])
        line = lines[at]
        if key == len(keys) or keys[key] != hashes[at] or last_line[key] == line:
            continue
        last_line[key] = line
        for place in range(starts[key], starts[key + 1]):
            owner = owners[place]
            if line_of_counts[owner] != line:
                line_of_counts[owner], counts[owner] = line, 0
            counts[owner] += 1
            if counts[owner] == needed[owner]:
                if n == len(found):
                    found = np.concatenate((found, np.empty_like(found)))
                found[n] = line, owner
                n += 1
    return found[:n]
