"""Does the pool hold text that the task is evaluated on?

Both sides are folded (case, punctuation, space). A pool document leaks if it equals a protected
text, shares `RUN` consecutive words with one, or says one again in changed words (`paraphrases`); a
protected text of `SHORTEST` to `RUN` - 1 words leaks if it stands in the document as a whole.
Shorter ones ("I agree.") leak only by equality: they stand everywhere.

Windows of words are compared through polynomial hashes that numpy computes for some megabytes of
text at a time; every match of hashes is confirmed on the text itself, so nothing is reported that
is not there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shortlist.core import Corpus
from shortlist.data.paraphrases import Known, repeats

RUN = 13  # consecutive words, as in the decontamination of GPT-3 (Brown et al. 2020, appendix C)
SHORTEST = 8

Kind: TypeAlias = Literal["exact", "normalised", "ngram", "near"]
KINDS: tuple[Kind, ...] = ("exact", "normalised", "ngram", "near")  # the strongest first
_Words: TypeAlias = NDArray[np.uint64]

_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64
_PIECE = 1 << 22  # bytes of text hashed at a time: about 150 MB of intermediate arrays
_BLOOM_BITS = 25
_NOT_WORD = re.compile(r"[\W_]+")
_ASCII_FOLD = bytes(
    ord(chr(code).lower()) if code < 128 and chr(code).isalnum() else 32 for code in range(256)
)


@dataclass(frozen=True)
class Leak:
    """One document of the pool that holds protected text.

    Attributes:
        id: the document's id.
        kind: `exact`, `normalised` (equal after folding), `ngram` (a run of words) or `near` (most
            of a text's pairs of words).
        where: id of the protected document.
        share: of the protected text's telling pairs, how many were found (`near`); else 1.
    """

    id: str
    kind: Kind
    where: str
    share: float = 1.0


def folded(text: str) -> str:
    """Returns the words of a text in lower case, one space apart, without punctuation."""
    if text.isascii():
        return " ".join(text.encode().translate(_ASCII_FOLD).decode().split())
    return _NOT_WORD.sub(" ", text.casefold()).strip()


def leaks(pool: Corpus, protected: Corpus) -> list[Leak]:
    """Returns the documents of `pool` that hold text of `protected`, each once, in order.

    Of a pair both texts are protected, each for itself. The kind is the strongest that applies.
    """
    if len(pool) == 0 or len(protected) == 0:
        return []
    texts = protected.texts
    owners = protected.ids
    if protected.texts_b is not None:
        texts, owners = texts + protected.texts_b, owners + owners
    known = [folded(text) for text in texts]
    whole: dict[str, int] = {}
    for row, text in enumerate(known):
        whole.setdefault(text, row)
    whole.pop("", None)
    literal = set(texts)
    windows = {length: _Windows.of(known, length) for length in _lengths(known)}
    telling = Known.of(known)
    found: list[Leak] = []
    pool_texts, ids = pool.texts, pool.ids
    for first, piece in _pieces(pool_texts):
        contained: dict[int, int] = {}
        flat = _Flat(piece)
        for table in windows.values():
            for document, owner in table.matches(flat, piece, known):
                contained[document] = min(owner, contained.get(document, owner))
        near: dict[int, tuple[float, int]] = {}
        for document, owner, share in repeats(piece, telling):
            near[document] = max((share, owner), near.get(document, (0.0, 0)))
        for offset, text in enumerate(piece):
            row = first + offset
            if text in whole:
                kind: Kind = "exact" if pool_texts[row] in literal else "normalised"
                found.append(Leak(ids[row], kind, owners[whole[text]]))
            elif offset in contained:
                found.append(Leak(ids[row], "ngram", owners[contained[offset]]))
            elif offset in near:
                share, owner = near[offset]
                found.append(Leak(ids[row], "near", owners[owner], share))
    return found


def without_leaks(pool: Corpus, found: Sequence[Leak]) -> Corpus:
    """Returns the pool without the documents that leak."""
    gone = {leak.id for leak in found}
    return pool.take([row for row, key in enumerate(pool.ids) if key not in gone])


def _lengths(known: Sequence[str]) -> list[int]:
    words = {min(text.count(" ") + 1, RUN) for text in known}
    return sorted(length for length in words if length >= SHORTEST)


def _pieces(texts: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    first, piece, size = 0, list[str](), 0
    for row, text in enumerate(texts):
        piece.append(folded(text))
        size += len(text)
        if size >= _PIECE:
            yield first, piece
            first, piece, size = row + 1, [], 0
    if piece:
        yield first, piece


@dataclass
class _Flat:
    """Folded texts as one run of bytes, with the place and the document of every word.

    The hash of bytes a..b is (H[b] - H[a]) * B^-a, where H[i] = sum over j < i of (byte_j + 1) *
    B^j, all modulo 2^64.
    """

    texts: Sequence[str]
    starts: NDArray[np.int64] = field(init=False)
    ends: NDArray[np.int64] = field(init=False)
    documents: NDArray[np.int64] = field(init=False)
    prefix: _Words = field(init=False)
    inverse: _Words = field(init=False)

    def __post_init__(self) -> None:
        data = np.frombuffer(("\n".join(self.texts) + "\n").encode(), dtype=np.uint8)
        # Folded texts hold single spaces only; an empty text leaves a line break right after
        # another.
        breaks = np.flatnonzero((data == 32) | (data == 10))
        before = np.concatenate(([-1], breaks[:-1]))
        lines = np.cumsum(data[breaks] == 10) - (data[breaks] == 10)
        filled = breaks > before + 1
        self.starts, self.ends, self.documents = (before + 1)[filled], breaks[filled], lines[filled]
        powers, self.inverse = _powers(len(data))
        self.prefix = np.zeros(len(data) + 1, dtype=np.uint64)
        np.cumsum((data.astype(np.uint64) + np.uint64(1)) * powers, out=self.prefix[1:])

    def hashes(self, length: int) -> tuple[_Words, NDArray[np.int64]]:
        """Returns hash and first word of every window of `length` words within one document."""
        last = np.arange(length - 1, len(self.starts))
        first = last - (length - 1)
        first = first[self.documents[first] == self.documents[last]]
        start, end = self.starts[first], self.ends[first + length - 1]
        return (self.prefix[end] - self.prefix[start]) * self.inverse[start], first


_power_cache: dict[str, tuple[_Words, _Words]] = {}


def _powers(size: int) -> tuple[_Words, _Words]:
    """Returns B^0 .. B^(size-1) and their inverses modulo 2^64; the longest so far is kept."""
    if "longest" not in _power_cache or len(_power_cache["longest"][0]) < size:
        powers, inverse = (
            np.full(size, _BASE, dtype=np.uint64),
            np.full(size, pow(_BASE, -1, 2**64), dtype=np.uint64),
        )
        powers[0] = inverse[0] = 1
        _power_cache["longest"] = (
            np.cumprod(powers, dtype=np.uint64),
            np.cumprod(inverse, dtype=np.uint64),
        )
    powers, inverse = _power_cache["longest"]
    return powers[:size], inverse[:size]


@dataclass(frozen=True)
class _Windows:
    """The windows of one length of the protected texts, sorted by hash."""

    length: int
    hashes: _Words
    owners: NDArray[np.int64]
    bloom: NDArray[np.bool_]

    @staticmethod
    def of(known: Sequence[str], length: int) -> _Windows:
        # Windows shorter than a full run stand for whole short texts only.
        rows = [
            row for row, text in enumerate(known) if length == RUN or text.count(" ") + 1 == length
        ]
        flat = _Flat([known[row] for row in rows])
        hashes, first = flat.hashes(length)
        owners = np.array(rows, dtype=np.int64)[flat.documents[first]]
        order = np.argsort(hashes, kind="stable")
        bloom = np.zeros(1 << _BLOOM_BITS, dtype=bool)
        bloom[hashes >> np.uint64(64 - _BLOOM_BITS)] = True
        return _Windows(length, hashes[order], owners[order], bloom)

    def matches(
        self, flat: _Flat, piece: Sequence[str], known: Sequence[str]
    ) -> Iterator[tuple[int, int]]:
        """Returns (document of the piece, protected row) for every confirmed shared window."""
        hashes, first = flat.hashes(self.length)
        maybe = np.flatnonzero(self.bloom[hashes >> np.uint64(64 - _BLOOM_BITS)])
        hashes, first = hashes[maybe], first[maybe]
        place = np.searchsorted(self.hashes, hashes)
        inside = place < len(self.hashes)
        hit = np.flatnonzero(inside)[self.hashes[place[inside]] == hashes[inside]]
        confirmed: set[tuple[int, int]] = set()
        for at in hit.tolist():
            document, owner = int(flat.documents[first[at]]), int(self.owners[place[at]])
            if (document, owner) in confirmed:
                continue
            word = int(first[at] - np.searchsorted(flat.documents, document))
            window = " ".join(piece[document].split(" ")[word : word + self.length])
            if f" {window} " in f" {known[owner]} ":
                confirmed.add((document, owner))
                yield document, owner
