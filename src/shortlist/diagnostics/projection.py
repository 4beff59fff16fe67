"""Two-dimensional map of pool, targets and selection."""
# The stubs of scikit-learn and scipy leave these unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

POOL, TARGET, PICKS = 1500, 400, 500  # documents shown at most
LATENT = 64  # dimensions that sparse vectors are reduced to first


@dataclass(frozen=True)
class SelectionMap:
    """Samples of pool, targets and selected documents on a plane.

    Attributes:
        places: (n, 2) float32 coordinates: of the pool, then of the targets, then of the selection.
        sizes: how many of each of the three are shown.
        totals: how many of each there are.
        explained: (2,) share of the variance along each axis.
    """

    places: NDArray[np.float32]
    sizes: Sequence[int]
    totals: Sequence[int]
    explained: Sequence[float]


def project_selection(
    pool: Any, targets: Sequence[Any], selected: NDArray[np.int64]
) -> SelectionMap:
    """Returns the map of pool, targets and selection.

    Samples of pool and targets decide the axes; they are the first by id, hence uniform. Of the
    selection every n-th document is shown, best first. The targets share `TARGET` places.

    Args:
        pool: (n, d) vectors of the pool, dense or CSR.
        targets: (m_t, d) vectors of each target in the same space.
        selected: (k,) rows of the selected documents, best first.
    """
    from scipy.sparse import vstack

    spread = np.linspace(0, len(selected) - 1, min(PICKS, len(selected))).round().astype(int)
    parts = [
        pool[:POOL],
        *(target[: TARGET // len(targets)] for target in targets),
        pool[selected[spread]],
    ]
    dense = isinstance(pool, np.ndarray)
    values: Any = np.concatenate(parts) if dense else vstack(parts, format="csr")
    shown = [int(part.shape[0]) for part in parts]
    sizes = [shown[0], sum(shown[1:-1]), shown[-1]]
    places, explained = principal_plane(values, sizes[0] + sizes[1])
    return SelectionMap(
        places.astype(np.float32),
        sizes,
        [int(pool.shape[0]), sum(int(target.shape[0]) for target in targets), len(selected)],
        explained.tolist(),
    )


def principal_plane(values: Any, fitted: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the (n, 2) coordinates of all rows on the first two principal components of the first
    `fitted` rows, and the (2,) shares of the variance that they explain.

    CSR rows are scaled to length 1 (counts would show text lengths) and reduced to `LATENT`
    dimensions by a truncated SVD of the fitted rows. The sign of an axis makes its largest loading
    positive, so that equal vectors give equal maps.

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
    return centred @ axes.T, squares[:2] / max(float(squares.sum()), 1e-300)


def _latent(values: Any, fitted: int) -> NDArray[np.float64]:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.preprocessing import normalize

    rows: Any = normalize(values)
    size = max(1, min(LATENT, rows.shape[1] - 1, fitted - 1))
    return TruncatedSVD(size, random_state=0).fit(rows[:fitted]).transform(rows)
