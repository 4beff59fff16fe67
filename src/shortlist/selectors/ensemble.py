"""Rank aggregation over several methods, and weights of the methods learned on probes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, ndtri
from scipy.stats import rankdata

from shortlist.errors import InvalidInput
from shortlist.selectors.base import Member, Selector, Traits
from shortlist.settings import Share

Rule = Literal["mean_rank", "reciprocal_rank", "learned"]
_RIDGE = 1e-3  # penalty of the squared weights beside the mean log loss
_FOLDS = 5


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
            rule: `mean_rank` or `reciprocal_rank`.
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


@dataclass(frozen=True)
class ProbeWeights:
    """Weights of methods by which probes are told from the pool.

    Attributes:
        weights: by method, not negative, of sum 1.
        alone: area under the curve of each method: the probability that a probe is ranked above a
            document of the pool.
        together: that of the weighted ranks, of the probes and documents of each of five folds by
            the weights of the other four.
    """

    weights: Mapping[str, float]
    alone: Mapping[str, float]
    together: float


def probe_weights(
    probes: Mapping[str, NDArray[np.float64]], pool: Mapping[str, NDArray[np.float64]]
) -> ProbeWeights:
    """Returns the weights of a logistic regression of probe against pool on normal ranks.

    The weights are not negative, both classes count alike, and a small ridge decides between
    methods that rank alike.

    Args:
        probes: (k,) scores of the probes by method.
        pool: (n,) scores of the pool by the same method.

    Raises:
        InvalidInput: no method ranks probes above the pool.
    """
    names = list(probes)
    both = [
        (normal_ranks(probes[name], pool[name]), normal_ranks(pool[name], pool[name]))
        for name in names
    ]
    near, far = (np.column_stack(side) for side in zip(*both, strict=True))
    learned = _logistic(near, far)
    if not learned.any():
        raise InvalidInput(
            "selector.rule=learned: no member ranks held-out target texts above the pool; set "
            "selector.rule=mean_rank, or choose other members"
        )
    areas: list[tuple[float, int]] = []
    for fold in range(_FOLDS):
        out, aside = np.arange(len(near)) % _FOLDS == fold, np.arange(len(far)) % _FOLDS == fold
        if out.any() and aside.any() and not out.all():
            weights = _logistic(near[~out], far[~aside])
            areas.append((_area(near[out] @ weights, far[aside] @ weights), int(out.sum())))
    values, counts = zip(*areas, strict=True)
    return ProbeWeights(
        dict(zip(names, (learned / learned.sum()).tolist(), strict=True)),
        {name: _area(near[:, at], far[:, at]) for at, name in enumerate(names)},
        float(np.average(values, weights=counts)),
    )


def normal_ranks(scores: NDArray[np.float64], pool: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the (k,) normal quantiles of the scores' ranks in the pool, the worst smallest; equal
    scores count half.
    """
    ordered = np.sort(pool)
    below, upto = (np.searchsorted(ordered, scores, side) for side in ("left", "right"))
    return ndtri(((below + upto) / 2 + 0.5) / (len(pool) + 1))


def _logistic(near: NDArray[np.float64], far: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the (m,) weights, not negative, of (k, m) probes against (n, m) documents."""
    rows = np.column_stack([np.concatenate([near, far]), np.ones(len(near) + len(far))])
    signs = np.concatenate([np.ones(len(near)), -np.ones(len(far))])
    shares = np.concatenate([np.full(len(side), 0.5 / len(side)) for side in (near, far)])

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margins = signs * (rows @ weights)
        ridge = np.append(weights[:-1], 0)
        slope = -(shares * signs * expit(-margins)) @ rows
        value = shares @ np.logaddexp(0, -margins) + _RIDGE * ridge @ ridge
        return float(value), slope + 2 * _RIDGE * ridge

    bounds = [(0, None)] * near.shape[1] + [(None, None)]
    found: Any = minimize(
        loss, np.zeros(rows.shape[1]), jac=True, method="L-BFGS-B", bounds=bounds,
        options={"ftol": 1e-12, "gtol": 1e-8, "maxiter": 500},
    )  # fmt: skip
    return found.x[:-1]


def _area(near: NDArray[np.float64], far: NDArray[np.float64]) -> float:
    """Returns the share of pairs in which the probe has the larger score; equal ones count half."""
    ranks = rankdata(np.concatenate([near, far]))[: len(near)]
    return float((ranks.sum() - len(near) * (len(near) + 1) / 2) / (len(near) * len(far)))
