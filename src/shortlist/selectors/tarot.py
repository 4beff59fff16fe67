"""Targeted data selection by optimal transport: TAROT, Feng et al., ICML 2025, arXiv 2412.00420."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shortlist.core import Features
from shortlist.errors import InvalidInput
from shortlist.ot import Transport, solve, transport_plan
from shortlist.progress import quiet
from shortlist.selectors.base import TransductiveSelector, documents_of
from shortlist.selectors.neighbours import nearest
from shortlist.settings import NonNegative
from shortlist.vectors import Array, read_rows, row_slices, unit_rows


class TAROT(TransductiveSelector):
    """Nearest documents in whitened space, as many layers as lower the transport distance.

    Pool and target are whitened together and scaled to length one. With `folds` parts of the
    target: the k nearest documents of one part's texts are compared with the other parts by
    transport, k = 1, 2, ... until the distance stops falling. The documents of all folds are the
    selection that the method recommends; their number is recorded (`recommended_budget`), and they
    come first in the ranking. Further layers follow.

    Formula:
        Layer of x: the smallest k for which x is a k-th neighbour of a target text, by the distance
        sqrt(2 - 2 cosine)

        Within a layer, documents are ordered by their potential in one transport to all targets.

    Paper:
        Feng et al., ICML 2025 (arXiv 2412.00420).

    Deviations:
        Whitening with a ridge relative to the mean variance; regularisation relative to the mean
        distance, solved to a marginal error, in place of blur 0.01; one solve ranks all layers,
        where the released code ranks the layer that is cut; folds by content, not by a seed. Of the
        layer that a budget cuts, the nearest documents are selected. The released code
        (vita-epfl/TAROT of 2024-12) selects the farthest, recommends one layer more (the first that
        does not lower the distance), and does not whiten: it multiplies by inv(L), the transpose of
        what whitening needs. `released` does these three as it does. The paper's vectors are
        gradients (`featurizer=gradients`); the default, the model's mean states, costs a forward
        pass in place of a backward one per checkpoint.

    Cost:
        One product with the targets and some ten small solves a fold; memory: a second copy of the
        vectors.
    """

    version = 2
    ranking_length = "neighbours"

    def __init__(
        self,
        folds: int,
        neighbours: int,
        ridge: float,
        relative_epsilon: NonNegative,
        tolerance: NonNegative,
        released: bool,
    ) -> None:
        """Stores the settings.

        Args:
            folds: parts of the target.
            neighbours: most layers.
            ridge: share of the mean variance that is added before whitening.
            relative_epsilon: regularisation as a fraction of the mean distance.
            tolerance: L1 error of the target marginal.
            released: whether matrix, cut layer and recommended layers are those of the released
                code (see Deviations) in place of the paper's.
        """
        super().__init__()
        if folds < 2 or neighbours < 1 or ridge < 0:
            raise InvalidInput(
                "selector.folds must be at least 2, selector.neighbours at least 1 and selector.ridge "
                f"not negative, found {folds}, {neighbours}, {ridge}"
            )
        self.folds, self.neighbours, self.ridge = folds, neighbours, ridge
        self.relative_epsilon, self.tolerance = relative_epsilon, tolerance
        self.released = released

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps the ranking; returns the recommended budget and each fold's distances.

        Raises:
            InvalidInput: the target has fewer texts than folds.
        """
        if len(target) < self.folds:
            fewer = f"set selector.folds={len(target)} or less" if len(target) > 1 else "add texts"
            raise InvalidInput(
                f"selector.folds={self.folds} needs as many target texts, found {len(target)}; {fewer}"
            )
        candidates, targets = pool.dense, target.dense
        mean, matrix = joint_whitening([candidates, targets], self.ridge)
        if self.released:
            matrix = matrix.T
        white, wanted = whiten(candidates, mean, matrix), whiten(targets, mean, matrix)
        near = nearest(white, wanted, self.neighbours, "cosine", device=self.device)
        # In the order of ids, so that the order of the pool's rows does not enter a solve.
        by_id = np.argsort(documents_of(pool, "selector=tarot").id_bits(), kind="stable")
        place = np.empty_like(by_id)
        place[by_id] = np.arange(len(by_id))
        rows = place[near.rows.cpu().numpy()]
        white = white[torch.from_numpy(by_id)]
        useful = near.values.cpu().numpy() > 0
        chosen, facts = self._recommended(rows, useful, white, wanted)
        ranking, solved = self._ranked(rows, chosen, white, wanted)
        self.keep_ranking(by_id[ranking], len(pool))
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
        """Returns the documents that all folds recommend, and facts.

        Args:
            rows: (M, k) nearest documents of each target.
            useful: (M, k) whether their cosine is above 0.
            white: (N, d) whitened pool.
            wanted: (M, d) whitened targets.
        """
        part = np.arange(len(rows)) % self.folds  # texts are sorted by a hash: any cut is random
        chosen: list[NDArray[np.int64]] = []
        layers: list[int] = []
        distances: list[float] = []
        unsolved = 0
        for fold in range(self.folds):
            rest = wanted[torch.from_numpy(part != fold)]
            best, kept, depth = np.inf, np.empty(0, dtype=np.int64), 0
            for k in range(1, rows.shape[1] + 1):
                documents = np.unique(rows[part == fold, :k][useful[part == fold, :k]])
                if len(documents) == len(kept):
                    break  # no further document has a cosine above 0
                with quiet("shortlist.ot"):
                    solved = self._transport(white[torch.from_numpy(documents)], rest)
                unsolved += not solved.converged
                distance = transport_distance(solved, white[torch.from_numpy(documents)], rest)
                if distance >= best:
                    if self.released:
                        kept, depth = documents, k
                    break
                best, kept, depth = distance, documents, k
            chosen.append(kept)
            layers.append(depth)
            distances.append(float(best))
        together = np.unique(np.concatenate(chosen))
        return together, {
            "recommended_budget": len(together),
            "layers": layers,
            "distances": distances,
            "folds_out_of_neighbours": sum(k == rows.shape[1] for k in layers),
            "solves_not_converged": unsolved,
        }

    def _ranked(
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
        potentials = solved.g.cpu().numpy()
        within = -potentials if self.released else potentials
        return listed[np.lexsort((within, layer[listed], later))], solved


def transport_distance(solved: Transport, documents: torch.Tensor, targets: torch.Tensor) -> float:
    """Returns <C, P>, the cost of the plan without its divergence; documents count equally.

    The primal value holds epsilon KL(P | a x b) besides, which grows with the number of documents:
    by it the distance stops falling some layers before that of exact transport.
    """
    plan = transport_plan(documents, targets, solved.f, epsilon=solved.epsilon, cost="euclidean")
    return float((plan.shares.double() * plan.costs).sum(1).mean())


def joint_whitening(parts: Sequence[Array], ridge: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns (mean (d,), matrix (d, d)), float64, that whiten the rows of all parts together.

    Cholesky whitening: with the covariance C and L L' = C + ridge (trace C / d) I, the matrix is
    inv(L)'. One reading of the parts for the mean and one for the covariance, block by block.

    Args:
        parts: matrices (n_i, d), torch or numpy (memory maps are read block by block).
        ridge: share of the mean variance added to each variance, so that directions with little
            more than noise are not magnified.
    """
    count = sum(len(part) for part in parts)
    dimensions = parts[0].shape[1]
    total = torch.zeros(dimensions, dtype=torch.float64)
    for rows in _blocks(parts):
        total += rows.sum(0)
    mean = total / count
    covariance = torch.zeros(dimensions, dimensions, dtype=torch.float64)
    for rows in _blocks(parts):
        centred = rows - mean
        covariance += centred.T @ centred
    covariance /= count
    level = float(covariance.trace()) / dimensions
    covariance.diagonal().add_(ridge * level if level > 0 else 1.0)
    lower = torch.linalg.cholesky(covariance)
    return mean, torch.linalg.solve_triangular(lower, torch.eye(dimensions).double(), upper=False).T


def whiten(part: Array, mean: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Returns the rows whitened and at length one, (n, d) float32; as much memory as the rows."""
    out = torch.empty(len(part), len(mean))
    for at, rows in zip(row_slices(len(part)), _blocks([part]), strict=True):
        out[at] = unit_rows((rows - mean) @ matrix).float()
    return out


def _blocks(parts: Sequence[Array]) -> Iterator[torch.Tensor]:
    for part in parts:
        for rows in row_slices(len(part)):
            yield read_rows(part, rows, torch.device("cpu"), torch.float64)
