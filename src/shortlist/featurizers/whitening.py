"""Vectors whose directions all weigh the same: a linear map learned from the pool's covariance."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from shortlist.errors import InvalidInput

Kind = Literal["zca", "pca"]
KINDS: tuple[Kind, ...] = ("zca", "pca")

_CHUNK = 8192
_NOTHING = 1e-10  # of the largest variance: below it a direction is rounding, not data


@dataclass(frozen=True)
class Whitening:
    """x -> (x - mean) matrix.

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


def blocks(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Returns consecutive rows of an array that may be larger than memory."""
    for start in range(0, len(values), _CHUNK):
        yield np.asarray(values[start : start + _CHUNK])


def learn(values: NDArray[Any], kind: Kind, shrinkage: float) -> Whitening:
    """Returns the whitening of (n, d) vectors, in two readings of them.

    With covariance S (denominator n) = U diag(l) U^T over the `rank` directions in which there is any
    variance, and s = (1 - shrinkage) l + shrinkage mean(l): ZCA is U diag(s^-1/2) U^T, the map nearest
    to none (Kessy, Lewin, Strimmer 2018), PCA is U diag(s^-1/2). Without shrinkage the
    whitened covariance is the identity on the span; directions outside it (fewer vectors than
    dimensions, columns that repeat) become 0, not noise blown up. Shrinkage keeps directions of
    little variance from being taken for as important as the others (Ledoit and Wolf 2004's target,
    its weight being a setting here).

    Args:
        values: (n, d) vectors, dense.
        kind: `zca` or `pca`.
        shrinkage: weight of the mean variance, 0 to 1.

    Raises:
        InvalidInput: there are no two different vectors, or a number is not finite.
    """
    if kind not in KINDS:
        raise InvalidInput(f"whitening must be one of {', '.join(KINDS)}, found {kind!r}")
    if not 0 <= shrinkage <= 1:
        raise InvalidInput(f"shrinkage must lie between 0 and 1, found {shrinkage}")
    n, d = values.shape
    mean = np.zeros(d)
    for block in blocks(values):
        mean += block.sum(axis=0, dtype=np.float64) / n
    if not np.isfinite(mean).all():
        raise InvalidInput("finite vectors were expected for whitening, found others")
    covariance = np.zeros((d, d))
    for block in blocks(values):  # a second reading: E xx^T - mean mean^T would cancel digits
        centred = block.astype(np.float64) - mean
        covariance += centred.T @ centred / n
    variances, directions = np.linalg.eigh(covariance)
    kept = variances > _NOTHING * max(float(variances[-1]), 0.0)
    if not kept.any():
        raise InvalidInput(f"vectors that differ were expected for whitening, found {n} equal ones")
    variances, directions = variances[kept][::-1], directions[:, kept][:, ::-1]
    scaled = directions / np.sqrt((1 - shrinkage) * variances + shrinkage * variances.mean())
    matrix = scaled @ directions.T if kind == "zca" else scaled
    return Whitening(mean, matrix, int(kept.sum()))
