"""Selection for several targets: weighted sums of scores, and shares of the budget kept for one.

Scores of methods without the trait `additive` have no common unit, so each target's scores are
standardised before they are summed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from shortlist.core import Budget
from shortlist.errors import InvalidInput
from shortlist.selectors.base import UNRANKED, Choice, ScoredPool, Selector, fill_worst_rank


def weighted_sum(
    columns: Mapping[str, NDArray[np.float64]], weights: Mapping[str, float]
) -> NDArray[np.float64]:
    """Returns sum_t w_t s_t, (n,); a document that one column excludes (-inf) is excluded.

    A column of weight 0 adds nothing, but what it excludes stays excluded. A document that a column
    left unranked counts as its last one; one that no column of weight above 0 ranked stays
    `UNRANKED`.

    Args:
        columns: (n,) scores by target.
        weights: weight of each, of any sign.
    """
    first = next(iter(columns.values()))
    total, out = np.zeros(len(first)), np.zeros(len(first), dtype=bool)
    unranked = np.full(len(first), any(weights[name] > 0 for name in columns))
    for name, column in columns.items():
        excluded = np.isneginf(column)
        out |= excluded
        total += weights[name] * np.where(excluded, 0.0, fill_worst_rank(column))
        if weights[name] > 0:
            unranked &= column == UNRANKED
    return np.where(out, -np.inf, np.where(unranked, UNRANKED, total))


def standardised(column: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns (n,) scores with mean 0 and standard deviation 1 over those that are not -inf.

    Equal scores become 0. Unranked documents count as the last one and stay `UNRANKED`.
    """
    kept, unranked = np.isfinite(column), column == UNRANKED
    column = fill_worst_rank(column)
    scaled = np.full(len(column), -np.inf)
    if kept.any():
        centred = column[kept] - column[kept].mean()
        deviation = float(centred.std())
        scaled[kept] = centred / deviation if deviation > 0 else 0.0
    scaled[unranked] = UNRANKED
    return scaled


@dataclass(frozen=True)
class Floor:
    """The documents kept for one target.

    Attributes:
        rows: the target's best rows, all of them in the selection.
        asked: ceil(share * budget), in the unit of the budget.
        met: what `rows` amount to; for a budget of documents equal to `asked`.
    """

    rows: NDArray[np.int64]
    asked: int
    met: int


def select_with_floors(
    selector: Selector,
    total: ScoredPool,
    each: Mapping[str, ScoredPool],
    floors: Mapping[str, float],
    budget: Budget,
    draw: Callable[[], torch.Generator],
) -> tuple[Choice, dict[str, Floor]]:
    """Returns the choice that holds the best documents of every target with a floor, and these.

    For each floor the selector picks, by the scores for that target alone, the fewest documents
    that amount to ceil(share * budget). The rest of the budget goes by the scores for all targets.
    For a selector that takes the largest scores this is the best selection by these scores among
    all that hold the documents kept. A document among the best of two targets counts for both
    floors, and the budget this frees goes by the scores for all targets.

    Args:
        selector: its `select` picks each part.
        total: the pool, scored for all targets.
        each: the pool, scored for each target alone.
        floors: share of the budget by target.
        budget: how much may be selected.
        draw: makes the selection's generator; each part starts it anew, so that a document's random
            numbers are the same in all of them.

    Raises:
        InvalidInput: a target has too few documents for its floor, all floors together exceed the
            budget, or the selector leaves out documents that it is offered.
    """
    costs = total.costs
    kept: dict[str, Floor] = {}
    for name, share in floors.items():
        # Through decimal digits: 0.2 * 15 is 3.0000000000000004 in binary, and ceil would give 4.
        asked = math.ceil(round(share * budget.amount, 9))
        rows, amounts = _ranked(selector, each[name], asked, budget, draw)
        count = int(np.searchsorted(amounts, asked)) + 1
        if count > len(rows):
            raise InvalidInput(
                f"target_floors of `{name}` asks for {asked:,} {budget.unit}, but the pool has only "
                f"{int(amounts[-1]) if len(rows) else 0:,} for it; lower the floor"
            )
        kept[name] = Floor(rows[:count], asked, int(amounts[count - 1]))
    held = np.unique(np.concatenate([floor.rows for floor in kept.values()]))
    spent = len(held) if costs is None else int(costs[held].sum())
    if spent > budget.amount:
        raise InvalidInput(
            f"target_floors of {' and '.join(f'`{name}`' for name in kept)} keep {spent:,} "
            f"{budget.unit} together, more than budget={budget.amount:,}; lower one of them"
        )
    chosen = np.zeros(len(total.values), dtype=bool)
    chosen[held] = True
    left = budget.amount - spent
    if left > 0:
        rows, amounts = _ranked(selector, _excluding(total, chosen), left, budget, draw)
        chosen[rows[amounts <= left]] = True
    # Once more among the chosen documents alone: order and scores are then the selector's own.
    choice = selector.select(_excluding(total, ~chosen), budget, draw())
    for name, floor in kept.items():
        if not np.isin(floor.rows, choice.rows).all():
            raise InvalidInput(
                f"target_floors of `{name}` cannot be met by {type(selector).__name__}, which does "
                "not take every document it is offered; set target_floors=null"
            )
    return choice, kept


def _ranked(
    selector: Selector,
    scored: ScoredPool,
    amount: int,
    budget: Budget,
    draw: Callable[[], torch.Generator],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns distinct rows, best first, that amount to at least `amount` where the pool has so
    much, and their running total.
    """
    if not np.isfinite(scored.values).any():
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    costs = np.ones(len(scored.values), dtype=np.int64) if scored.costs is None else scored.costs
    # A choice is the longest prefix within a budget: within this one it cannot stop short.
    enough = Budget(amount + int(costs.max()) - 1, budget.unit)
    rows = selector.select(scored, enough, draw()).rows
    rows = rows[np.sort(np.unique(rows, return_index=True)[1])]
    return rows, np.cumsum(costs[rows])


def _excluding(scored: ScoredPool, out: NDArray[np.bool_]) -> ScoredPool:
    """Returns the scores with -inf where `out` is true."""
    return replace(
        scored,
        values=np.where(out, -np.inf, scored.values),
        columns={name: np.where(out, -np.inf, one) for name, one in scored.columns.items()},
    )
