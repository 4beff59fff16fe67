"""Ridge regression on hashed n-grams of words."""
# scipy.sparse has no type stubs: the types of its results are unknown.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.linalg import lsqr

from shortlist.distil.arrays import write_arrays
from shortlist.distil.base import NO_HINTS, Description, Distiller, Hints, Scorer
from shortlist.kernels.ngrams import bucket_cache, count_ngrams
from shortlist.kernels.words import text_batch
from shortlist.models.linear import unit
from shortlist.settings import Count, Positive

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from numpy.typing import NDArray

_STEPS = 200  # of LSQR, which ends before where it has converged
_TOLERANCE = 1e-5


@dataclass(frozen=True)
class LinearScorer(Scorer):
    """A weight for each bucket of hashed n-grams.

    Attributes:
        weights: (buckets,) float32 weight of an n-gram.
        rarity: (buckets,) float32 factor of its count; 0 where it was not learned from.
        bias: the score of a text without a known n-gram.
    """

    weights: NDArray[np.float32]
    rarity: NDArray[np.float32]
    bias: float

    def score(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Returns the (n,) scores."""
        counts = ngrams(texts, self.description.settings, self._cache)
        return weighted(counts, self.rarity) @ self.weights.astype(np.float64) + self.bias

    @cached_property
    def _cache(self) -> NDArray[np.uint64]:
        return bucket_cache()

    def write(self, path: Path) -> None:
        """Writes the file."""
        arrays = {"weights": self.weights, "rarity": self.rarity, "bias": np.array([self.bias])}
        write_arrays(path, self.description, arrays)

    @classmethod
    def of(cls, description: Description, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Returns the scorer that a file holds."""
        return cls(description, arrays["weights"], arrays["rarity"], float(arrays["bias"][0]))


@dataclass(frozen=True)
class Linear(Distiller):
    """Ridge regression on hashed n-grams of words.

    Formula:
        score(x) = w . u(x) + b with u(x) = v(x) / |v(x)|, v_k(x) = (1 + log c_k(x)) r_k, c_k the
        count of n-grams in bucket k and r_k = 1 + log(n / n_k), n_k of the n documents that were
        learned from having one; w minimises sum_i (w . u(x_i) + b - y_i)^2 + ridge |w|^2, y the
        normal scores of the method's ranks, b their mean

    Attributes:
        max_n: n-grams of 1 to `max_n` words are counted.
        buckets: number of buckets that they are hashed into.
        max_chars: so many characters of a document are read.
        ridge: the penalty.
    """

    max_n: Count
    buckets: Count
    max_chars: Count
    ridge: Positive

    def learn(
        self, texts: Sequence[str], wanted: NDArray[np.float64], hints: Hints = NO_HINTS
    ) -> LinearScorer:
        """Returns the scorer."""
        settings = {"max_n": self.max_n, "buckets": self.buckets, "max_chars": self.max_chars}
        counts = ngrams(texts, settings)
        documents = np.bincount(counts.indices, minlength=self.buckets)
        seen = documents > 0
        rarity = np.zeros(self.buckets, np.float32)
        rarity[seen] = 1 + np.log(len(texts) / documents[seen])
        bias = float(wanted.mean())
        weights = ridge_weights(weighted(counts, rarity), wanted - bias, self.ridge)
        description = Description("linear", settings)
        return LinearScorer(description, weights.astype(np.float32), rarity, bias)


def ngrams(
    texts: Sequence[str], settings: Mapping[str, Any], cache: NDArray[np.uint64] | None = None
) -> csr_array:
    """Returns the (n, buckets) counts of n-grams of words; see `Linear` and `count_ngrams`."""
    parts = [text[: settings["max_chars"]].encode("utf-8", "replace") for text in texts]
    ends = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    batch = text_batch(np.frombuffer(b"".join(parts), dtype=np.uint8), ends)
    found = count_ngrams(batch, settings["max_n"], settings["buckets"], cache)
    return csr_array(found, shape=(len(texts), settings["buckets"]))


def weighted(counts: csr_array, rarity: NDArray[np.float32]) -> csr_array:
    """Returns the (n, buckets) rows u(x) of `Linear`."""
    data = (1 + np.log(counts.data)) * rarity[counts.indices]
    return unit(csr_array((data, counts.indices, counts.indptr), shape=counts.shape), np.float32)


def ridge_weights(
    values: csr_array, wanted: NDArray[np.float64], penalty: float
) -> NDArray[np.float64]:
    """Returns the (d,) weights w that minimise |values w - wanted|^2 + penalty |w|^2, by LSQR
    (Paige and Saunders 1982).
    """
    damp = penalty**0.5
    return lsqr(values, wanted, damp, atol=_TOLERANCE, btol=_TOLERANCE, iter_lim=_STEPS)[0]
