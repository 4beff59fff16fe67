"""Kernel ridge regression against scikit-learn's, and leaving one out against refits."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge

from shortlist.stats.kernel_regression import RIDGES, kernel_regression


def test_it_is_scikit_learns_and_its_left_out_predictions_are_those_of_refits() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(30, 3))
    values = 5 + np.sin(points[:, 0]) + 0.1 * rng.normal(size=30)
    found = kernel_regression(points, values)
    apart = [np.linalg.norm(points[i] - points[j]) for i in range(30) for j in range(i)]
    assert found.width == pytest.approx(np.median(apart))
    gamma = 1 / (2 * found.width**2)

    def model(rows: np.ndarray, ridge: float) -> KernelRidge:
        made = KernelRidge(alpha=ridge, kernel="rbf", gamma=gamma)
        return made.fit(points[rows], values[rows] - found.mean)

    every, asked = np.arange(30), rng.normal(size=(7, 3))
    plain = model(every, found.ridge)
    np.testing.assert_allclose(found(asked), found.mean + plain.predict(asked), rtol=1e-9)
    errors = []
    for ridge in RIDGES:
        left_out = [
            found.mean + model(np.delete(every, row), ridge).predict(points[[row]])[0]
            for row in range(30)
        ]
        errors.append(np.square(left_out - values).sum())
        if ridge == found.ridge:
            np.testing.assert_allclose(found.left_out, left_out, rtol=1e-6)
    assert RIDGES[int(np.argmin(errors))] == found.ridge
