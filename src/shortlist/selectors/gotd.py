"""GOT-D: gradients of optimal transport, Kang et al., ICLR 2024, arXiv 2405.02774."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from shortlist import progress
from shortlist.numerics.explanation import transport_plan
from shortlist.numerics.transport import CTransform, Transport, epsilon_sensitivity, solve
from shortlist.selectors.base import Selector

if TYPE_CHECKING:
    from shortlist.core import Features
    from shortlist.numerics.explanation import Plan
    from shortlist.numerics.transport import Cost


log = logging.getLogger(__name__)


class TransportSelector(Selector):
    """A method whose score is -g_j, the candidate potential that a target potential f implies.

    What `fit` keeps is small (the target's vectors and f), and any document can be scored by it,
    seen or not: g_j = -epsilon log sum_i a_i exp((f_i - C_ij) / epsilon).
    """

    additive = True  # the gradient of sum_t w_t OT(pool, target_t) is sum_t w_t g_t
    gradient = True
    targets: torch.Tensor
    f: torch.Tensor
    epsilon: torch.Tensor
    cost: Cost

    def __init__(self, cost: Cost) -> None:
        """Stores the ground cost: `sqeuclidean`, `euclidean` or `cosine`."""
        super().__init__()
        self.cost = cost
        self._transform: CTransform | None = None

    def remember(self, target: Features, f: torch.Tensor, epsilon: float) -> None:
        """Keeps what `score` needs; `epsilon` in the unit of the cost."""
        self.keep("targets", torch.from_numpy(np.array(target.values)))
        self.keep("f", f.double().cpu())
        self.keep("epsilon", torch.tensor(epsilon, dtype=torch.float64))

    def keep(self, name: str, value: torch.Tensor) -> None:
        """Keeps a tensor, and forgets the scoring function that was made of the earlier ones."""
        self._transform = None
        super().keep(name, value)

    def score(self, batch: torch.Tensor) -> torch.Tensor:
        """Returns -g_j: high where a document is near targets, most near those that cost the most.

        Calibration (LAVA's gradient) is an increasing affine map of g; it cannot change a ranking
        and is left out.
        """
        if self._transform is None or self._transform.f.device != batch.device:
            self._transform = CTransform(
                self.targets,
                self.f,
                epsilon=float(self.epsilon),
                cost=self.cost,
                device=batch.device,
            )
        return -self._transform(batch)

    def plan(self, batch: torch.Tensor) -> Plan:
        """Returns the documents' rows of the transport plan that f implies."""
        masses = dict(self.named_buffers()).get("target_masses")
        return transport_plan(
            batch, self.targets, self.f, epsilon=float(self.epsilon), cost=self.cost, a=masses
        )


class GOTD(TransportSelector):
    """Documents whose mass, if there were more of it, would lower the transport cost from pool to
    target the most.

    The gradient of OT(pool, target) in the mass of document j is its potential g_j up to a constant
    (Theorem 1). f_i is high where the pool is scarce around target i: the only place where the
    pool's density, hence the correction for what the model has already read, enters.

    Deviations from the released code: epsilon is relative to the mean cost in place of 0.1, padding
    never enters a vector, the solve is run to a stated marginal error over the whole pool, and one
    that falls short is marked in the record.
    """

    def __init__(
        self,
        cost: Cost,
        relative_epsilon: float,
        tolerance: float,
        max_passes: int,
        sensitivity: bool,
    ) -> None:
        """Stores the settings.

        Args:
            cost: ground cost.
            relative_epsilon: regularisation as a fraction of the mean cost; 0 solves exactly.
            tolerance: L1 error of the target marginal, over the whole pool, to stop at.
            max_passes: most visits of the whole pool.
            sensitivity: also solve at half of epsilon and report the overlap of the top 5 %.
        """
        super().__init__(cost)
        self.relative_epsilon, self.tolerance = relative_epsilon, tolerance
        self.max_passes, self.sensitivity = max_passes, sensitivity

    def ablation(self) -> dict[str, Any]:
        """Returns the settings of soft-kNN, f = 0, at the same cost and epsilon."""
        return {
            "_target_": "shortlist.selectors.soft_knn.SoftKNN",
            "cost": self.cost,
            "relative_epsilon": self.relative_epsilon,
        }

    def fit(self, target: Features, pool: Features) -> None:
        """Keeps the target's vectors, its potential f, and epsilon; reports the certificate."""
        candidates, targets = np.asarray(pool.values), np.asarray(target.values)
        with progress.bar("transport", None, "passes", show=self.show_progress) as report:
            done = 0

            def step(passes: float, error: float) -> None:
                nonlocal done
                report(int(passes) - done)
                done = int(passes)

            found = solve(
                candidates,
                targets,
                epsilon=self.relative_epsilon,
                cost=self.cost,
                tolerance=self.tolerance,
                max_passes=self.max_passes,
                device=self.device,
                progress=step,
            )
        self.remember(target, found.f, found.epsilon)
        self.report = certificate(found)
        if self.sensitivity and found.epsilon > 0:
            log.info("once more at half of epsilon: how far the top 5 %% hangs on it")
            half = epsilon_sensitivity(found, candidates, targets)
            self.report["overlap_at_half_epsilon"] = half.overlap
            self.report["converged_at_half_epsilon"] = half.converged


def certificate(found: Transport) -> dict[str, Any]:
    """Returns what proves how good a solve is, as plain data for the record."""
    return {
        "converged": found.converged,
        "marginal_error": found.target_error,
        "pool_error": found.pool_error,
        "dual": found.dual,
        "primal": found.primal,
        "gap": found.gap,
        "epsilon": found.epsilon,
        "mean_cost": found.scale,
        "passes": found.passes,
        "regime": found.regime,
        "dtype": str(found.dtype).removeprefix("torch."),
    }
