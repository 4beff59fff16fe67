"""Estimates with their standard errors, and how far a value lies beyond a sample."""
# scipy carries no type stubs: what comes out of it is unknown to the checker.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import t as student

if TYPE_CHECKING:
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


def upper_tail(value: float, others: NDArray[np.float64]) -> float:
    """Returns the chance that one more draw like `others` is `value` or larger.

    By the prediction interval of a normal sample: (value - mean) / (s sqrt(1 + 1 / m)) has
    Student's t distribution with m - 1 degrees of freedom. Where `others` are all alike: 1 if
    `value` is not above them, else 0.

    Args:
        value: what is judged.
        others: (m,) draws, at least two.
    """
    spread = float(np.std(others, ddof=1))
    beyond = value - float(np.mean(others))
    if spread == 0:
        return float(beyond <= 0)
    return float(student.sf(beyond / (spread * math.sqrt(1 + 1 / len(others))), len(others) - 1))


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
