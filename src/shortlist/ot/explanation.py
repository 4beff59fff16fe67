"""Who serves whom: the plan between the documents that were picked and the target.

Everything here looks at picks x targets only, a batch of picks at a time.
"""
# The stubs of torch leave these unknown.
# pyright: reportUnknownMemberType=false, reportMissingTypeStubs=false

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shortlist.ot.costs import Cost, Geometry

NEAR = 0.5  # of the way from a typical pick's cost to the mean cost: see `left_without`


@dataclass(frozen=True)
class Plan:
    """Where the mass of some documents goes.

    Attributes:
        shares: (b, M) share of each document's mass that goes to each target; rows sum to one.
        costs: (b, M) cost between them.
    """

    shares: Tensor
    costs: Tensor


def transport_plan(
    documents: Tensor,
    targets: Tensor,
    f: Tensor,
    *,
    epsilon: float,
    cost: Cost,
    a: Tensor | None = None,
) -> Plan:
    """Returns the rows P_ij / b_j of the plan that the target potential f implies.

    P_ij = a_i b_j exp((f_i + g_j - C_ij) / epsilon), and g_j makes a row sum to one (of a penalised
    pool marginal: to the share of b_j that is moved, which is left out here), so P_ij / b_j is the
    softmax over i of log a_i + (f_i - C_ij) / epsilon. With epsilon = 0 everything goes
    to the target at which C_ij - f_i is least, as the canonical potential of the exact problem has
    it.

    Args:
        documents: (b, d).
        targets: (M, d).
        f: (M,).
        epsilon: absolute.
        cost: ground cost.
        a: (M,) target masses; uniform by default.
    """
    geometry = Geometry.of(targets.to(documents), cost)
    rows = geometry.rows(documents)
    costs = geometry.part(rows, rows.new_empty(len(rows), len(f)))
    costs = (costs + geometry.offset(rows)[:, None]).clamp_min(0)
    gain = f.to(costs) - costs
    if epsilon == 0:
        best = torch.zeros_like(gain)
        return Plan(best.scatter_(1, gain.argmax(1, keepdim=True), 1.0), costs)
    bias = 0.0 if a is None else a.to(costs).log()
    return Plan(torch.softmax(gain / epsilon + bias, 1), costs)


def cosine_plan(documents: Any, targets: Any, *, epsilon: float) -> Plan:
    """Returns soft nearest targets by cosine, for methods whose scores come from no plan.

    Shares are the softmax over i of -C_ij / epsilon with C = 1 - cosine. A vector of zeros has
    cosine 0 to all.

    Args:
        documents: (b, d), dense or CSR.
        targets: (M, d), likewise.
        epsilon: absolute, above 0.
    """
    product: Any = _unit(documents) @ _unit(targets).T
    dense: Any = product.toarray() if hasattr(product, "toarray") else product
    costs = torch.from_numpy(np.asarray(1 - dense, dtype=np.float32)).clamp_min(0)
    return Plan(torch.softmax(-costs / epsilon, 1), costs)


def _unit(values: Any) -> Any:
    """Returns rows of length one, dense or CSR; a row of zeros stays."""
    if isinstance(values, np.ndarray):
        dense: NDArray[Any] = np.asarray(values, dtype=np.float32)
        lengths: Any = np.linalg.norm(dense, axis=1, keepdims=True)
        return np.divide(dense, lengths, where=lengths > 0, out=np.zeros_like(dense))
    found = values.astype(np.float32)
    lengths = np.sqrt(np.asarray(found.multiply(found).sum(axis=1)).ravel())
    counts = np.diff(found.indptr)
    found.data = found.data / np.repeat(np.where(lengths > 0, lengths, 1.0), counts)
    return found


@dataclass(frozen=True)
class Trace:
    """What a plan says of k picks and M targets, each list with the most first.

    Attributes:
        targets: (k, t) targets that get most of each pick's mass.
        shares: (k, t) share of the pick's mass that each gets.
        costs: (k, t) cost to each.
        least: (k,) cost of each pick to its nearest target.
        mass: (M,) mass that each target gets from the picks, 1 on average.
        servers: (M, t) picks that bring each target most.
        brought: (M, t) share of what the target gets that each brings; 0 where nothing comes.
        nearest: (M,) pick at the least cost.
        distance: (M,) its cost.
    """

    targets: NDArray[np.int64]
    shares: NDArray[np.float64]
    costs: NDArray[np.float64]
    least: NDArray[np.float64]
    mass: NDArray[np.float64]
    servers: NDArray[np.int64]
    brought: NDArray[np.float64]
    nearest: NDArray[np.int64]
    distance: NDArray[np.float64]


def trace(plans: Iterable[Plan], weights: NDArray[np.float64], top: int) -> Trace:
    """Returns who serves whom.

    Args:
        plans: the plan of the picks, batch after batch.
        weights: (k,) mass of each pick.
        top: how many targets a pick and picks a target are listed.
    """
    rows: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    best = servers = nearest = distance = mass = torch.empty(0)
    first = 0
    for plan in plans:
        shares, costs = plan.shares.double().cpu(), plan.costs.double().cpu()
        value, index = shares.topk(min(top, shares.shape[1]), dim=1)
        rows.append((index, value, costs.gather(1, index), costs.amin(1)))
        weight = torch.tensor(weights[first : first + len(shares)], dtype=torch.float64)
        given = shares * weight[:, None]
        # The batch's own best are merged with the best so far, so that k x M is never held.
        found, at = given.T.topk(min(top, len(given)), dim=1)
        close, where = costs.min(0)
        if first == 0:
            mass, best, servers = given.sum(0), found, at
            nearest, distance = where, close
        else:
            mass = mass + given.sum(0)
            both, names = torch.cat([best, found], 1), torch.cat([servers, at + first], 1)
            best, order = both.topk(min(top, both.shape[1]), dim=1)
            servers = names.gather(1, order)
            closer = close < distance
            nearest = torch.where(closer, where + first, nearest)
            distance = torch.where(closer, close, distance)
        first += len(shares)
    share = torch.where(mass[:, None] > 0, best / mass[:, None], 0.0)
    index, value, cost, least = (torch.cat(column) for column in zip(*rows, strict=True))
    return Trace(
        targets=index.numpy(),
        shares=value.numpy(),
        costs=cost.numpy(),
        least=least.numpy(),
        mass=(mass * len(mass) / mass.sum()).numpy(),
        servers=servers.numpy(),
        brought=share.numpy(),
        nearest=nearest.numpy(),
        distance=distance.numpy(),
    )


def left_without(traced: Trace, mean_cost: float) -> tuple[NDArray[np.bool_], float]:
    """Returns which targets no pick serves, (M,), and the cost beyond which that is so.

    A target is left without if even its nearest pick is more than halfway from near to unrelated,
    where near is what the median pick costs to its own nearest target, and unrelated is the mean
    cost between pool and target. Mass cannot tell: a balanced plan sends every target its mass,
    from however far.

    Args:
        traced: what `trace` found.
        mean_cost: mean cost between pool and target.
    """
    near = float(np.median(traced.least))
    limit = near + NEAR * max(mean_cost - near, 0.0)
    return traced.distance > limit, limit
