"""The rows of a transport plan that belong to some documents of the pool."""
# The stubs of torch leave these unknown.
# pyright: reportUnknownMemberType=false, reportMissingTypeStubs=false

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from shortlist.ot.costs import Cost, Geometry


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
