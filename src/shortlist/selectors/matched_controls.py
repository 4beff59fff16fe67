"""Matched random controls: random documents that resemble the picks of another method.

For each pick of the member `like`, in order, another row is drawn at random among rows that agree
with it in domain, length or number of tokens. The i-th draw depends on the first i picks alone, so
a longer list of picks keeps the first draws. A pick may be drawn itself: the control is what chance
gives among such rows, and the picks are such rows.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from shortlist.core import Budget
from shortlist.errors import InvalidInput
from shortlist.selectors.base import (
    Choice,
    Member,
    ScoredPool,
    Selector,
    Traits,
    documents_of,
    take_ranked,
)
from shortlist.stats.sampling import draw_key, uniform


class MatchedControl(Selector):
    """One matched random document for each pick of the member `like`, best pick first.

    A gain of the method over this control is not explained by what the control matches. `overlap`
    counts picks that were drawn themselves. Of a token budget the control spends as much as the
    method: it draws for further picks until the tokens are spent.

    A subclass implements `matches`; `fit` and `score` are those of the member.
    """

    traits = Traits(stochastic=True, target_aware=False)
    stands_in_for = "like"

    def __init__(self, members: Mapping[str, Member]) -> None:
        """Stores the one member.

        Args:
            members: `like`, the method whose picks are matched.

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
    def matches(
        self, picks: NDArray[np.int64], scores: ScoredPool, noise: NDArray[np.float64]
    ) -> Iterator[int]:
        """Yields one row for each pick, in order; `noise` holds the (n,) random numbers."""

    def combine(self, columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """Returns 0 for every document that may be selected."""
        first = super().combine(columns)
        return np.where(first > -np.inf, 0.0, -np.inf)

    def select(self, scores: ScoredPool, budget: Budget, generator: torch.Generator) -> Choice:
        """Returns the matched rows.

        The member draws first, from the state of the generator that it would have alone.
        """
        like, costs = self.members["like"].selector, scores.costs
        most = 0 if costs is None else int(costs[scores.selectable].sum())
        state, reach = generator.get_state(), budget
        while True:
            picks = like.select(scores.of("like", like), reach, generator.set_state(state)).rows
            noise = uniform(scores.id_bits, draw_key(generator))
            noise[~scores.selectable] = -np.inf
            rows = np.fromiter(self.matches(picks, scores, noise), dtype=np.int64)
            if costs is None or costs[rows].sum() > budget.amount or reach.amount >= most:
                break
            # The matched rows cost less than the picks. Reach further, but not for all documents at
            # once: a method may have ranked only a part of the pool.
            reach = Budget(min(2 * reach.amount, most), budget.unit)
        choice = take_ranked(rows, scores, budget)
        overlap = len(np.intersect1d(choice.rows, picks[: len(choice.rows)]))
        missing = 0 if costs is not None else len(picks) - len(choice.rows)
        return replace(choice, report={"overlap": overlap, "without_stand_in": missing})


class RandomDomain(MatchedControl):
    """Random documents with exactly the domains of the picks of the member `like`.

    A method that gains nothing over this control has found a domain; naming it (`dapt`) is cheaper.

    Formula:
        For each pick, best first: the unused document of its domain with the largest random number.

    Paper:
        None: a control that published tables lack.

    Deviations:
        None.

    Cost:
        That of the member `like`, and one hash a document.
    """

    def matches(
        self, picks: NDArray[np.int64], scores: ScoredPool, noise: NDArray[np.float64]
    ) -> Iterator[int]:
        """Yields a row of the same domain for each pick, in order."""
        domains = documents_of(scores, "selector=random_domain").domains
        return match_stratum(picks, np.array(domains), noise)


class RandomLength(MatchedControl):
    """Random documents as long, in characters, as the picks of the member `like`.

    Many scores favour short documents (p-lambda/dsir, pull request 3); a method that gains nothing
    over this control has found a length.

    Formula:
        For each pick, best first: the document of largest random number among the unused of the
        `neighbours` nearest in length.

    Paper:
        None: a control that published tables lack.

    Deviations:
        None.

    Cost:
        That of the member `like`, and one sort of the pool by length.
    """

    def __init__(self, members: Mapping[str, Member], neighbours: int) -> None:
        """Stores the member and the settings.

        Args:
            members: `like`, the method whose picks are matched.
            neighbours: how many documents nearest in length a match is drawn among.

        Raises:
            InvalidInput: fewer than two neighbours, which would leave the pick alone.
        """
        super().__init__(members)
        if neighbours < 2:
            raise InvalidInput(f"selector.neighbours must be at least 2, found {neighbours}")
        self.neighbours = neighbours

    def sizes(self, scores: ScoredPool) -> NDArray[np.int64]:
        """Returns the (n,) lengths in characters."""
        compute: Any = pc  # its functions are made at run time
        texts = documents_of(scores, "selector=random_length").table["text"]
        return compute.utf8_length(texts).to_numpy()

    def matches(
        self, picks: NDArray[np.int64], scores: ScoredPool, noise: NDArray[np.float64]
    ) -> Iterator[int]:
        """Yields a row for each pick, in order, drawn among its neighbours in size."""
        return match_size(picks, self.sizes(scores), noise, scores.id_bits, self.neighbours)


class RandomTokens(RandomLength):
    """Random documents with as many tokens as the picks of the member `like`.

    Tokens are those of the model that is going to be trained.

    Formula:
        For each pick, best first: the document of largest random number among the unused of the
        `neighbours` nearest in number of tokens.

    Paper:
        None: a control that published tables lack.

    Deviations:
        None.

    Cost:
        That of the member `like`, one tokenization of the pool, and one sort.
    """

    traits = replace(RandomLength.traits, reads_tokens=True)

    def sizes(self, scores: ScoredPool) -> NDArray[np.int64]:
        """Returns the (n,) numbers of tokens.

        Raises:
            InvalidInput: the scores came without them.
        """
        if scores.tokens is None:
            raise InvalidInput("the pool's tokens were expected beside its scores, found none")
        return scores.tokens


def match_size(
    picks: NDArray[np.int64],
    sizes: NDArray[np.integer[Any]],
    noise: NDArray[np.float64],
    id_bits: NDArray[np.uint64],
    neighbours: int,
) -> Iterator[int]:
    """Yields for each pick the row of largest noise among the unused of its nearest in size.

    Nearness is by rank in size (equal sizes by id), so that long tails are matched as closely as
    the middle. Where all neighbours are used, their number doubles.

    Args:
        picks: rows, best first.
        sizes: (n,) what is matched.
        noise: (n,) random numbers; -inf is never drawn.
        id_bits: (n,) 64 bits of each id.
        neighbours: how many nearest rows, the pick's own included, are drawn from.
    """
    ranked = np.lexsort((id_bits, sizes))
    ranked = ranked[noise[ranked] > -np.inf]
    place = np.full(len(sizes), -1)
    place[ranked] = np.arange(len(ranked))
    used = np.zeros(len(sizes), dtype=bool)
    for pick in picks[: len(ranked)]:
        width = min(neighbours, len(ranked))
        while True:
            start = min(max(int(place[pick]) - width // 2, 0), len(ranked) - width)
            similar = ranked[start : start + width]
            free = similar[~used[similar]]
            if len(free):
                break
            width = min(2 * width, len(ranked))
        drawn = int(free[np.argmax(noise[free])])
        used[drawn] = True
        yield drawn


def match_stratum(
    picks: NDArray[np.int64], strata: NDArray[Any], noise: NDArray[np.float64]
) -> Iterator[int]:
    """Yields for each pick the unused row of its stratum with the largest noise.

    A pick whose stratum has no row left (picked more often than it has rows) gets none.

    Args:
        picks: rows, best first.
        strata: (n,) labels that must be equal.
        noise: (n,) random numbers; -inf is never drawn.
    """
    ranked = np.argsort(-noise, kind="stable")
    ranked = ranked[noise[ranked] > -np.inf]
    queues = {
        name: iter(ranked[strata[ranked] == name].tolist()) for name in set(strata[picks].tolist())
    }
    for pick in picks:
        drawn = next(queues[strata[pick]], None)
        if drawn is not None:
            yield drawn
