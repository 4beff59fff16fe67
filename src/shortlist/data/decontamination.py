"""Leaks: documents of the pool that repeat a protected text (validation, test; on demand, targets).

After folding case, punctuation and space, a document leaks if
- it equals a protected text (`exact`, `normalised`),
- it shares `RUN` consecutive words with one, or contains a whole one of `SHORTEST` to `RUN` - 1
  words (`ngram`); shorter texts ("I agree.") leak only by equality,
- it paraphrases one (`near`): see `Pairs`,
- its embedding has nearly the direction of one's (`semantic`), if that is asked for.

Runs and pairs of words are compared by 64-bit hashes. A shared run is confirmed on the text; a
chance match of as many pairs as a leak needs does not occur.
"""
# numba carries no type stubs: the checker does not know what its decorator returns.
# pyright: reportUntypedFunctionDecorator=false

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shortlist.core import Corpus
from shortlist.data.near_copies import BREAK, SPACE, as_lines, fold, pieces, word_runs
from shortlist.data.semantic_copies import nearest, reaches
from shortlist.data.splits import Split, TaskData
from shortlist.kernels.hashing import FNV_BASIS, compiled, fnv1a, mix

RUN = 13  # consecutive words, as in the decontamination of GPT-3 (Brown et al. 2020, appendix C)
SHORTEST = 8  # words

REACH = 3  # places between the words of a pair
COMMON = 10  # distinct protected texts; a pair that more of them hold is not counted
FEWEST = 20  # counted pairs of a text that can be paraphrased
BASE, SHARE = 8, 0.3  # a paraphrase holds BASE + SHARE * (number of counted pairs) of them
STRETCH = 2  # lengths of the text within which a paraphrase holds them

Kind: TypeAlias = Literal["exact", "normalised", "ngram", "near", "semantic"]
KINDS: tuple[Kind, ...] = ("exact", "normalised", "ngram", "near", "semantic")  # strongest first
_Hashes: TypeAlias = NDArray[np.uint64]
_Rows: TypeAlias = NDArray[np.int64]

_PIECE = 1 << 22  # characters folded and hashed at a time
_WINDOW_BITS, _PAIR_BITS = 25, 24  # of the Bloom filters, which hold the upper bits of the hashes
_WINDOW_SHIFT, _PAIR_SHIFT = np.uint64(64 - _WINDOW_BITS), np.uint64(64 - _PAIR_BITS)


