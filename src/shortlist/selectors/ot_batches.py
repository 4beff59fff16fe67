"""Transport between batches of pool and target (SAVA), and what it loses against one solve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from shortlist import progress
from shortlist.core import Features
from shortlist.errors import InvalidInput
from shortlist.ot import Cost, mean_cost, overlap, solve
from shortlist.selectors.base import Traits, TransductiveSelector, documents_of
from shortlist.settings import Count, Positive


class OTBatches(TransductiveSelector):
    """Gradients of transport between batches, averaged by a transport plan between the batches.

    A control for `gotd`, which solves the whole problem: the record says how well both rankings
    agree. The potentials of a batch are centred, so that a document is compared with those of its
    own batch alone.

    Formula:
        score(x_l) = -sum_j P_kj (g_l^kj - mean_l' g_l'^kj) / sum_j P_kj, x_l in batch k

        g^kj are the potentials of the pool's batch k in its transport to the target's batch j, P
        the exact plan between batches, whose costs are the transport costs of the pairs.

    Paper:
        Kessler, Le and Nguyen, ICLR 2025 (arXiv 2406.01130), algorithm 1.

    Deviations:
        No labels in the cost. Epsilon is relative to the mean cost of the whole problem in place of
        0.1; the plan between batches is exact in place of Sinkhorn's; batches are consecutive
        documents in the order of their ids, which are hashes, and differ in size by one at most.

    Cost:
        One solve for each pair of batches; with `sensitivity` also the whole solve.
    """

    traits = Traits(additive=True)

    def __init__(
        self,
        cost: Cost,
        relative_epsilon: Positive,
        tolerance: Positive,
        max_passes: Count,
        batch: Count,
        sensitivity: bool,
    ) -> None:
        """Stores the settings.

        Args:
            cost: ground cost.
            relative_epsilon: regularisation as a fraction of the mean cost.
            tolerance: L1 error of the target marginal, of a pair of batches, to stop at.
            max_passes: most passes over a batch.
            batch: most documents of a batch, of the pool and of the target.
            sensitivity: whether the ranking is compared with that of the whole solve.

        Raises:
            InvalidInput: epsilon is not positive, or a batch would hold fewer than two documents.
        """
        super().__init__()
        if batch < 2 or not relative_epsilon > 0:
            raise InvalidInput(
                "selector.batch must be at least 2 and selector.relative_epsilon above 0, found "
                f"{batch} and {relative_epsilon}"
            )
        self.cost: Cost = cost
        self.relative_epsilon, self.tolerance = relative_epsilon, tolerance
        self.max_passes, self.batch, self.compare = max_passes, batch, sensitivity

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps the scores; returns the number of batches and how the pairs converged."""
        candidates, targets = pool.dense, target.dense
        epsilon = self.relative_epsilon * mean_cost(candidates, targets, cost=self.cost)
        parts, target_parts = (_batches(features, self.batch) for features in (pool, target))
        potentials = np.empty((len(target_parts), len(pool)), dtype=np.float32)
        costs = np.empty((len(parts), len(target_parts)))
        errors: list[float] = []
        show = self.show_progress
        with progress.bar("transport", costs.size, "pairs of batches", show=show) as report:
            for k, rows in enumerate(parts):
                for j, columns in enumerate(target_parts):
                    solved = self._solved(
                        candidates[rows], targets[columns], epsilon, relative=False
                    )
                    potentials[j, rows] = (solved.g - solved.g.mean()).cpu().numpy()
                    costs[k, j] = solved.primal
                    errors.append(solved.target_error)
                    report(1)
        plan = batch_plan(costs, parts, target_parts)
        scores = np.empty(len(pool))
        for k, rows in enumerate(parts):
            scores[rows] = -(plan[k] / plan[k].sum()) @ potentials[:, rows]
        self.keep("pool_scores", torch.from_numpy(scores))
        return {
            "batches": len(parts),
            "target_batches": len(target_parts),
            "converged": max(errors) <= self.tolerance,
            "marginal_error": max(errors),
            "pairs_not_converged": int((np.array(errors) > self.tolerance).sum()),
        }

    def _solved(self, pool: Any, target: Any, epsilon: float, relative: bool) -> Any:
        return solve(
            pool,
            target,
            epsilon=epsilon,
            relative=relative,
            cost=self.cost,
            tolerance=self.tolerance,
            max_passes=self.max_passes,
            device=self.device,
        )

    @property
    def has_sensitivity(self) -> bool:
        """Whether the settings ask for a comparison with the whole solve."""
        return self.compare

    def sensitivity(self, target: Features, pool: Features) -> dict[str, Any]:
        """Returns the rank correlation with the potentials of the whole solve, and the overlap of
        the top 5 %; both are 1 of a single batch, but for rounding.
        """
        whole = self._solved(pool.dense, target.dense, self.relative_epsilon, relative=True)
        scores, exact = self.pool_scores.double().cpu(), -whole.g.cpu()
        ranks: Any = spearmanr(scores.numpy(), exact.numpy())
        return {
            "spearman_with_whole_solve": float(ranks.statistic),
            "overlap_with_whole_solve": overlap(exact, scores, 0.05),
            "whole_solve_converged": whole.converged,
        }


def _batches(features: Features, size: int) -> list[NDArray[np.int64]]:
    """Returns the rows of each batch, in the order of the ids."""
    ids = documents_of(features, "selector=ot_batches").id_bits()
    order = np.argsort(ids, kind="stable")
    return [np.sort(part) for part in np.array_split(order, -(-len(order) // size))]


def batch_plan(
    costs: NDArray[np.float64],
    parts: list[NDArray[np.int64]],
    target_parts: list[NDArray[np.int64]],
) -> NDArray[np.float64]:
    """Returns the exact transport plan (K, J) between batches whose masses are their sizes."""
    import ot  # POT takes half a second to import

    masses = [
        np.array([len(part) for part in side], dtype=np.float64) for side in (parts, target_parts)
    ]
    pool_masses, target_masses = (mass / mass.sum() for mass in masses)
    emd: Any = ot.emd  # pyright: ignore[reportUnknownMemberType]
    return np.asarray(emd(pool_masses, target_masses, costs), dtype=np.float64)
