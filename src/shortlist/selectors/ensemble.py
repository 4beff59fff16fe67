"""Rank aggregation over several methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from shortlist.errors import InvalidInput
from shortlist.selectors.base import Member, Selector, Traits

Rule = Literal["mean_rank", "reciprocal_rank"]


class Ensemble(Selector):
    """Documents that several methods rank high, by mean rank (Borda) or by reciprocal rank fusion.

    Scores of different methods have no common unit; ranks have. Under `reciprocal_rank` one very
    good rank outweighs several fair ones. Equal scores share their mean rank.

    Formula:
        mean_rank: score(x) = -mean_m rank_m(x)

        reciprocal_rank: score(x) = sum_m 1 / (constant + rank_m(x))

    Paper:
        Borda 1781; Cormack, Clarke and Buettcher, SIGIR 2009 (reciprocal ranks, constant 60).

    Deviations:
        Members are ranked by their scores, without their random draws.

    Cost:
        That of all members, and one sort of the pool each.
    """

    version = 2

    def __init__(self, members: Mapping[str, Member], rule: Rule, constant: float) -> None:
        """Stores the settings.

        Args:
            members: methods with their vectors, by name.
            rule: `mean_rank` or `reciprocal_rank`.
            constant: of the reciprocal ranks: the larger, the less the first few ranks count.
        """
        super().__init__()
        if rule not in get_args(Rule):
            known = ", ".join(get_args(Rule))
            raise InvalidInput(f"selector.rule must be one of {known}, found {rule}")
        if constant < 0:
            raise InvalidInput(f"selector.constant must not be negative, found {constant}")
        self.consist_of(members)
        self.rule, self.constant = rule, constant
        aware = any(member.selector.traits.target_aware for member in members.values())
        self.traits = Traits(target_aware=aware)

    def combine(self, columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """Returns the (n,) joint scores; -inf for documents that a member excludes."""
        scores = np.stack(list(self.by_member(columns).values()))
        never = (scores == -np.inf).any(axis=0)
        joint = np.full(scores.shape[1], -np.inf)
        ranks = np.array([rankdata(-row[~never], method="average") for row in scores])
        if self.rule == "mean_rank":
            joint[~never] = -ranks.mean(axis=0)
        else:
            joint[~never] = (1 / (self.constant + ranks)).sum(axis=0)
        return joint
