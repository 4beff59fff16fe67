"""A share of the budget for the best documents of one target, whatever the others want."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from shortlist.core import Budget
from shortlist.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch
    from numpy.typing import NDArray

    from shortlist.selectors.base import Choice, ScoredPool, Selector


@dataclass(frozen=True)
class Kept:
    """What a floor came to.

    Attributes:
        rows: the target's best rows, which the selection holds.
        asked: ceil(share * budget), in the unit of the budget.
        met: what `rows` amount to; in documents exactly what was asked.
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
) -> tuple[Choice, dict[str, Kept]]:
    """Returns the choice that holds the best documents of every target with a floor, and these.

    For each floor the selector picks, by the scores for that target alone, the fewest documents
    that amount to ceil(share * budget): in documents exactly that many. What is left of the budget
    goes by the scores for all targets. For a selector that takes the best this is the best
    selection by these scores among all that hold the documents kept. A document among the best of
    two targets counts for both floors: it serves both, and the room goes to the weights.

    Args:
        selector: picks; its `select` is asked for each part.
        total: the pool, scored for all targets.
        each: the pool, scored for each target alone.
        floors: share of the budget by target.
        budget: how much may be chosen.
        draw: makes the selection's generator; each part starts it anew, so that a document's noise
            is the same in all of them.

    Raises:
        InvalidInput: a target has too few documents for its floor, all floors together are more
            than the budget, or the selector does not keep to the documents it is given.
    """
    costs = total.costs
    kept: dict[str, Kept] = {}
    for name, share in floors.items():
        # Through decimal digits: 0.2 * 15 is 3.0000000000000004 in binary, and ceil would say 4.
        asked = math.ceil(round(share * budget.amount, 9))
        kept[name] = _best(selector, each[name], asked, budget, draw, name)
    held = np.unique(np.concatenate([one.rows for one in kept.values()]))
    spent = len(held) if costs is None else int(costs[held].sum())
    if spent > budget.amount:
        raise InvalidInput(
            f"target_floors of {' and '.join(f'`{name}`' for name in kept)} keep {spent:,} "
            f"{budget.unit} together, more than budget={budget.amount:,}; lower one of them"
        )
    chosen = np.zeros(len(total.values), dtype=bool)
    chosen[held] = True
    if spent < budget.amount:
        rows, amounts = _ranked(
            selector, _without(total, chosen), budget.amount - spent, budget, draw
        )
        chosen[rows[amounts <= budget.amount - spent]] = True
    # Once more among the chosen alone: the order and the deciding numbers are the selector's own.
    choice = selector.select(_without(total, ~chosen), budget, draw())
    for name, one in kept.items():
        if not np.isin(one.rows, choice.rows).all():
            raise InvalidInput(
                f"target_floors of `{name}` cannot be met by {type(selector).__name__}, which does "
                "not take every document it is offered; set target_floors=null"
            )
    return choice, kept


def _best(
    selector: Selector,
    scored: ScoredPool,
    asked: int,
    budget: Budget,
    draw: Callable[[], torch.Generator],
    name: str,
) -> Kept:
    rows, amounts = _ranked(selector, scored, asked, budget, draw)
    count = int(np.searchsorted(amounts, asked)) + 1
    if count > len(rows):
        raise InvalidInput(
            f"target_floors of `{name}` asks for {asked:,} {budget.unit}, but the pool has only "
            f"{int(amounts[-1]) if len(rows) else 0:,} for it; lower the floor"
        )
    return Kept(rows[:count], asked, int(amounts[count - 1]))


def _ranked(
    selector: Selector,
    scored: ScoredPool,
    amount: int,
    budget: Budget,
    draw: Callable[[], torch.Generator],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns distinct rows, best first, that amount to at least `amount` if there is so much, and
    what they amount to one after the other.
    """
    if not np.isfinite(scored.values).any():
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    costs = np.ones(len(scored.values), dtype=np.int64) if scored.costs is None else scored.costs
    # A choice is the longest prefix within a budget: within this one it cannot stop short.
    enough = Budget(amount + int(costs.max()) - 1, budget.unit)
    rows = selector.select(scored, enough, draw()).rows
    rows = rows[np.sort(np.unique(rows, return_index=True)[1])]
    return rows, np.cumsum(costs[rows])


def _without(scored: ScoredPool, out: NDArray[np.bool_]) -> ScoredPool:
    """Returns the scores with -inf, never chosen, where `out` says so."""
    return replace(
        scored,
        values=np.where(out, -np.inf, scored.values),
        columns={name: np.where(out, -np.inf, one) for name, one in scored.columns.items()},
    )
