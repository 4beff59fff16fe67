"""Drift: whether new texts are like old ones, by their vectors, and where they are not.

The statistic is the debiased Sinkhorn divergence S between the two samples, under one epsilon: a
share of the mean cost over both together. Its null distribution is that of S when the same vectors
are dealt to the two sides at random, so the test has its level for any vectors: with m of P deals
at least as large, p = (1 + m) / (1 + P) is at most alpha with probability at most alpha.

The vectors of both samples are grouped by k-means, which sees no side. In a cluster the numbers of
old and new texts are compared by Fisher's exact test, and the p-values of all clusters are
corrected by Holm's method; the interval of the difference of the shares is Newcombe's (1998, method
10).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from shortlist.errors import InvalidInput
from shortlist.ot import Cost, mean_cost, sinkhorn_divergence
from shortlist.stats.comparison import holm

FEW = 50  # texts of a side below which only large changes are found
EXAMPLES = 3  # texts of a cluster


@dataclass(frozen=True)
class DriftSettings:
    """How two samples are compared.

    Attributes:
        permutations: deals of the null distribution; p is at least 1 / (1 + permutations).
        alpha: p at most this counts as drift.
        relative_epsilon: regularisation, as a fraction of the mean cost over both samples.
        cost: ground cost.
        clusters: number of clusters at most; one for every ten texts of the smaller side.
        seed: seed of the deals and of k-means.

    Raises:
        InvalidInput: a setting is out of range.
    """

    permutations: int = 199
    alpha: float = 0.05
    relative_epsilon: float = 0.05
    cost: Cost = "sqeuclidean"
    clusters: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise InvalidInput(f"--alpha: expected a number between 0 and 1, found {self.alpha:g}")
        fewest = int(np.ceil(1 / self.alpha - 1e-9)) - 1
        if self.permutations < fewest:
            raise InvalidInput(
                f"--permutations: expected {fewest} or more, since p is at least 1 / (1 + permutations) and "
                f"alpha is {self.alpha:g}, found {self.permutations}"
            )
        if self.clusters < 1 or self.relative_epsilon <= 0 or self.seed < 0:
            raise InvalidInput(
                "expected 1 cluster or more, an epsilon above 0 and a seed of 0 or more, found "
                f"{self.clusters}, {self.relative_epsilon:g} and {self.seed}"
            )


@dataclass(frozen=True)
class Permutation:
    """A statistic and its null distribution.

    Attributes:
        value: the statistic of the two samples.
        null: (P,) its values for random deals of both samples together.
    """

    value: float
    null: NDArray[np.float64]

    @property
    def exceeding(self) -> int:
        """Number of deals whose statistic is at least as large."""
        return int((self.null >= self.value).sum())

    @property
    def p(self) -> float:
        """(1 + `exceeding`) / (1 + P)."""
        return (1 + self.exceeding) / (1 + len(self.null))

    @property
    def p_interval(self) -> tuple[float, float]:
        """The 95 % interval of the p-value of all deals, by the P that were drawn
        (Clopper-Pearson).
        """
        found = scipy.stats.binomtest(self.exceeding, len(self.null)).proportion_ci(0.95)
        return float(found.low), float(found.high)

    @property
    def null_interval(self) -> tuple[float, float]:
        """The range of 95 % of the null distribution."""
        low, high = np.quantile(self.null, [0.025, 0.975])
        return float(low), float(high)


def permuted(
    statistic: Callable[[NDArray[Any], NDArray[Any]], float], old: NDArray[Any], new: NDArray[Any],
    permutations: int, rng: np.random.Generator,
) -> Permutation:  # fmt: skip
    """Returns a statistic of two samples, rows of (n, d) and (m, d) arrays, and its null."""
    both = np.concatenate([old, new])
    null = np.empty(permutations)
    for deal in range(permutations):
        rows = rng.permutation(len(both))
        null[deal] = statistic(both[rows[: len(old)]], both[rows[len(old) :]])
    return Permutation(statistic(old, new), null)


@dataclass(frozen=True)
class ClusterShift:
    """A cluster of the texts of both sides.

    Attributes:
        number: its place, the largest shift first.
        old: number of old texts in it.
        new: number of new ones.
        old_share: share of the old texts.
        new_share: share of the new ones.
        low: lower end of the 95 % interval of new_share - old_share.
        high: its upper end.
        p: p-value, corrected for the number of clusters.
        old_rows: rows of the old texts nearest to its centre, nearest first.
        new_rows: likewise of the new ones.
    """

    number: int
    old: int
    new: int
    old_share: float
    new_share: float
    low: float
    high: float
    p: float
    old_rows: tuple[int, ...]
    new_rows: tuple[int, ...]


@dataclass(frozen=True)
class Drift:
    """The comparison of two samples.

    Attributes:
        test: the divergence and its null distribution.
        epsilon: its regularisation, absolute.
        old: number of old texts.
        new: number of new ones.
        clusters: the clusters, the largest difference of shares first.
        settings: how they were compared.
        converged: whether the solves between and within the two samples converged.
    """

    test: Permutation
    epsilon: float
    old: int
    new: int
    clusters: tuple[ClusterShift, ...]
    settings: DriftSettings
    converged: bool

    @property
    def found(self) -> bool:
        """Whether the new texts differ from the old ones."""
        return self.test.p <= self.settings.alpha

    @property
    def sentence(self) -> str:
        """When to select again."""
        sizes = f"{self.old:,} old and {self.new:,} new texts, p = {self.test.p:.3g}"
        few = (
            "; with so few texts only large changes are found"
            if min(self.old, self.new) < FEW
            else ""
        )
        if not self.found:
            return f"No drift was found ({sizes}): there is no reason to select again{few}."
        moved = [one for one in self.clusters if one.p <= self.settings.alpha]
        differ = f"The new texts differ from the old ones ({sizes})"
        if not moved:
            return (
                f"{differ}, but no single cluster moved by itself: a small change of everything. Compare "
                f"again with more texts before you select again{few}."
            )
        first = moved[0]
        verb = "grew" if first.new_share > first.old_share else "shrank"
        return (
            f"{differ}: cluster {first.number} {verb} from {first.old_share:.0%} to {first.new_share:.0%} of "
            f"the texts. Select again with texts like the new ones as the target{few}."
        )


def drift(old: NDArray[Any], new: NDArray[Any], settings: DriftSettings) -> Drift:
    """Returns the comparison of two samples by their vectors.

    Args:
        old: (n, d) vectors.
        new: (m, d) vectors.
        settings: how they are compared.

    Raises:
        InvalidInput: a side has fewer than two texts, or all vectors are equal.
    """
    if min(len(old), len(new)) < 2:
        raise InvalidInput(
            f"expected two texts or more on each side, found {len(old):,} old and {len(new):,} new"
        )
    both = np.concatenate([old, new])
    scale = mean_cost(both, both, cost=settings.cost)
    if not scale > 0:
        raise InvalidInput("expected texts that differ, found the same vector for all of them")
    epsilon = settings.relative_epsilon * float(scale)

    def divergence(first: NDArray[Any], second: NDArray[Any]) -> Any:
        return sinkhorn_divergence(
            first, second, epsilon=epsilon, relative=False, cost=settings.cost
        )

    rng = np.random.default_rng(settings.seed)
    test = permuted(
        lambda first, second: divergence(first, second).value, old, new, settings.permutations, rng
    )
    return Drift(
        test=test,
        epsilon=epsilon,
        old=len(old),
        new=len(new),
        clusters=_clusters(old, new, settings),
        settings=settings,
        converged=divergence(old, new).converged,
    )


def _clusters(
    old: NDArray[Any], new: NDArray[Any], settings: DriftSettings
) -> tuple[ClusterShift, ...]:
    from sklearn.cluster import KMeans

    both = np.concatenate([old, new]).astype(np.float64)
    count = min(settings.clusters, max(1, min(len(old), len(new)) // 10))
    count = min(count, len(np.unique(both, axis=0)))
    model: Any = KMeans(count, n_init=cast(Any, 4), random_state=settings.seed).fit(both)
    labels, near = model.labels_, model.transform(both)
    sides = labels[: len(old)], labels[len(old) :]
    shifts: list[tuple[Any, ...]] = []
    for cluster in range(count):
        rows = [np.flatnonzero(side == cluster) for side in sides]
        counts = [len(own) for own in rows]
        table = [counts, [len(old) - counts[0], len(new) - counts[1]]]
        p = float(cast(Any, scipy.stats.fisher_exact(table)).pvalue)
        distances = near[: len(old), cluster], near[len(old) :, cluster]
        nearest = [
            tuple(own[np.argsort(away[own], kind="stable")][:EXAMPLES].tolist())
            for own, away in zip(rows, distances, strict=True)
        ]
        shifts.append((*counts, p, *nearest))
    corrected = holm(np.array([shift[2] for shift in shifts])).tolist()
    made = [
        ClusterShift(
            0,
            a,
            b,
            a / len(old),
            b / len(new),
            *newcombe(a, len(old), b, len(new)),
            p,
            first,
            second,
        )
        for (a, b, _, first, second), p in zip(shifts, corrected, strict=True)
    ]
    # Of equal differences what grew comes first.
    moved = [round(one.new_share - one.old_share, 9) for one in made]
    order = sorted(range(count), key=lambda place: (-abs(moved[place]), -moved[place], place))
    return tuple(replace(made[place], number=number) for number, place in enumerate(order, start=1))


def newcombe(a: int, n: int, b: int, m: int) -> tuple[float, float]:
    """Returns the 95 % interval of b/m - a/n, from the Wilson intervals of the two shares."""
    p, q = a / n, b / m
    first, second = (
        scipy.stats.binomtest(k, size).proportion_ci(0.95, method="wilson")
        for k, size in ((a, n), (b, m))
    )
    low = q - p - ((q - second.low) ** 2 + (first.high - p) ** 2) ** 0.5
    high = q - p + ((second.high - q) ** 2 + (p - first.low) ** 2) ** 0.5
    return float(low), float(high)
