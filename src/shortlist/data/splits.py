"""Splits and samples by content and seed alone, and near-copies that cross a split."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from shortlist.core import Corpus
from shortlist.data.contamination import folded
from shortlist.errors import InvalidInput


def draw(key: str, seed: int) -> int:
    """Returns a number in [0, 2^64) that depends on `key` and `seed` alone."""
    raw = blake2b(
        key.encode("utf-8", "surrogatepass"),
        digest_size=8,
        salt=seed.to_bytes(16, "little", signed=True),
    )
    return int.from_bytes(raw.digest(), "little")


def sample_rows(ids: Sequence[str], size: int | None, seed: int) -> NDArray[np.int64]:
    """Returns the rows of a sample without replacement, ascending; all rows where `size` is None.

    Whether a document is in the sample depends on the set of ids, never on their order; a smaller
    sample lies within a larger one.
    """
    if size is not None and size < 0:
        raise InvalidInput(
            f"a sample needs a size of 0 or more, found {size}; set null to take everything"
        )
    if size is None or size >= len(ids):
        return np.arange(len(ids))
    order = sorted(range(len(ids)), key=lambda row: (draw(ids[row], seed), ids[row]))
    return np.sort(np.array(order[:size], dtype=np.int64))


def split_of(document: str, fractions: Mapping[str, float], seed: int) -> str:
    """Returns the split that a document belongs to, by the hash of its name.

    Args:
        document: name of the document; everything cut from it shares its split.
        fractions: share of documents per split; they sum to 1.
        seed: another seed is another split.

    Raises:
        InvalidInput: the fractions do not sum to 1.
    """
    total = sum(fractions.values())
    if abs(total - 1.0) > 1e-9 or min(fractions.values()) < 0:
        raise InvalidInput(
            f"split fractions must be 0 or more and sum to 1, found {dict(fractions)}, sum "
            f"{total:g}"
        )
    place, edge = draw(document, seed) / 2**64, 0.0
    for name, fraction in fractions.items():
        edge += fraction
        if place < edge:
            return name
    return list(fractions)[-1]  # the sum may fall short of 1 by a rounding error


@dataclass(frozen=True)
class NearCopy:
    """One text that nearly repeats another.

    Attributes:
        row: row of the text.
        of: row of the text it repeats, in the other sequence.
        jaccard: shared shingles over all shingles of the two.
        containment: shared shingles over those of the text with fewer.
    """

    row: int
    of: int
    jaccard: float
    containment: float


def near_copies(
    texts: Sequence[str],
    against: Sequence[str],
    *,
    words: int = 5,
    jaccard: float = 0.5,
    containment: float = 0.7,
) -> list[NearCopy]:
    """Returns, for each of `texts` that nearly repeats one of `against`, the closest such pair.

    Exact (an inverted index, no sketch): a pair counts if it reaches either threshold on the sets
    of word n-grams of the folded texts. Texts shorter than `words` have one shingle: the whole
    text.

    Args:
        texts: the texts that may have to go.
        against: the texts that stay.
        words: length of a shingle.
        jaccard: threshold on shared over all shingles.
        containment: threshold on shared shingles over those of the shorter text.
    """
    index: defaultdict[str, list[int]] = defaultdict(list)
    sizes: list[int] = []
    for row, text in enumerate(against):
        shingles = _shingles(text, words)
        sizes.append(len(shingles))
        for shingle in shingles:
            index[shingle].append(row)
    found: list[NearCopy] = []
    for row, text in enumerate(texts):
        shingles = _shingles(text, words)
        shared = Counter(other for shingle in shingles for other in index.get(shingle, ()))
        pairs = [
            NearCopy(
                row,
                other,
                n / (len(shingles) + sizes[other] - n),
                n / min(len(shingles), sizes[other]),
            )
            for other, n in shared.items()
        ]
        close = [
            pair for pair in pairs if pair.jaccard >= jaccard or pair.containment >= containment
        ]
        if close:
            found.append(max(close, key=lambda pair: (pair.jaccard, pair.containment, -pair.of)))
    return found


def without_near_copies(corpus: Corpus, *protected: Corpus) -> Corpus:
    """Returns `corpus` without the documents that nearly repeat one of the `protected` corpora."""
    against = [text for other in protected for text in other.texts]
    gone = {pair.row for pair in near_copies(corpus.texts, against)}
    return corpus.take([row for row in range(len(corpus)) if row not in gone])


def _shingles(text: str, words: int) -> set[str]:
    tokens = folded(text).split()
    if not tokens:
        return set()
    if len(tokens) < words:
        return {" ".join(tokens)}
    return {" ".join(tokens[start : start + words]) for start in range(len(tokens) - words + 1)}
