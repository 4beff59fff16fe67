"""Targeted data selection by optimal transport (TAROT), Feng et al., ICML 2025, arXiv 2412.00420."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from shortlist.errors import InvalidInput
from shortlist.ot import Transport, solve
from shortlist.selectors.joint_whitening import whiten, whitening
from shortlist.selectors.neighbours import nearest
from shortlist.selectors.whole_pool import WholePool

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from shortlist.core import Features

log = logging.getLogger(__name__)


class TAROT(WholePool):
    """Nearest documents in whitened space, as many layers as lower the transport distance.

    Pool and target are whitened together and scaled to length one; the distance is
    sqrt(2 - 2 cosine). With `folds` parts of the target: the k nearest documents of one part's
    texts are compared with the other parts by transport, k = 1, 2, ... until the distance stops
    falling. All folds' documents together are the selection that the method recommends; the record
    says how many they are (`recommended_budget`), and they come first in the order: by layer (as
    whose k-th neighbour they come), within a layer by their potential in one transport to all
    targets. Further layers follow.

    Deviations from the released code: whitening with a ridge relative to the mean variance;
    regularisation relative to the mean distance, solved to a marginal error, in place of blur 0.01;
    one solve ranks all layers, where theirs ranks the layer that is cut; folds by content, not by a
    seed. The paper's vectors are gradients (`featurizer: gradients`); the default, the model's mean
    states, costs a forward pass in place of a backward one per checkpoint. Cost: one product with
    the targets and some ten small solves a fold; memory: a second copy of the vectors.
    """

    longer = "neighbours"

    def __init__(
        self, folds: int, neighbours: int, ridge: float, relative_epsilon: float, tolerance: float
    ) -> None:
        """Stores the settings.

        Args:
            folds: parts of the target.
            neighbours: most layers.
            ridge: share of the mean variance that is added before whitening.
            relative_epsilon: regularisation as a fraction of the mean distance.
            tolerance: L1 error of the target marginal.
        """
        super().__init__()
        if folds < 2 or neighbours < 1 or ridge < 0:
            raise InvalidInput(
                "selector.folds must be at least 2, selector.neighbours at least 1 and selector.ridge "
                f"not negative, found {folds}, {neighbours}, {ridge}"
            )
        self.folds, self.neighbours, self.ridge = folds, neighbours, ridge
        self.relative_epsilon, self.tolerance = relative_epsilon, tolerance

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps the order; reports the recommended budget and each fold's distances.

        Raises:
            InvalidInput: the target has fewer texts than folds.
        """
        assert pool.documents is not None
        if len(target) < self.folds:
            raise InvalidInput(
                f"selector.folds={self.folds} needs as many target texts, found {len(target)}; "
                f"set selector.folds={max(2, len(target))} or less"
            )
        candidates, targets = np.asarray(pool.values), np.asarray(target.values)
        mean, matrix = whitening([candidates, targets], self.ridge)
        white, wanted = whiten(candidates, mean, matrix), whiten(targets, mean, matrix)
        found = nearest(white, wanted, self.neighbours, "cosine", device=self.device)
        # In the order of ids, so that the order of the pool's rows has no say in a solve.
        by_id = np.argsort(pool.documents.id_words(), kind="stable")
        place = np.empty_like(by_id)
        place[by_id] = np.arange(len(by_id))
        rows = place[found.rows.cpu().numpy()]
        white = white[torch.from_numpy(by_id)]
        useful = found.values.cpu().numpy() > 0
        chosen, facts = self._recommended(rows, useful, white, wanted)
        order, solved = self._ordered(rows, chosen, white, wanted)
        self.keep_order(by_id[order], len(pool))
        return {**facts, "converged": solved.converged, "marginal_error": solved.target_error}

    def _transport(self, documents: torch.Tensor, targets: torch.Tensor) -> Transport:
        return solve(
            documents,
            targets,
            epsilon=self.relative_epsilon,
            cost="euclidean",
            tolerance=self.tolerance,
        )

    def _recommended(
        self,
        rows: NDArray[np.int64],
        useful: NDArray[np.bool_],
        white: torch.Tensor,
        wanted: torch.Tensor,
    ) -> tuple[NDArray[np.int64], dict[str, Any]]:
        """Returns the documents of all folds, and the report."""
        level = logging.getLogger("shortlist.ot").level
        logging.getLogger("shortlist.ot").setLevel(logging.WARNING)
        part = np.arange(len(rows)) % self.folds  # texts are sorted by a hash: any cut is random
        chosen: list[NDArray[np.int64]] = []
        layers: list[int] = []
        distances: list[float] = []
        unsolved = 0
        for fold in range(self.folds):
            rest = wanted[torch.from_numpy(part != fold)]
            best, kept, depth = np.inf, np.empty(0, dtype=np.int64), 0
            for k in range(1, rows.shape[1] + 1):
                near, fit = rows[part == fold, :k], useful[part == fold, :k]
                documents = np.unique(near[fit])
                if len(documents) == len(kept):
                    break  # nothing more that is on the target's side
                found = self._transport(white[torch.from_numpy(documents)], rest)
                unsolved += not found.converged
                # The primal value is that of a plan that meets both marginals, even where the solve
                # fell short; the dual one is then anything.
                if found.primal >= best:
                    break
                best, kept, depth = found.primal, documents, k
            chosen.append(kept)
            layers.append(depth)
            distances.append(float(best))
        logging.getLogger("shortlist.ot").setLevel(level)
        together = np.unique(np.concatenate(chosen))
        return together, {
            "recommended_budget": len(together),
            "layers": layers,
            "distances": distances,
            "folds_out_of_neighbours": sum(k == rows.shape[1] for k in layers),
            "solves_not_converged": unsolved,
        }

    def _ordered(
        self,
        rows: NDArray[np.int64],
        chosen: NDArray[np.int64],
        white: torch.Tensor,
        wanted: torch.Tensor,
    ) -> tuple[NDArray[np.int64], Transport]:
        """Returns all documents of the lists (recommended first, then by layer, then by potential)
        and the solve that gave the potentials.
        """
        listed = np.unique(rows)
        layer = np.full(len(white), rows.shape[1])
        np.minimum.at(layer, rows.ravel(), np.tile(np.arange(rows.shape[1]), len(rows)))
        solved = self._transport(white[torch.from_numpy(listed)], wanted)
        later = ~np.isin(listed, chosen)
        return listed[np.lexsort((solved.g.cpu().numpy(), layer[listed], later))], solved
