"""GOT-D as released: the settings of the published notebook, so that both can be compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.ot import released_sinkhorn
from shortlist.selectors.gotd import TransportSelector, certificate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shortlist.core import Features


class GOTDPaper(TransportSelector):
    """GOT-D with the released solver: plain Sinkhorn with momentum, stopped early.

    Squared Euclidean cost, epsilon 0.1 absolute, momentum 1.3, threshold 0.1 on the L1 marginal
    error, at most 2000 iterations (paper, appendix C.3; released selection notebook). The released
    code prints whether this converged and goes on; here the record says so.
    """

    version = 2

    def __init__(
        self, epsilon: float, momentum: float, threshold: float, max_iterations: int
    ) -> None:
        """Stores the released solver's settings, in its own words."""
        super().__init__("sqeuclidean")
        self.absolute_epsilon, self.momentum = epsilon, momentum
        self.threshold, self.max_iterations = threshold, max_iterations

    def ablation_baseline(self) -> dict[str, Any]:
        """Returns the settings of soft-kNN, f = 0, at the same absolute epsilon."""
        return {
            "_target_": "shortlist.selectors.soft_knn.SoftKNNAt",
            "cost": self.cost,
            "epsilon": self.absolute_epsilon,
        }

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps the target's vectors and the potential f at which the solver stopped."""
        found = released_sinkhorn(
            np.asarray(pool.values),
            np.asarray(target.values),
            epsilon=self.absolute_epsilon,
            momentum=self.momentum,
            threshold=self.threshold,
            max_iterations=self.max_iterations,
            device=self.device,
        )
        self.remember(target, found.f, found.epsilon)
        # The released rule looks at the pool's marginal, so that is the error it stopped at.
        return certificate(found) | {"marginal_error": found.pool_error}
