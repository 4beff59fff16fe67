"""How many documents: where one more stops helping."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from shortlist.ot import calibrate, scale_of, sinkhorn_divergence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from shortlist.ot import Cost

TOLERANCE = 1e-3  # L1 error of a marginal: of second order in a divergence


def spaced(n: int, count: int, own: int) -> list[int]:
    """Returns up to `count` budgets from n / 1000 to n, evenly in the logarithm, and `own`."""
    found = np.geomspace(max(1, n / 1000), n, count).round().astype(int)
    return sorted({*found.tolist(), min(own, n)})


def calibrated_gradients(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the calibrated gradient of each document whose score is minus its gradient, (n,).

    Negative: the transport cost falls if this document gains mass and all others lose it alike.
    """
    return calibrate(torch.as_tensor(-scores)).numpy()


def sign_change(gradients: NDArray[np.float64]) -> int:
    """Returns how many documents have a negative calibrated gradient.

    The best so many, and no others, lower the transport cost to first order.
    """
    return int((gradients < 0).sum())


def share(k: int, n: int, weight: float) -> float:
    """Returns the mass of k documents that count `weight` times more, on top of a pool of n.

    lambda = weight k / (n + weight k): what Lemma 1 of GOT-D calls the share of the selection in
    the distribution that a model has seen after a light fine-tuning, for a model that holds one
    chosen document for as much as `weight` of the pool's.
    """
    return weight * k / (n + weight * k)


def mixture_divergences(
    pool: NDArray[np.float32],
    selections: Sequence[NDArray[np.float32]],
    shares: Sequence[float],
    target: NDArray[np.float32],
    target_masses: NDArray[np.float64],
    *,
    relative_epsilon: float,
    cost: Cost,
) -> tuple[float, list[float]]:
    """Returns the divergence to the target of the pool, and of its mixture with each selection.

    The mixture is (1 - lambda) pool + lambda selection, both uniform (Kang et al. 2024, Lemma 1).
    One absolute epsilon for all of them.

    Args:
        pool: (n, d) vectors of a sample of the pool.
        selections: (k, d) vectors of each selection, or of a sample of it.
        shares: lambda of each selection.
        target: (m, d) vectors of the targets.
        target_masses: (m,) their masses.
        relative_epsilon: regularisation as a share of the mean cost between pool and target.
        cost: ground cost.
    """
    epsilon = relative_epsilon * scale_of(pool, target, cost=cost)

    def divergence(points: NDArray[np.float32], masses: NDArray[np.float64]) -> float:
        return sinkhorn_divergence(
            points, target, epsilon=epsilon, relative=False, cost=cost,
            a=target_masses, b=masses, tolerance=TOLERANCE,
        ).value  # fmt: skip

    def uniform(rows: int, mass: float) -> NDArray[np.float64]:
        return np.full(rows, mass / rows)

    alone = divergence(pool, uniform(len(pool), 1.0))
    mixed = [
        divergence(
            np.concatenate([pool, chosen]),
            np.concatenate([uniform(len(pool), 1 - mass), uniform(len(chosen), mass)]),
        )
        for chosen, mass in zip(selections, shares, strict=True)
    ]
    return alone, mixed


def stops_falling(values: Sequence[float], start: float, slack: float) -> int:
    """Returns the first position whose value is within `slack` of the largest fall from the lowest.

    The largest fall is `start` less the lowest value; where nothing falls below `start`, it is the
    position of the lowest value.
    """
    lowest = min(values)
    bound = lowest + slack * max(0.0, start - lowest)
    return next(at for at, value in enumerate(values) if value <= bound)
