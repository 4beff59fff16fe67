"""Vectors of any kind on a plane."""
# The stubs of scikit-learn and scipy leave these unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_LATENT = 64  # dimensions that sparse vectors are brought to first


class Plane(NamedTuple):
    """Where vectors lie on the plane of their two principal components.

    Attributes:
        places: (n, 2).
        explained: share of the variance along each axis, (2,).
    """

    places: NDArray[np.float64]
    explained: NDArray[np.float64]


def plane(values: Any, fitted: int) -> Plane:
    """Returns all rows on the two principal components of the first `fitted` rows.

    CSR rows are scaled to length one (counts would show lengths) and brought to 64 dimensions by a
    truncated SVD of the fitted rows. The sign of an axis is such that its largest weight is
    positive, so that equal vectors give equal pictures.

    Args:
        values: (n, d), dense or CSR.
        fitted: how many of the rows decide the axes.
    """
    dense = values.astype(np.float64) if isinstance(values, np.ndarray) else _latent(values, fitted)
    centred = dense - dense[:fitted].mean(axis=0)
    _, lengths, axes = np.linalg.svd(centred[:fitted], full_matrices=False)
    axes = np.vstack([axes, np.zeros((2, axes.shape[1]))])[:2]
    strongest = axes[np.arange(2), np.abs(axes).argmax(axis=1)]
    axes = axes * np.where(strongest < 0, -1.0, 1.0)[:, None]
    squares = np.append(lengths**2, [0.0, 0.0])
    return Plane(centred @ axes.T, squares[:2] / max(float(squares.sum()), 1e-300))


def _latent(values: Any, fitted: int) -> NDArray[np.float64]:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.preprocessing import normalize

    rows: Any = normalize(values)
    size = max(1, min(_LATENT, rows.shape[1] - 1, fitted - 1))
    return TruncatedSVD(size, random_state=0).fit(rows[:fitted]).transform(rows)
