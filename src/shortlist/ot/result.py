"""What a solve returns, and the calibration that turns potentials into GOT-D scores."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .costs import Cost
from .sample import Penalties

Regime = Literal["exact", "dense", "streamed"]


@dataclass(frozen=True)
class Transport:
    """Potentials of optimal transport between a pool and a target, and how good they are.

    Convention: candidates j are the pool (N) with masses b_j, targets i (M) have masses a_i;
    g_j = -epsilon log sum_i a_i exp((f_i - C_ij) / epsilon), and the plan is
    P_ij = a_i b_j exp((f_i + g_j - C_ij) / epsilon). The objective is
    <C, P> + epsilon KL(P | a x b). f is shifted so that <a, f> = 0 (balanced problem), hence a
    potential g reads as a cost. The GOT-D score of a document is `score`: larger is chosen first.

    Attributes:
        f: Target potential, (M,), float64. Zero for a target without mass.
        a: Target masses, (M,), float64, summing to one.
        g: Candidate potential, (N,), float64.
        converged: Whether both errors are within the tolerance asked for. If not, the ranking may
            still be usable, but the caller must look.
        target_error: L1 error of the target marginal, measured over the whole pool, as a share of
            the mass that is wanted there (all of it, if balanced).
        pool_error: L1 error of the pool marginal, likewise: the larger of what the last visit
            summed and of what float64 finds on a sample of rows (`checking.pool_misfit`).
        pool_error_worst: Largest relative error of a row's mass among the rows of that sample.
        primal: Upper bound of the optimum from a feasible plan.
        dual: Lower bound of the optimum.
        gap: primal - dual.
        epsilon: Absolute regularisation; 0 for the exact problem.
        scale: Mean cost between pool and target (`scale.measure_costs` says over which rows).
        tolerance: Target error that was asked for.
        cost: Ground cost.
        penalties: KL penalties of the marginals, in units of the cost.
        passes: Pool rows visited, all visits together, divided by N.
        full_passes: Visits of the whole pool.
        seconds: Wall-clock time.
        dtype: Arithmetic of the products; sums are float64 throughout.
        regime: How it was solved.
        target_marginal: Target marginal of the plan over the pool, (M,), float64.
    """

    f: Tensor
    a: Tensor
    g: Tensor
    converged: bool
    target_error: float
    pool_error: float
    pool_error_worst: float
    primal: float
    dual: float
    gap: float
    epsilon: float
    scale: float
    tolerance: float
    cost: Cost
    penalties: Penalties
    passes: float
    full_passes: int
    seconds: float
    dtype: torch.dtype
    regime: Regime
    target_marginal: Tensor

    @property
    def score(self) -> Tensor:
        """Returns the GOT-D score of every candidate, (N,): larger is chosen first."""
        return -calibrate(self.g)


def calibrate(g: Tensor) -> Tensor:
    """Returns the calibrated gradient of the transport cost in each document's mass.

    g_j - sum_{k != j} g_k / (N - 1): the derivative when one document gains mass and all others
    lose it equally. An increasing affine map of g, so the ranking is that of -g.

    References:
        Just et al. 2023 (LAVA), section 3.2; Kang et al. 2024 (GOT-D), section 3. The released
        GOT-D code divides by N in place of N - 1; the ranking is the same.
    """
    n = len(g)
    if n == 1:
        return torch.zeros_like(g)
    return (g - g.double().mean()) * (n / (n - 1))


def overlap(first: Tensor, second: Tensor, fraction: float) -> float:
    """Returns the share of the top `fraction` by `first` (larger is better) also top by `second`."""
    k = max(1, round(fraction * len(first)))
    chosen = torch.zeros(len(first), dtype=torch.bool)
    chosen[torch.topk(first, k).indices.cpu()] = True
    return float(chosen[torch.topk(second, k).indices.cpu()].double().mean())