@dataclass(frozen=True)
class Leak:
    """One document of the pool that repeats protected text.

    Attributes:
        id: the document's id.
        kind: `exact`, `normalised` (equal after folding), `ngram` (a run of words), `near` (a
            paraphrase) or `semantic` (nearly the direction of its embedding).
        where: id of the protected document.
        share: share of the protected text's counted pairs that the document holds (`near`), cosine
            of the embeddings (`semantic`); else 1.
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
    for first, texts_of_piece in pieces(pool_texts, _PIECE):
        piece = list(map(fold, texts_of_piece))
        contained: dict[int, int] = {}
        data = as_lines(piece)
        for table in windows:
            for document, owner in table.matches(data, piece, known):
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


def find_semantic_leaks(
    pool: Corpus,
    vectors: NDArray[Any],
    protected: Sequence[str],
    protected_vectors: NDArray[Any],
    threshold: float,
) -> list[Leak]:
    """Returns the documents of `pool` whose embedding has a cosine of at least `threshold` with
    that of a protected text, each once with the text of largest cosine, in pool order.

    Args:
        pool: n documents.
        vectors: (n, d) their embeddings.
        protected: the ids of m protected texts; both texts of a pair have its id.
        protected_vectors: (m, d) their embeddings.
        threshold: above 0, so that a zero vector is no leak.
    """
    if len(pool) == 0 or len(protected) == 0:
        return []
    owners, cosines = nearest(vectors, protected_vectors)
    return [
        Leak(pool.ids[row], "semantic", protected[int(owners[row])], min(float(cosines[row]), 1.0))
        for row in np.flatnonzero(reaches(cosines, threshold))
    ]


@dataclass(frozen=True)
class Overlap:
    """Examples of one split of a task that repeat texts of another.

    Attributes:
        split: the split.
        of: the split whose texts they repeat.
        examples: number of examples of `split`.
        exact: of these, how many equal a text of `of`, case, punctuation and space aside.
        near: how many others share a long run of words with one, or paraphrase it.
    """

    split: Split
    of: Split
    examples: int
    exact: int
    near: int


def find_repeats(rows: Corpus, of: Corpus) -> list[Leak]:
    """Returns the rows of a split that repeat text of another split, in order; of a pair both texts
    are compared as one.
    """
    return find_leaks(_with_pairs_joined(rows), _with_pairs_joined(of))


def _with_pairs_joined(corpus: Corpus) -> Corpus:
    """Returns the rows under their ids, the texts of a pair as one text."""
    if corpus.texts_b is None:
        return corpus
    place = corpus.table.column_names.index("text")
    texts = corpus.table.set_column(place, "text", pa.array(corpus.joined(), pa.string()))
    return Corpus(texts.drop_columns(["text_b"]))


def find_overlaps(data: TaskData) -> list[Overlap]:
    """Returns how splits of a task repeat each other, where they do; see `find_repeats`."""
    found: list[Overlap] = []
    pairs: tuple[tuple[Split, Split], ...] = (
        ("validation", "train"),
        ("test", "train"),
        ("test", "validation"),
    )
    for split, other in pairs:
        rows = data.split(split)
        kinds = [leak.kind for leak in find_repeats(rows, data.split(other))]
        exact = kinds.count("exact") + kinds.count("normalised")
        if kinds:
            found.append(Overlap(split, other, len(rows), exact, len(kinds) - exact))
    return found


@dataclass(frozen=True)
class _Windows:
    """The runs of `length` words of the protected texts, sorted by hash.

    They are those of the texts of at least `RUN` words, or whole texts of exactly `length` words.
    """

    length: int
    hashes: _Hashes
    owners: _Rows
    bloom: NDArray[np.bool_]

    @staticmethod
    def of(known: Sequence[str], length: int) -> _Windows:
        rows = [row for row, text in enumerate(known) if min(text.count(" ") + 1, RUN) == length]
        hashes, lines, _ = word_runs(as_lines(known[row] for row in rows), length)
        order = np.argsort(hashes, kind="stable")
        bloom = np.zeros(1 << _WINDOW_BITS, dtype=bool)
        bloom[hashes >> _WINDOW_SHIFT] = True
        return _Windows(length, hashes[order], np.array(rows)[lines[order]], bloom)

    def matches(
        self, data: NDArray[np.uint8], piece: Sequence[str], known: Sequence[str]
    ) -> Iterator[tuple[int, int]]:
        """Returns (document of the piece, protected row) for every confirmed shared window."""
        hashes, documents, starts = word_runs(data, self.length)
        maybe = np.flatnonzero(self.bloom[hashes >> _WINDOW_SHIFT])
        place = np.searchsorted(self.hashes, hashes[maybe])
        hits = self.hashes[np.minimum(place, len(self.hashes) - 1)] == hashes[maybe]
        confirmed: set[tuple[int, int]] = set()
        for at, owner in zip(maybe[hits].tolist(), self.owners[place[hits]].tolist(), strict=True):
            document, start = int(documents[at]), int(starts[at])
            if (document, owner) in confirmed:
                continue
            window = " ".join(piece[document].split(" ")[start : start + self.length])
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
    the text, holds `BASE` + `SHARE` * (their number) of them. `BASE` keeps a stock phrase
    ("approved by the local ethics committee") from matching a short text.

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
        hashes, line, _ = _pairs(as_lines([texts[int(row)] for row in rows]))
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
        hashes, _, places = _pairs(as_lines([document]))
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
        as_lines(piece), pairs.keys, pairs.starts, pairs.owners, pairs.bloom, pairs.needed
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
        breaks += byte in (SPACE, BREAK)
    hashes = np.empty(breaks * REACH, dtype=np.uint64)
    lines = np.empty(breaks * REACH, dtype=np.int64)
    places = np.empty(breaks * REACH, dtype=np.int64)
    recent = np.zeros(REACH, dtype=np.uint64)
    n, line, place, word, filled = 0, 0, 0, FNV_BASIS, False
    for byte in data:
        if byte != SPACE and byte != BREAK:
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
        if byte == BREAK:
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
