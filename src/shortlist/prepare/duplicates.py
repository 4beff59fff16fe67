"""Duplicates within a collection: exact, near (MinHash) and semantic (cosine of embeddings).

Of duplicates one stays, chosen by its text alone, so that the order of the documents has no effect.
Copies of validation and test texts are found by `data.decontamination` in every cell; copies of
target texts, and copies in meaning, where `leaks.targets` and `leaks.semantic` are set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shortlist.core import Corpus, document_id
from shortlist.data.near_copies import clusters, fold
from shortlist.data.semantic_copies import repeats_an_earlier, spherical_kmeans
from shortlist.errors import InvalidInput, near
from shortlist.featurizers.base import Featurizer, embed
from shortlist.prepare.base import CollectionOperation, Verdict
from shortlist.runtime import Runtime
from shortlist.settings import Count

_SMALLEST = 64  # documents of a cluster, on average
_RANK: Mapping[str, Callable[[str], int]] = {
    "longest": lambda text: -len(text),
    "shortest": len,
    "hash": lambda text: 0,
}


@dataclass(frozen=True)
class ExactDuplicates(CollectionOperation):
    """Keeps one of the documents with equal text.

    Attributes:
        normalised: whether case, punctuation and white space are ignored.
        keep: which one stays: `longest`, `shortest` or `hash`, which breaks ties in any case.
    """

    normalised: bool
    keep: str

    def __post_init__(self) -> None:
        _check(self.keep)

    def apply(self, texts: Sequence[str]) -> list[Verdict]:
        """Rule: `duplicate`. Texts without a word are compared as they are."""
        first: dict[str, int] = {}
        keys = [(fold(text) or text) if self.normalised else text for text in texts]
        labels = [first.setdefault(key, row) for row, key in enumerate(keys)]
        return _keep_one(texts, labels, self.keep)


@dataclass(frozen=True)
class NearDuplicates(CollectionOperation):
    """Keeps one of the documents that share most of their shingles (`data.near_copies`).

    A pair of Jaccard similarity s becomes a candidate with probability 1 - (1 - s^rows)^bands and
    is then compared exactly; connected pairs are one cluster.

    Attributes:
        threshold: least Jaccard similarity of the sets of five-word shingles.
        bands: number of bands of the MinHash signature.
        rows: hashes per band.
        keep: which one of a cluster stays, as in `ExactDuplicates`.
    """

    threshold: float
    bands: int
    rows: int
    keep: str

    def __post_init__(self) -> None:
        _check(self.keep)
        if not 0 < self.threshold <= 1 or min(self.bands, self.rows) < 1:
            raise InvalidInput(
                "near_duplicates needs a threshold above 0 and at most 1, and bands and rows of at "
                f"least 1, found {self.threshold:g}, {self.bands} and {self.rows}"
            )

    def apply(self, texts: Sequence[str]) -> list[Verdict]:
        """Rule: `near_duplicate`."""
        found = clusters(texts, self.threshold, self.bands, self.rows)
        return _keep_one(texts, found.labels.tolist(), self.keep, "near_duplicate")


@dataclass(frozen=True)
class SemanticDuplicates(CollectionOperation):
    """Drops documents whose embedding is nearly that of another one (SemDeDup, Abbas et al. 2023,
    arXiv:2303.09540).

    A document is dropped if its cosine with an earlier one reaches the threshold, in the order of
    `keep`. By default all pairs are compared, in blocks: 30,000 vectors take some ten seconds.
    With `clusters`, as in SemDeDup, only pairs within a cluster of spherical k-means are; a pair
    that lies in two clusters is missed.

    Attributes:
        featurizer: computes the vectors; it must not need training.
        threshold: least cosine; 1 - epsilon in the paper's terms.
        keep: the order, as in `ExactDuplicates`; ties are broken by hash.
        clusters: number of clusters, at most one for 64 documents; with a single one all pairs are
            compared. Documents are clustered anew until no further one is dropped. None for all
            pairs.
    """

    featurizer: Featurizer
    threshold: float
    keep: str
    clusters: Count | None = None

    def __post_init__(self) -> None:
        _check(self.keep)
        if not 0 < self.threshold <= 1:
            raise InvalidInput(
                "semantic_duplicates.threshold must be a cosine above 0 and at most 1, found "
                f"{self.threshold:g}"
            )
        if self.featurizer.requirements().any or self.featurizer.inner is not None:
            raise InvalidInput(
                "semantic_duplicates.featurizer takes vectors as they are, found "
                f"{type(self.featurizer).__name__} with something to learn first"
            )

    def identity(self) -> dict[str, str]:
        """Returns the digests of the embedding model."""
        return self.featurizer.identity(Runtime(progress=False))

    def apply(self, texts: Sequence[str]) -> list[Verdict]:
        """Rule: `semantic_duplicate`. A document whose vector is zero is a duplicate of none."""
        if not texts:
            return []
        readable = [text.encode("utf-8", "replace").decode() for text in texts]
        corpus, runtime = Corpus.build(readable), Runtime(progress=False)
        vectors = embed(self.featurizer, corpus, runtime, "semantic_duplicates.featurizer")
        order = _order(texts, self.keep)
        repeated = np.zeros(len(texts), dtype=bool)
        left = order  # a second preparation would cluster these, and drops nothing
        while len(left):
            clusters = min(self.clusters or 1, len(left) // _SMALLEST)
            labels = spherical_kmeans(vectors[left], clusters).labels if clusters > 1 else None
            again = repeats_an_earlier(vectors[left], self.threshold, labels)
            repeated[left[again]] = True
            left = left[~again]
            if labels is None or not again.any():
                break
        return [
            Verdict(text, ("semantic_duplicate",) if again else ())
            for text, again in zip(texts, repeated, strict=True)
        ]


def _check(keep: str) -> None:
    if keep not in _RANK:
        raise InvalidInput(f"keep: expected a policy, found {keep!r}; {near(keep, _RANK)}")


def _order(texts: Sequence[str], keep: str) -> NDArray[np.int64]:
    """Returns the rows in the order of the policy; equal texts in the order of their rows."""
    keys = [(_RANK[keep](text), document_id(text)) for text in texts]
    return np.array(sorted(range(len(texts)), key=keys.__getitem__), dtype=np.int64)


def _keep_one(
    texts: Sequence[str], labels: Sequence[int], keep: str, rule: str = "duplicate"
) -> list[Verdict]:
    """Returns the verdicts that drop all documents of a cluster but the first by the policy."""
    members: dict[int, list[int]] = {}
    for row, label in enumerate(labels):
        members.setdefault(label, []).append(row)
    dropped: set[int] = set()
    for rows in members.values():
        if len(rows) > 1:
            first = rows[int(_order([texts[row] for row in rows], keep)[0])]
            dropped.update(row for row in rows if row != first)
    return [Verdict(text, (rule,) if row in dropped else ()) for row, text in enumerate(texts)]
