"""Methods against each other on the same seeds and the same test items: what differs, how surely.

Values come in blocks: every method was run with every seed and judged on every item. What a seed or
an item does to all methods alike cancels in a difference, which is why a paired comparison sees
what an unpaired one cannot. Every function takes leading axes: a thousand boards cost one call.
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
MANY = 1e6  # degrees of freedom


@dataclass(frozen=True)
class Differences:
    """Every method against every other; entry [a, b] is about method a minus method b.

    Attributes:
        mean: (..., K, K) mean difference over the seeds.
        seed_variance: (..., K, K) variance of that mean that comes from the seeds.
        item_variance: (..., K, K) variance that comes from which test items were drawn; zero where
            items are not known, so that what is said holds of these items only.
        df: (..., K, K) degrees of freedom of the two together.
        p: (..., K, K) two-sided p-value of "no difference", not yet corrected for the number of
            comparisons; 1 where there is no spread to judge by.
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
    """Returns the differences of all pairs of methods, with both sources of chance.

    Model of a difference at seed s and item i: d_si = delta + a_s + b_i + e_si. Its mean has the
    variance var(a) / S + var(b) / n + var(e) / (S n). The first and the last are what differs
    between seeds; the second is estimated by the two-way analysis of variance without replication
    as (MS_items - MS_residual) / (S n), 0 at least. That is the variance of a bootstrap over seeds
    and items with infinitely many draws (the pigeonhole bootstrap of Owen 2007, theorem 3), without
    its inflation by few seeds and items; no draw is needed, so a board is the same every time.

    The variance between seeds is pooled over the methods (residual of methods x seeds, (K - 1)(S - 1)
    degrees of freedom), or the pair's own where that is larger: three seeds of one pair know a
    variance badly, and a method that is wilder than the others must not borrow their calm. For two
    methods the test without items is the paired t-test. Degrees of freedom add up by Satterthwaite
    (1946).

    Args:
        values: (..., K, S) value of each method at each seed, S >= 2.
        items: (..., K, S, n) contribution of each test item to these values; their mean over items
            is the value up to rounding.
    """
    methods, seeds = values.shape[-2:]
    mean = values.mean(-1)
    own = _of_differences(values - mean[..., None]) / ((seeds - 1) * seeds)
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
    # Means of equal numbers are off by a rounding error, which must not pass for a spread.
    scale = 1e-12 * np.maximum(1.0, np.abs(values).max((-2, -1)))[..., None, None]
    known = both > scale**2
    t = np.divide(np.abs(difference), np.sqrt(both), out=np.zeros_like(both), where=known)
    return Differences(difference, by_seed, by_item, df, np.where(known, two_sided(t, df), 1.0))


def _of_differences(rows: Array) -> Array:
    """Returns (..., K, K) squared lengths of the differences of rows (..., K, m)."""
    gram = rows @ rows.swapaxes(-1, -2)
    diagonal = np.diagonal(gram, axis1=-2, axis2=-1)
    return np.maximum(diagonal[..., :, None] + diagonal[..., None, :] - 2 * gram, 0.0)


def _item_variance(items: Array) -> Array:
    """Returns (..., K, K) variance of a mean difference that comes from the items drawn."""
    seeds, n = items.shape[-2:]
    centred = items - items.mean(-1, keepdims=True)
    by_item = centred.mean(-2)
    found = _of_differences(by_item) / ((n - 1) * n)
    if seeds > 1:
        residual = (centred - by_item[..., None, :]).reshape(*items.shape[:-2], seeds * n)
        found = found - _of_differences(residual) / ((seeds - 1) * (n - 1) * seeds * n)
    return np.maximum(found, 0.0)


def two_sided(t: Array, df: Array | float) -> Array:
    """Returns the two-sided p-value of Student's t."""
    return np.asarray(2 * special.stdtr(df, -np.abs(t)), dtype=np.float64)


def half_width(stderr: float, df: float, alpha: float = 0.05) -> float:
    """Returns half the width of the interval that covers with probability 1 - alpha."""
    return float(special.stdtrit(df, 1 - alpha / 2)) * stderr


def holm(p: Array) -> Array:
    """Returns the p-values corrected for their number, along the last axis.

    Holm (1979): the i-th smallest of m is multiplied by m - i + 1, and never less than the one
    before it. The chance of any false finding stays below the level, however the tests depend.
    """
    m = p.shape[-1]
    order = np.argsort(p, axis=-1, kind="stable")
    ordered: Array = np.take_along_axis(p, order, -1)
    steps: Array = np.arange(m, 0, -1, dtype=np.float64)
    multiplied: Array = np.multiply(ordered, steps)
    grown: Array = np.maximum.accumulate(multiplied, axis=-1)
    stepped: Array = np.minimum(grown, 1.0)
    corrected = np.empty_like(stepped)
    np.put_along_axis(corrected, order, stepped, -1)
    return corrected


def all_pairs(p: Array) -> Array:
    """Returns a (..., K, K) matrix of p-values, corrected for all K (K - 1) / 2 comparisons.

    Needed wherever the best method is chosen first and compared then: choosing looks at all pairs.
    """
    methods = p.shape[-1]
    upper = np.triu_indices(methods, 1)
    corrected = np.ones_like(p)
    found = holm(p[..., upper[0], upper[1]])
    corrected[..., upper[0], upper[1]] = found
    corrected[..., upper[1], upper[0]] = found
    return corrected


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> tuple[int, int, float]:
    """Returns how many items only the first got right, how many only the second, and the p-value.

    Two models on the same items (McNemar 1947), by the exact binomial distribution. It speaks of
    these two models, not of the methods that made them: for that, seeds are needed.

    Args:
        first: (n,) whether the first model was right.
        second: (n,) whether the second model was right.
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    n = only_first + only_second
    p = min(1.0, 2 * float(special.bdtr(min(only_first, only_second), n, 0.5))) if n else 1.0
    return only_first, only_second, p


def seeds_needed(
    difference: float,
    seed_variance: float,
    item_variance: float,
    methods: int,
    alpha: float,
    power: float = 0.8,
    most: int = 1000,
) -> int | None:
    """Returns how many seeds would tell a difference of this size with probability `power`.

    The power of the t-test that `compare` makes, from the noncentral t distribution, with the
    spread as it was found. None if `most` seeds would not do: the test items are too few, or the
    methods too alike.

    Args:
        difference: the size that is to be told from none.
        seed_variance: variance of the difference at a single seed.
        item_variance: variance that more seeds do not lower.
        methods: how many methods share the estimate of the variance.
        alpha: level of the one comparison, after correction.
        power: wanted probability of telling.
        most: the most seeds to think of.
    """
    if difference == 0 or not seed_variance + item_variance > 0:
        return None

    def enough(seeds: int) -> bool:
        by_seed = seed_variance / seeds
        both = by_seed + item_variance
        df = max(methods - 1, 1) * (seeds - 1) * ((both / by_seed) ** 2 if by_seed > 0 else MANY)
        df = min(df, MANY)  # beyond it is the normal distribution
        critical = special.stdtrit(df, 1 - alpha / 2)
        return 1 - special.nctdtr(df, abs(difference) / math.sqrt(both), critical) >= power

    # More seeds never tell less, so the first number that is enough is found by halving.
    found = bisect_left(range(2, most + 1), True, key=enough) + 2
    return found if found <= most else None
