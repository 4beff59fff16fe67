"""Several columns of scores become one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


def weighted_sum(
    columns: Mapping[str, NDArray[np.float64]], weights: Mapping[str, float]
) -> NDArray[np.float64]:
    """Returns sum_t w_t s_t, shape (n,); a document that one column excludes (-inf) is excluded.

    A column of weight 0 adds nothing, but what it excludes stays excluded.

    Args:
        columns: (n,) scores by name.
        weights: weight of each, of any sign.
    """
    first = next(iter(columns.values()))
    total, out = np.zeros(len(first)), np.zeros(len(first), dtype=bool)
    for name, column in columns.items():
        excluded = np.isneginf(column)
        out |= excluded
        total += weights[name] * np.where(excluded, 0.0, column)
    return np.where(out, -np.inf, total)


def standardised(column: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the scores with mean 0 and standard deviation 1 over those that are not -inf, (n,).

    Equal scores become 0.
    """
    kept = np.isfinite(column)
    found = np.full(len(column), -np.inf)
    if kept.any():
        middle = column[kept] - column[kept].mean()
        spread = float(middle.std())
        found[kept] = middle / spread if spread > 0 else 0.0
    return found
