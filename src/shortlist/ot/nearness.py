"""How far whole domains are from targets, on one scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from shortlist.ot import scale_of, sinkhorn_divergence

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from shortlist.ot import Cost

TOLERANCE = 1e-3  # L1 error of a marginal: of second order in a divergence


def domain_divergences(
    domains: Mapping[str, NDArray[np.float32]],
    targets: Mapping[str, NDArray[np.float32]],
    *,
    relative_epsilon: float,
    cost: Cost,
) -> dict[str, dict[str, float]]:
    """Returns the debiased Sinkhorn divergence of every domain to every target, by both names.

    One absolute epsilon for all of them, a share of the mean cost over all domains and targets: a
    divergence falls with epsilon, so that domains under different ones could not be compared.

    Args:
        domains: (n, d) vectors of a sample of each domain.
        targets: (m, d) vectors of a sample of each target.
        relative_epsilon: that share, above 0.
        cost: ground cost, in whose unit the divergences are.

    References:
        Kang et al. 2024, appendix C.2: the OT distance between a sample of each domain and the
        target decides which domains are kept. Deviations: the released code takes the regularised
        cost at epsilon 0.5 as it is; a broad domain is then charged for its own spread, and the
        number moves with epsilon. Here both are taken out by the divergence from itself.
    """
    scales = [scale_of(x, y, cost=cost) for x in domains.values() for y in targets.values()]
    epsilon = relative_epsilon * float(np.mean(scales))
    return {
        domain: {
            name: sinkhorn_divergence(
                x, y, epsilon=epsilon, relative=False, cost=cost, tolerance=TOLERANCE
            ).value
            for name, y in targets.items()
        }
        for domain, x in domains.items()
    }
