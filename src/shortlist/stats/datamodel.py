"""Linear datamodelling score: how well the sum of a subset's scores ranks the subset's benefit.

Of m random subsets of the pool a model is trained on each, and its benefit is measured. The score
of a method is the rank correlation, over subsets, between the sum of the method's scores and the
benefit (Park et al. 2023, "TRAK", section 2: there for each test example and its loss; here for the
mean over the held-out texts of the target, as scores of a selection are not made for one text).
"""
# scipy has no type stubs.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESAMPLES = 2000  # of the bootstrap over subsets
SPLITS = 100  # of the items into halves


@dataclass(frozen=True)
class Correlation:
    """A rank correlation and its 95 % interval."""

    value: float
    low: float
    high: float


def rank_correlation(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns Spearman's correlation along the last axis, ties at their mean rank; 0 where one side
    is constant.
    """
    a, b = (rankdata(one, axis=-1) - (one.shape[-1] + 1) / 2 for one in (x, y))
    scale = np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
    return np.divide((a * b).sum(-1), scale, out=np.zeros_like(scale), where=scale > 0)


def datamodelling_score(
    sums: NDArray[np.float64], benefits: NDArray[np.float64], generator: np.random.Generator
) -> Correlation:
    """Returns the rank correlation with the percentile interval of a bootstrap over subsets.

    Args:
        sums: (m,) sum of the scores of each subset.
        benefits: (m,) benefit of each subset; larger is better.
        generator: draws the resamples.
    """
    rows = generator.integers(0, len(sums), (RESAMPLES, len(sums)))
    low, high = np.quantile(rank_correlation(sums[rows], benefits[rows]), (0.025, 0.975))
    return Correlation(float(rank_correlation(sums, benefits)), float(low), float(high))


def reliability(items: NDArray[np.float64], generator: np.random.Generator) -> float:
    """Returns how well the mean over items ranks subsets: the mean rank correlation r between the
    means over two random halves of the items, for whole means 2 r / (1 + r) (Spearman 1910, Brown
    1910), and 0 where r is negative. No method can correlate with the benefit by more than about
    its root.

    Args:
        items: (m, n) benefit of each subset on each item.
        generator: draws the halves.
    """
    found: list[float] = []
    for _ in range(SPLITS):
        order = generator.permutation(items.shape[1])
        half = items.shape[1] // 2
        first, second = items[:, order[:half]].mean(1), items[:, order[half:]].mean(1)
        found.append(float(rank_correlation(first, second)))
    mean = float(np.mean(found))
    return 2 * mean / (1 + mean) if mean > 0 else 0.0
