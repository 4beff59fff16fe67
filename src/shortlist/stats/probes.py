"""Weights of methods by which held-out target texts (probes) are told from the pool."""
# scipy has no type stubs.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, ndtri
from scipy.stats import rankdata

from shortlist.errors import InvalidInput

_RIDGE = 1e-3  # penalty of the squared weights beside the mean log loss
_FOLDS = 5


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
