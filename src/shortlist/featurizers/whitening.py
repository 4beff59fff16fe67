"""Whitening: a linear map, learned from the pool's covariance, to variance 1 in all directions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from shortlist.core import Corpus
from shortlist.errors import InvalidInput
from shortlist.featurizers.base import Featurizer, Requirements
from shortlist.runtime import Runtime
from shortlist.settings import Share
from shortlist.vectors import row_slices

Kind = Literal["zca", "pca"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_ROWS = 8192  # rows read at a time
_NEGLIGIBLE = 1e-10  # of the largest variance: below it a direction is rounding, not data


class Whitened(Featurizer):
    """Vectors of `inner`, centred and scaled so that the pool has equal variance in all directions.

    `compute` returns those of `inner`: they are stored once, under the key they have without
    whitening. The stage `whitening` then learns the map from the pool's vectors and applies it to
    pool and target.

    Formula:
        v(x) = (inner(x) - mean) U diag(s^-1/2) U^T, s = (1 - shrinkage) l + shrinkage mean(l)

        U and l are the eigenvectors and eigenvalues of the pool's covariance; `pca` leaves out U^T.

    Paper:
        Kessy, Lewin and Strimmer 2018 (ZCA); the shrinkage target is that of Ledoit and Wolf 2004.

    Deviations:
        The weight of the shrinkage is a setting in place of an estimate.

    Cost:
        Two readings of the vectors and one eigendecomposition of a (d, d) matrix.
    """

    inner: Featurizer

    def __init__(self, inner: Featurizer, kind: Kind, shrinkage: Share, normalise: bool) -> None:
        """Stores the settings.

        Args:
            inner: the featurizer whose vectors are whitened.
            kind: `zca` or `pca`.
            shrinkage: weight of the mean variance, 0 to 1; see `learn`.
            normalise: scale whitened vectors to length 1 (TAROT does).

        Raises:
            InvalidInput: a vector of `inner` holds AdamW's step beside the gradient.
        """
        if getattr(inner, "adam", False):
            raise InvalidInput(
                "featurizer.inner gives AdamW's steps and gradients side by side, which one whitening "
                "would mix; set featurizer.inner.adam=false"
            )
        self.inner = inner
        self.kind: Kind = kind
        self.shrinkage, self.normalise = shrinkage, normalise

    def requirements(self) -> Requirements:
        """Returns the requirements of `inner`; the whitening is learned from its vectors."""
        return self.inner.requirements()

    def identity(self, runtime: Runtime) -> dict[str, str]:
        """Returns the identity of `inner`."""
        return self.inner.identity(runtime)

    def compute(
        self, corpus: Corpus, directory: Path, runtime: Runtime
    ) -> tuple[NDArray[Any] | csr_array, dict[str, Any]]:
        """Returns what `inner` computes."""
        return self.inner.compute(corpus, directory, runtime)

    def whitening(self, pool: NDArray[Any] | csr_array) -> Whitening:
        """Returns the map learned from the pool's (n, d) vectors.

        Raises:
            InvalidInput: they are sparse, and would no longer be once centred.
        """
        if not isinstance(pool, np.ndarray):
            raise InvalidInput(
                "dense vectors were expected for whitening, found counts; choose another featurizer.inner"
            )
        return learn(pool, self.kind, self.shrinkage)

    def apply(self, learned: Whitening, values: NDArray[Any]) -> NDArray[np.float32]:
        """Returns the whitened rows; a row at the mean stays the zero vector."""
        rows = learned.apply(values)
        if self.normalise:
            rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return rows


@dataclass(frozen=True)
class Whitening:
    """The map x -> (x - mean) matrix.

    Attributes:
        mean: (d,) float64.
        matrix: (d, d) float64 for ZCA, (d, rank) for PCA.
        rank: number of directions in which the vectors vary.
    """

    mean: NDArray[np.float64]
    matrix: NDArray[np.float64]
    rank: int

    def apply(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Returns the (n, columns of `matrix`) whitened rows, computed in float64."""
        return ((values.astype(np.float64) - self.mean) @ self.matrix).astype(np.float32)


def learn(values: NDArray[Any], kind: Kind, shrinkage: float) -> Whitening:
    """Returns the whitening of (n, d) vectors, in two readings of them.

    With covariance S (denominator n) = U diag(l) U^T over the `rank` directions of positive
    variance, and s = (1 - shrinkage) l + shrinkage mean(l): ZCA is U diag(s^-1/2) U^T, the map
    nearest to the identity (Kessy, Lewin, Strimmer 2018), PCA is U diag(s^-1/2). Without shrinkage
    the whitened covariance is the identity on the span; directions outside it (fewer vectors than
    dimensions, columns that repeat) become 0. Shrinkage toward the mean variance limits how much
    directions of little variance are magnified (the target of Ledoit and Wolf 2004; its weight is a
    setting here).

    Args:
        values: (n, d) vectors, dense; a memory map is read block by block.
        kind: `zca` or `pca`.
        shrinkage: weight of the mean variance, 0 to 1.

    Raises:
        InvalidInput: all vectors are equal, or a number is not finite.
    """
    if kind not in KINDS:
        raise InvalidInput(f"whitening must be one of {', '.join(KINDS)}, found {kind!r}")
    if not 0 <= shrinkage <= 1:
        raise InvalidInput(f"shrinkage must lie between 0 and 1, found {shrinkage}")
    n, d = values.shape
    mean = np.zeros(d)
    for rows in row_slices(n, _ROWS):
        mean += np.asarray(values[rows]).sum(axis=0, dtype=np.float64) / n
    if not np.isfinite(mean).all():
        raise InvalidInput("finite vectors were expected for whitening, found others")
    covariance = np.zeros((d, d))
    for rows in row_slices(n, _ROWS):  # a second reading: E xx^T - mean mean^T would cancel digits
        centred = np.asarray(values[rows]).astype(np.float64) - mean
        covariance += centred.T @ centred / n
    variances, directions = np.linalg.eigh(covariance)
    kept = variances > _NEGLIGIBLE * max(float(variances[-1]), 0.0)
    if not kept.any():
        raise InvalidInput(f"vectors that differ were expected for whitening, found {n} equal ones")
    variances, directions = variances[kept][::-1], directions[:, kept][:, ::-1]
    scaled = directions / np.sqrt((1 - shrinkage) * variances + shrinkage * variances.mean())
    matrix = scaled @ directions.T if kind == "zca" else scaled
    return Whitening(mean, matrix, int(kept.sum()))
