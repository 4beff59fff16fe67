"""Random documents that are like the picks of another method: the fair control."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from shortlist.core import Budget
from shortlist.errors import InvalidInput
from shortlist.selectors.base import Choice, ScoredPool, Selector, Traits, take_in_turn
from shortlist.stats.sampling import draw_key, uniform

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import torch
    from numpy.typing import NDArray

    from shortlist.core import Corpus
    from shortlist.selectors.base import Member


class Matched(Selector):
    """Random stand-ins for the picks of the member `like`, one for each, best pick first.

    What a method gains over these it owes to something else than what they are matched by. Picks
    may be drawn again, and how many were is reported as `overlap`. Of a token budget the control
    spends as much as the method: it stands in for further picks until the tokens are spent.

    `fit` and `score` of a subclass never run; it gives `stand_ins`.
    """

    traits = Traits(stochastic=True, target_aware=False)
    stands_in_for = "like"

    def __init__(self, members: Mapping[str, Member]) -> None:
        """Stores the one member, `like`.

        Raises:
            InvalidInput: there is none, or there are others.
        """
        super().__init__()
        self.consist_of(members)
        if set(members) != {"like"}:
            raise InvalidInput(
                f"selector.members must have the one entry `like`, found {sorted(members)}"
            )

    @abstractmethod
    def stand_ins(
        self, picks: NDArray[np.int64], scores: ScoredPool, noise: NDArray[np.float64]
    ) -> Iterator[int]:
        """Returns a row for each pick, in order."""

    def combine(self, columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """Returns 0 for every document that may be chosen: none is better than another."""
        first = super().combine(columns)
        return np.where(first > -np.inf, 0.0, -np.inf)

    def select(self, scores: ScoredPool, budget: Budget, generator: torch.Generator) -> Choice:
        """Returns the stand-ins.

        The member draws first, from the same seed as if it stood alone.
        """
        like, costs = self.members["like"].selector, scores.costs
        allowed = scores.values > -np.inf
        most = 0 if costs is None else int(costs[allowed].sum())
        state, reach = generator.get_state(), budget
        while True:
            picks = like.select(scores.of("like", like), reach, generator.set_state(state)).rows
            noise = uniform(scores.id_words, draw_key(generator))
            noise[~allowed] = -np.inf
            found = self.stand_ins(picks, scores, noise)
            if costs is not None:
                found = _until_spent(found, costs, budget.amount)
            rows = np.fromiter(found, dtype=np.int64)
            if costs is None or costs[rows].sum() > budget.amount or reach.amount >= most:
                break
            # The stand-ins were cheaper than the picks. Not all picks at once: a method that puts
            # only the first so many in order has no more.
            reach = Budget(min(2 * reach.amount, most), budget.unit)
        choice = take_in_turn(rows, scores, budget)
        overlap = len(np.intersect1d(choice.rows, picks[: len(choice.rows)]))
        missing = 0 if costs is not None else len(picks) - len(choice.rows)
        return replace(choice, report={"overlap": overlap, "without_stand_in": missing})


def _until_spent(rows: Iterator[int], costs: NDArray[np.int64], amount: int) -> Iterator[int]:
    spent = 0
    for row in rows:
        yield row
        spent += int(costs[row])
        if spent > amount:
            return


def documents_of(scores: ScoredPool) -> Corpus:
    """Returns the pool's documents.

    Raises:
        InvalidInput: the scores came without them.
    """
    if scores.documents is None:
        raise InvalidInput("the pool's documents were expected beside their scores, found none")
    return scores.documents
