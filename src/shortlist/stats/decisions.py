"""Decision accuracy: how often a small experiment orders two methods as a large one does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESAMPLES = 2000  # of the bootstrap over methods


@dataclass(frozen=True)
class DecisionAccuracy:
    """A share of pairs.

    Attributes:
        value: share of the pairs that both order alike; a tie of the small one counts one half.
        low: lower end of its 95 % interval.
        high: upper end.
        pairs: number of pairs; pairs that the large one does not order are none.
    """

    value: float
    low: float
    high: float
    pairs: int

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def decision_accuracy(
    small: NDArray[np.float64], large: NDArray[np.float64]
) -> DecisionAccuracy | None:
    """Returns the decision accuracy with the percentile interval of a bootstrap over methods; None
    where the large experiment orders no pair.

    Pairs of one method drawn twice are left out of a resample, as they are no pair of methods
    (Magnusson et al. 2025, "DataDecide", section 2.3; there without an interval).

    Args:
        small: (k,) mean of each method in the small experiment; larger is better.
        large: (k,) that in the large one.
    """
    first, second = (np.sign(one[:, None] - one[None, :]) for one in (small, large))
    ordered = second != 0
    agrees = np.where(ordered, (1 + first * second) / 2, 0.0)
    if not ordered.any():
        return None
    k = len(small)
    drawn = np.random.default_rng(0).multinomial(k, np.full(k, 1 / k), RESAMPLES).astype(float)
    pairs = np.einsum("ri,ij,rj->r", drawn, ordered.astype(float), drawn)
    alike = np.einsum("ri,ij,rj->r", drawn, agrees, drawn)
    low, high = np.quantile(alike[pairs > 0] / pairs[pairs > 0], (0.025, 0.975))
    value = float(agrees.sum() / ordered.sum())
    return DecisionAccuracy(value, float(low), float(high), int(ordered.sum()) // 2)
