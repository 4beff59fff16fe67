"""Several columns of scores become one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

# The score of a document that was not put in order: below all others, and still a number.
BEYOND = float(np.finfo(np.float64).min)


def in_last_place(column: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the scores with the smallest of those put in order in place of `BEYOND`, (n,)."""
    beyond = column == BEYOND
    ordered = np.isfinite(column) & ~beyond
    return np.where(beyond, column[ordered].min() if ordered.any() else 0.0, column)


def weighted_sum(
    columns: Mapping[str, NDArray[np.float64]], weights: Mapping[str, float]
) -> NDArray[np.float64]:
    """Returns sum_t w_t s_t, shape (n,); a document that one column excludes (-inf) is excluded.

    A column of weight 0 adds nothing, but what it excludes stays excluded. What a column did not put
    in order shares its last place; what none of weight above 0 did stays `BEYOND`.

    Args:
        columns: (n,) scores by name.
        weights: weight of each, of any sign.
    """
    first = next(iter(columns.values()))
    total, out = np.zeros(len(first)), np.zeros(len(first), dtype=bool)
    beyond = np.full(len(first), any(weights[name] > 0 for name in columns))
    for name, column in columns.items():
        excluded = np.isneginf(column)
        out |= excluded
        total += weights[name] * np.where(excluded, 0.0, in_last_place(column))
        if weights[name] > 0:
            beyond &= column == BEYOND
    return np.where(out, -np.inf, np.where(beyond, BEYOND, total))


def standardised(column: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the scores with mean 0 and standard deviation 1 over those that are not -inf, (n,).

    Equal scores become 0. What was not put in order counts as in the last place and stays `BEYOND`.
    """
    kept, beyond = np.isfinite(column), column == BEYOND
    column = in_last_place(column)
    found = np.full(len(column), -np.inf)
    if kept.any():
        middle = column[kept] - column[kept].mean()
        spread = float(middle.std())
        found[kept] = middle / spread if spread > 0 else 0.0
    found[beyond] = BEYOND
    return found
