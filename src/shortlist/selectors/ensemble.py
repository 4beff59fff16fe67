"""Rank aggregation over several methods."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from shortlist.errors import InvalidInput
from shortlist.selectors.base import Member, Selector, Traits
from shortlist.settings import Share
from shortlist.stats.probes import normal_ranks

Rule = Literal["mean_rank", "reciprocal_rank", "learned"]


class Ensemble(Selector):
    """Documents that several methods rank high, by mean rank (Borda) or by reciprocal rank fusion.

    Scores of different methods have no common unit; ranks have. Under `reciprocal_rank` one very
    good rank outweighs several fair ones. Equal scores share their mean rank. Under `learned` the
    members have weights: each is fitted to a part of the target, and a logistic regression tells
    the held-out target texts (probes) from the pool by the members' ranks. The record holds the
    weights and how well each member and all together separate the probes (area under the curve, of
    all together on folds that took no part).

    Formula:
        mean_rank: score(x) = -mean_m rank_m(x)

        reciprocal_rank: score(x) = sum_m 1 / (constant + rank_m(x))

        learned: score(x) = sum_m w_m z_m(x), z_m the normal quantile of the rank from the worst,
        w >= 0 of the logistic regression

    Paper:
        Borda 1781; Cormack, Clarke and Buettcher, SIGIR 2009 (reciprocal ranks, constant 60); the
        learned weights are ours.

    Deviations:
        Members are ranked by their scores, without their random draws.

    Cost:
        That of all members, and one sort of the pool each; under `learned` a second fit and scoring
        of each member.
    """

    version = 2
    weights: Mapping[str, float] | None = None  # by member, of `learned`

    def __init__(
        self, members: Mapping[str, Member], rule: Rule, constant: float, probes: Share
    ) -> None:
        """Stores the settings.

        Args:
            members: methods with their vectors, by name.
            rule: `mean_rank`, `reciprocal_rank` or `learned`.
            constant: of the reciprocal ranks: the larger, the less the first few ranks count.
            probes: share of the target's texts that `learned` holds out.

        Raises:
            InvalidInput: there is no such rule, or a number is out of range.
        """
        super().__init__()
        if rule not in get_args(Rule):
            known = ", ".join(get_args(Rule))
            raise InvalidInput(f"selector.rule must be one of {known}, found {rule}")
        if constant < 0:
            raise InvalidInput(f"selector.constant must not be negative, found {constant}")
        if not 0 < probes < 1:
            raise InvalidInput(f"selector.probes must lie between 0 and 1, found {probes}")
        self.consist_of(members)
        self.probes = probes if rule == "learned" else None
        self.rule, self.constant = rule, constant
        aware = any(member.selector.traits.target_aware for member in members.values())
        self.traits = Traits(target_aware=aware)

    def combine(self, columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """Returns the (n,) joint scores; -inf for documents that a member excludes."""
        scores = np.stack(list(self.by_member(columns).values()))
        never = (scores == -np.inf).any(axis=0)
        if self.rule == "learned":
            if self.weights is None:
                raise InvalidInput(
                    "selector.rule=learned was asked for scores before weights were learned; let the "
                    "pipeline run it, or set selector.rule=mean_rank"
                )
            shares = np.array([self.weights[name] for name in self.members])
            normal = np.full(scores.shape, -np.inf)
            normal[:, ~never] = [normal_ranks(row[~never], row[~never]) for row in scores]
            return np.where(never, -np.inf, shares @ np.where(never, 0, normal))
        joint = np.full(scores.shape[1], -np.inf)
        ranks = np.array([rankdata(-row[~never], method="average") for row in scores])
        if self.rule == "mean_rank":
            joint[~never] = -ranks.mean(axis=0)
        else:
            joint[~never] = (1 / (self.constant + ranks)).sum(axis=0)
        return joint

    def weighted(self, weights: Mapping[str, float]) -> Self:
        """Returns the same ensemble with weights of its members."""
        other = copy.copy(self)
        other.weights = dict(weights)
        return other
