"""Kernel ridge regression whose penalty is chosen by leaving one point out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist, pdist, squareform

RIDGES = tuple(10.0**power for power in range(-6, 2))


@dataclass(frozen=True)
class KernelRegression:
    """A regression of numbers on points, with the kernel exp(-|x - y|^2 / (2 width^2)).

    Attributes:
        points: (n, d).
        weights: (n,) weight of each point's kernel.
        mean: of the numbers, to which predictions far from all points fall back.
        width: of the kernel: the median distance of two points.
        ridge: the penalty.
        left_out: (n,) prediction of each point by the regression on the others.
    """

    points: NDArray[np.float64]
    weights: NDArray[np.float64]
    mean: float
    width: float
    ridge: float
    left_out: NDArray[np.float64]

    def __call__(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the (k,) predictions for (k, d) points."""
        return (
            self.mean
            + _gaussian(np.asarray(cdist(points, self.points), np.float64), self.width)
            @ self.weights
        )


def _gaussian(distances: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    return np.exp(np.square(distances) / (-2 * width**2))


def kernel_regression(points: NDArray[np.float64], values: NDArray[np.float64]) -> KernelRegression:
    """Returns the regression of (n,) values on (n, d) points, n at least 2.

    With G = (K + ridge I)^-1 and centred values v the weights are G v, and the prediction of point
    i by the others is v_i - (G v)_i / G_ii (Rasmussen and Williams 2006, section 5.4.2). One
    eigendecomposition serves all penalties in `RIDGES`; that of smallest leave-one-out error is
    taken.
    """
    distances = np.asarray(pdist(points), dtype=np.float64)
    width = max(float(np.median(distances)), 1e-12)
    kernel = _gaussian(squareform(distances), width)
    mean = float(values.mean())
    centred = values - mean
    roots, vectors = np.linalg.eigh(kernel)
    turned = vectors.T @ centred
    fits: list[tuple[float, KernelRegression]] = []
    for ridge in RIDGES:
        inverse = 1 / (np.maximum(roots, 0) + ridge)
        weights = vectors @ (inverse * turned)
        misses = weights / (vectors**2 @ inverse)
        made = KernelRegression(points, weights, mean, width, ridge, values - misses)
        fits.append((float(np.square(misses).sum()), made))
    return min(fits, key=lambda fit: fit[0])[1]
