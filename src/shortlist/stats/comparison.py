"""Paired comparisons of methods that share seeds and test items: differences, p-values, power.

Every method was run with every seed and evaluated on every item, so an effect of a seed or an item
that is common to all methods cancels in their differences. Arrays may have leading batch axes.
"""
# scipy carries no type stubs.
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]
MAX_DF = 1e6  # degrees of freedom beyond which t is treated as normal
QUANTILES = 24  # of each chi-square distribution in `power`


@dataclass(frozen=True)
class Differences:
    """All pairwise differences of K methods; entry [a, b] is method a minus method b.

    Attributes:
        mean: (..., K, K) mean difference over the seeds.
        seed_variance: (..., K, K) variance of that mean over seeds.
        item_variance: (..., K, K) variance of that mean over samples of test items; zero without
            per-item values, where conclusions hold for these items only.
        df: (..., K, K) degrees of freedom of their sum.
        p: (..., K, K) two-sided p-values of "no difference", uncorrected; 1 where the values have
            no spread.
    """

    mean: Array
    seed_variance: Array
    item_variance: Array
    df: Array
    p: Array

    @property
    def stderr(self) -> Array:
        """Standard error of each difference."""
        return np.sqrt(self.seed_variance + self.item_variance)


def compare(values: Array, items: Array | None = None) -> Differences:
    """Returns the differences of all pairs of methods, with the variance over seeds and over items.

    Model of a difference at seed s and item i: d_si = delta + a_s + b_i + e_si. The variance of its
    mean is var(a) / S + var(b) / n + var(e) / (S n). The first and the last term are the variance
    between seeds. The second is estimated by the two-way analysis of variance without replication
    as (MS_items - MS_residual) / (S n), at least 0: the limit of the pigeonhole bootstrap over
    seeds and items (Owen 2007, theorem 3) without its inflation for few seeds and items, and
    without random draws.

    The variance between seeds is pooled over the methods (residual of methods x seeds,
    (K - 1)(S - 1) degrees of freedom), or the pair's own where that is larger: few seeds estimate
    the variance of one pair badly, and the pooled one is too small for a pair with a more variable
    method. For two methods without items this is the paired t-test. Degrees of freedom are combined
    by Satterthwaite (1946).

    Args:
        values: (..., K, S) value of each method at each seed, S >= 2.
        items: (..., K, S, n) value of each test item; their mean over items is the value of the
            method at that seed, up to rounding.
    """
    methods, seeds = values.shape[-2:]
    mean = values.mean(-1)
    own = _squared_distances(values - mean[..., None]) / ((seeds - 1) * seeds)
    residual = values - mean[..., None]
    residual = residual - residual.mean(-2, keepdims=True)
    df_seeds = float(max(methods - 1, 1) * (seeds - 1))
    pooled = 2 * (residual**2).sum((-2, -1)) / df_seeds / seeds
    off_diagonal = 1 - np.eye(methods)
    by_seed = np.maximum(own, pooled[..., None, None]) * off_diagonal
    by_item, df_items = np.zeros_like(by_seed), 1.0
    if items is not None and items.shape[-1] > 1:
        by_item, df_items = _item_variance(items), float(items.shape[-1] - 1)
    both = by_seed + by_item
    weight = by_seed**2 / df_seeds + by_item**2 / df_items
    df = np.divide(both**2, weight, out=np.full_like(both, df_seeds), where=weight > 0)
    difference = mean[..., :, None] - mean[..., None, :]
    # A mean of equal numbers has a rounding error, which is not a spread.
    scale = 1e-12 * np.maximum(1.0, np.abs(values).max((-2, -1)))[..., None, None]
    has_spread = both > scale**2
    t = np.divide(np.abs(difference), np.sqrt(both), out=np.zeros_like(both), where=has_spread)
    return Differences(
        difference, by_seed, by_item, df, np.where(has_spread, two_sided(t, df), 1.0)
    )


def _squared_distances(rows: Array) -> Array:
    """Returns the (..., K, K) squared distances between rows (..., K, m)."""
    gram = rows @ rows.swapaxes(-1, -2)
    diagonal = np.diagonal(gram, axis1=-2, axis2=-1)
    return np.maximum(diagonal[..., :, None] + diagonal[..., None, :] - 2 * gram, 0.0)


def _item_variance(items: Array) -> Array:
    """Returns the (..., K, K) variance of the mean differences over samples of items."""
    seeds, n = items.shape[-2:]
    centred = items - items.mean(-1, keepdims=True)
    by_item = centred.mean(-2)
    variance = _squared_distances(by_item) / ((n - 1) * n)
    if seeds > 1:
        residual = (centred - by_item[..., None, :]).reshape(*items.shape[:-2], seeds * n)
        variance = variance - _squared_distances(residual) / ((seeds - 1) * (n - 1) * seeds * n)
    return np.maximum(variance, 0.0)


def two_sided(t: Array, df: Array | float) -> Array:
    """Returns the two-sided p-values of Student's t."""
    return np.asarray(2 * special.stdtr(df, -np.abs(t)), dtype=np.float64)


