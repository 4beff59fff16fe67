"""Entropic optimal transport between a pool and a target, and the candidate potential it leaves
behind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray


def squared_euclidean(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Returns the (n, m) squared distances between the rows of x (n, d) and y (m, d)."""
    return (x.square().sum(1)[:, None] + y.square().sum(1)[None, :] - 2 * x @ y.T).clamp_min(0)


@dataclass(frozen=True)
class Transport:
    """A solved problem.

    Attributes:
        f: (m,) potential of the target points.
        epsilon: regularisation, in the unit of the cost.
        converged: whether the marginal error fell below the threshold.
        marginal_error: L1 distance of the plan's marginal from the prescribed one.
        iterations: Sinkhorn iterations.
    """

    f: torch.Tensor
    epsilon: float
    converged: bool
    marginal_error: float
    iterations: int


def solve(
    x: NDArray[Any], y: NDArray[Any], relative_epsilon: float, threshold: float, iterations: int
) -> Transport:
    """Returns the solution between the pool sample x (n, d) and the target y (m, d), uniform
    masses, by POT.
    """
    import ot

    candidates, targets = torch.from_numpy(x).float(), torch.from_numpy(y).float()
    cost = squared_euclidean(targets, candidates)
    epsilon = relative_epsilon * float(cost.mean())
    a = torch.full((len(targets),), 1 / len(targets))
    b = torch.full((len(candidates),), 1 / len(candidates))
    _, log = ot.bregman.sinkhorn_log(
        a, b, cost, epsilon, numItermax=iterations, stopThr=threshold, log=True, warn=False
    )
    # POT's plan is exp(log_u_i - C_ij / epsilon + log_v_j); ours is a_i b_j exp((f_i + g_j - C_ij)
    # / epsilon).
    f = epsilon * (log["log_u"] - torch.log(a))
    g = c_transform(candidates, targets, f, epsilon)
    row = torch.exp((f[:, None] + g[None, :] - cost) / epsilon).mean(1) * a
    error = float((row - a).abs().sum())
    return Transport(f, epsilon, error <= 10 * threshold, error, int(log["niter"]))


def c_transform(x: torch.Tensor, y: torch.Tensor, f: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Returns the potential of candidates x (b, d): g_j = -epsilon log sum_i a_i exp((f_i - C_ij) /
    epsilon), a uniform.
    """
    exponent = (f[None, :] - squared_euclidean(x, y)) / epsilon
    return -epsilon * (torch.logsumexp(exponent, dim=1) - torch.log(torch.tensor(float(len(f)))))
