"""Estimates with their standard errors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Estimate:
    """A mean and its standard error (None for a single cluster)."""

    value: float
    stderr: float | None


def ratio_of_sums(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> Estimate:
    """Returns sum(sums) / sum(counts), the mean over items that come in clusters, and its standard
    error.

    Items of one cluster (tokens of one document) are not independent, so the error is taken over
    clusters by linearisation: with residuals r_i = s_i - R n_i, var(R) = m / (m - 1) sum r_i^2 /
    (sum n_i)^2 (Cochran 1977, section 6.3 with a negligible sampling fraction).

    Args:
        sums: (m,) sum of the items of each cluster.
        counts: (m,) number of items of each cluster.
    """
    total = float(counts.sum())
    ratio = float(sums.sum()) / total
    m = len(sums)
    if m < 2:
        return Estimate(ratio, None)
    residuals = sums - ratio * counts
    return Estimate(ratio, math.sqrt(m / (m - 1) * float((residuals**2).sum())) / total)


def ratio_contributions(
    sums: NDArray[np.float64], counts: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Returns what each cluster contributes to sum(sums) / sum(counts): (m,), with that mean.

    Linearised like `ratio_of_sums`: R + m (s_i - R n_i) / sum n_i; the standard error of its mean is
    the one there.
    """
    total = float(counts.sum())
    ratio = float(sums.sum()) / total
    return ratio + len(sums) * (sums - ratio * counts) / total