def half_width(stderr: float, df: float, alpha: float = 0.05) -> float:
    """Returns half the width of the confidence interval of level 1 - alpha."""
    return float(special.stdtrit(df, 1 - alpha / 2)) * stderr


def holm(p: Array) -> Array:
    """Returns the p-values corrected for multiple testing along the last axis (Holm 1979).

    The i-th smallest of m is multiplied by m - i + 1 and is at least the one before it, which
    controls the family-wise error rate under any dependence.
    """
    m = p.shape[-1]
    order = np.argsort(p, axis=-1, kind="stable")
    multiplied = np.take_along_axis(p, order, -1) * np.arange(m, 0, -1, dtype=np.float64)
    stepped: Array = np.minimum(np.maximum.accumulate(multiplied, axis=-1), 1.0)
    corrected = np.empty_like(stepped)
    np.put_along_axis(corrected, order, stepped, -1)
    return corrected


def all_pairs(p: Array) -> Array:
    """Returns a (..., K, K) matrix of p-values, corrected for all K (K - 1) / 2 comparisons.

    This is the correction to use where the best method is chosen from the same values and then
    compared, because that choice looks at all pairs.
    """
    methods = p.shape[-1]
    upper = np.triu_indices(methods, 1)
    corrected = np.ones_like(p)
    pairs = holm(p[..., upper[0], upper[1]])
    corrected[..., upper[0], upper[1]] = pairs
    corrected[..., upper[1], upper[0]] = pairs
    return corrected


def power(
    difference: float,
    seed_variance: float,
    item_variance: float,
    seeds: int,
    methods: int,
    alpha: float,
) -> float:
    """Returns the probability that a difference is significant.

    The power of the t-test of `compare` from the given variances. The variance over seeds is known
    there as the larger of the pair's own estimate and of the pooled one; the pair is one of the
    K - 1 contrasts that are pooled, so that both follow from two independent chi-square variables,
    whose `QUANTILES` equally likely values each are averaged over. The variance over items is taken
    as known. Two methods: the power of Student's t-test.

    Args:
        difference: the true difference.
        seed_variance: variance of the difference at a single seed.
        item_variance: variance that does not decrease with the number of seeds.
        seeds: number of seeds, 2 or more.
        methods: number of methods over which the variance is pooled.
        alpha: level of this comparison, after correction.
    """
    by_seed = seed_variance / seeds
    stderr = math.sqrt(by_seed + item_variance)
    own = _mean_squares(seeds - 1)[:, None]
    rest = _mean_squares((methods - 2) * (seeds - 1)) if methods > 2 else np.zeros(1)
    pooled = (own + max(methods - 2, 0) * rest) / max(methods - 1, 1)
    estimated = by_seed * np.maximum(own, pooled)
    both = estimated + item_variance
    shares = np.divide(estimated, both, out=np.zeros_like(both), where=both > 0)
    df = max(methods - 1, 1) * (seeds - 1) / np.maximum(shares, 1e-6) ** 2
    quantiles: Array = special.stdtrit(np.minimum(df, MAX_DF), 1 - alpha / 2)
    critical, shift = quantiles * np.sqrt(both) / stderr, abs(difference) / stderr
    found: Array = special.ndtr(shift - critical) + special.ndtr(-shift - critical)
    return float(found.mean())


def _mean_squares(df: int) -> Array:
    """Returns `QUANTILES` equally likely values of chi-square / df."""
    shares = (np.arange(QUANTILES) + 0.5) / QUANTILES
    return np.asarray(special.gammaincinv(df / 2, shares) * 2 / df, dtype=np.float64)


def seeds_needed(
    difference: float,
    seed_variance: float,
    item_variance: float,
    methods: int,
    alpha: float,
    wanted: float = 0.8,
    most: int = 1000,
) -> int | None:
    """Returns the number of seeds at which a difference is significant with probability `wanted`.

    None if `most` seeds do not suffice. Other arguments as in `power`.
    """
    if difference == 0 or not seed_variance + item_variance > 0:
        return None

    def enough(seeds: int) -> bool:
        found = power(difference, seed_variance, item_variance, seeds, methods, alpha)
        return found >= wanted

    # The power increases with the number of seeds, so bisection finds the smallest number.
    seeds = bisect_left(range(2, most + 1), True, key=enough) + 2
    return seeds if seeds <= most else None


def smallest_difference(
    seed_variance: float,
    item_variance: float,
    seeds: int,
    methods: int,
    alpha: float,
    wanted: float = 0.8,
) -> float:
    """Returns the difference that is significant with probability `wanted`, to 1 in 10,000 of it;
    infinite for a single seed. Other arguments as in `power`.
    """
    if seeds < 2:
        return math.inf
    scale = math.sqrt(seed_variance / seeds + item_variance)
    if scale == 0:
        return 0.0
    low, high = 0.0, scale
    while power(high, seed_variance, item_variance, seeds, methods, alpha) < wanted:
        low, high = high, 2 * high
    while high - low > 1e-4 * high:
        middle = (low + high) / 2
        enough = power(middle, seed_variance, item_variance, seeds, methods, alpha) >= wanted
        low, high = (low, middle) if enough else (middle, high)
    return high
