"""Ratio estimates with cluster-robust standard errors, and intervals."""
# scipy carries no type stubs: the types of its results are unknown to the checker.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Estimate:
    """A mean and its standard error (None for a single cluster)."""

    value: float
    stderr: float | None


def ratio_of_sums(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> Estimate:
    """Returns sum(sums) / sum(counts), a mean over clustered items, and its standard error.

    Items of one cluster (tokens of one document) are dependent, so the error is taken over clusters
    by linearisation: with residuals r_i = s_i - R n_i, var(R) = m / (m - 1) sum r_i^2 / (sum n_i)^2
    (Cochran 1977, section 6.3 with a negligible sampling fraction).

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


def linearised_ratio(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the (m,) linearised values of the clusters, whose mean is sum(sums) / sum(counts).

    They are R + m (s_i - R n_i) / sum n_i; the standard error of their mean is that of
    `ratio_of_sums`.
    """
    total = float(counts.sum())
    ratio = float(sums.sum()) / total
    return ratio + len(sums) * (sums - ratio * counts) / total


def normal_interval(value: float, stderr: float) -> tuple[float, float]:
    """Returns the ends of the 95 % interval, value ± 1.96 stderr (normal approximation)."""
    return value - 1.96 * stderr, value + 1.96 * stderr


def upper_tail(value: float, sample: NDArray[np.float64]) -> float:
    """Returns the probability that another draw from the distribution of `sample` is >= `value`.

    From the prediction interval of a normal sample: (value - mean) / (s sqrt(1 + 1 / m)) has
    Student's t distribution with m - 1 degrees of freedom. For a sample without spread: 1 if
    `value` does not exceed it, else 0.

    Args:
        value: the value to compare.
        sample: (m,) draws, at least two.
    """
    from scipy.stats import (
        t as student,
    )  # half a second, which a server has no use for

    spread = float(np.std(sample, ddof=1))
    excess = value - float(np.mean(sample))
    if spread == 0:
        return float(excess <= 0)
    return float(student.sf(excess / (spread * math.sqrt(1 + 1 / len(sample))), len(sample) - 1))
