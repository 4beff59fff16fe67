"""Task-specific data selection (TSDS), Liu et al., NeurIPS 2024, arXiv 2410.11303."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shortlist.core import Budget, Features
from shortlist.errors import InvalidInput
from shortlist.selectors.base import Choice, ScoredPool, Traits, TransductiveSelector
from shortlist.selectors.neighbours import nearest
from shortlist.stats.sampling import draw_key, with_replacement
from shortlist.vectors import Array, float32_products, gather_rows, row_slices

_ROWS = 4096


class TSDS(TransductiveSelector):
    """A sample with replacement by the mass that each target assigns to its nearest documents.

    Distance is traded for evenness (`assign_mass`): KNN-KDE where `sigma` is above 0
    (near-duplicates share the mass of one document), KNN-Uniform at `sigma` 0.

    Formula:
        score(x_j) = sum_i P_ij, where P minimises
        (alpha / scale) sum_ij P_ij d_ij + (1 - alpha) M max_ij rho_j P_ij

        over P with row sums 1 / M for M targets; d is the distance, rho the density of document j.

    Paper:
        Liu, Karbasi and Rekatsinas, NeurIPS 2024 (arXiv 2410.11303), section 4.

    Deviations:
        Neighbours and densities are exact in place of faiss; the density counts all documents that
        are some target's neighbour, not the nearest 1,000; 1,000 neighbours in place of 5,000 or a
        tenth of the pool; the draw is seeded and belongs to the document, so that a larger budget
        begins with a smaller one's.

    Cost:
        One product with the targets, and for the densities half a product of all neighbours with
        each other.
    """

    version = 2
    traits = Traits(stochastic=True, repeats=True)

    def __init__(self, alpha: float, scale: float, sigma: float, neighbours: int) -> None:
        """Stores the settings.

        Args:
            alpha: between 0 (even) and 1 (near).
            scale: unit in which distances count (the released C, "of the scale of the vectors'
                norm": 5 there; 1 for vectors of length one).
            sigma: documents nearer than this are near-duplicates; 0: no densities (the released
                0.75 at C = 5 is 0.15 at length one: cosine above 0.989).
            neighbours: how many documents a target may assign mass to.
        """
        super().__init__()
        if not 0 < alpha <= 1 or scale <= 0 or sigma < 0 or neighbours < 1:
            raise InvalidInput(
                "selector.alpha must lie in (0, 1], selector.scale above 0, selector.sigma not "
                f"below 0, selector.neighbours above 0, found {alpha}, {scale}, {sigma}, {neighbours}"
            )
        self.alpha, self.scale, self.sigma, self.neighbours = alpha, scale, sigma, neighbours

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps the probabilities; returns the level and how much of the pool can be drawn."""
        values, targets = pool.dense, target.dense
        near = nearest(values, targets, self.neighbours, "euclidean", device=self.device)
        rows, distances = near.rows.cpu().numpy(), near.values.cpu().numpy()
        used, where = np.unique(rows, return_inverse=True)
        density = kernel_density(values, used, self.sigma) if self.sigma else np.ones(len(used))
        of_neighbours = density[where.reshape(rows.shape)]
        assigned = assign_mass(distances, of_neighbours, self.alpha, self.scale)
        chance = np.bincount(rows.ravel(), weights=assigned.mass.ravel(), minlength=len(pool))
        self.keep("pool_scores", torch.from_numpy(chance))
        return {
            "level": assigned.level,
            "reached": int((chance > 0).sum()),
            "effective_documents": float(1 / (chance**2).sum()),
            "near_duplicates_each": float(density.mean() - 1),
            "targets_out_of_neighbours": assigned.exhausted,
        }

    def select(self, scores: ScoredPool, budget: Budget, generator: torch.Generator) -> Choice:
        """Returns draws with replacement; the score of a draw is minus its time.

        Raises:
            InvalidInput: no selectable document has any mass, or no document fits the budget.
        """
        weights = np.maximum(scores.values, 0)
        if not weights.any():
            raise InvalidInput(
                "no document that may be chosen is near a target; set selector.neighbours larger"
            )
        rows, times = with_replacement(
            weights, scores.id_bits, draw_key(generator), budget.amount, scores.costs
        )
        if len(rows) == 0:
            raise InvalidInput(
                f"budget={budget.amount} {budget.unit} is less than the first document needs; "
                "set a larger budget"
            )
        return Choice(rows, -times)


@dataclass(frozen=True)
class Assignment:
    """Mass of the targets on their nearest neighbours.

    Attributes:
        mass: (M, k) mass at each target's neighbours, nearest first; each row sums to 1 / M.
        level: s; a neighbour of density 1 holds at most 1 / (M s).
        exhausted: targets whose list of neighbours was too short for the level.
    """

    mass: NDArray[np.float64]
    level: float
    exhausted: int


def assign_mass(
    distances: NDArray[np.floating], density: NDArray[np.floating], alpha: float, scale: float
) -> Assignment:
    """Returns the nearest-neighbour mass assignment that trades distance for evenness.

    It minimises (alpha / scale) sum_ij P_ij d_ij + (1 - alpha) M max_ij rho_j P_ij over P with row
    sums 1 / M (TSDS, section 4): with rho = 1 the uniform, with a kernel density the KDE
    regulariser. At level s target i fills its nearest documents with 1 / (M s rho) each, the last
    one in part. Raising s by ds pushes mass outwards; it is raised until that costs as much as it
    gains: until sum_i (d_{i,n+1} W_{i,n} - sum_{k <= n} d_ik / rho_ik) >= M scale (1 - alpha) /
    alpha, with W_{i,n} = sum_{k <= n} 1 / rho_ik and n the last document that is full.

    Args:
        distances: (M, k) from each target to its neighbours, ascending.
        density: (M, k) density rho >= 1 of each of these neighbours.
        alpha: between 0 (even) and 1 (near).
        scale: the unit in which distances count.
    """
    m = len(distances)
    far = distances.astype(np.float64)
    room = 1 / density.astype(np.float64)
    filled = np.cumsum(room, axis=1)
    # The price of going on, once the first n documents are full, by target: one event each.
    price = far[:, 1:] * filled[:, :-1] - np.cumsum(far * room, axis=1)[:, :-1]
    rise = np.diff(price, axis=1, prepend=0.0)
    at = filled[:, :-1].ravel()
    order = np.argsort(at, kind="stable")
    enough = alpha * np.cumsum(rise.ravel()[order]) >= (1 - alpha) * scale * m
    ended = not enough.any()  # the lists ended before cost and gain were equal
    level = float(filled[:, -1].max()) if ended else float(at[order][int(enough.argmax())])
    mass = np.diff(np.minimum(filled, level), axis=1, prepend=0.0) / (m * level)
    short = filled[:, -1] < level
    mass[short, -1] += np.maximum(1 / m - mass[short].sum(axis=1), 0)
    return Assignment(mass, level, m if ended else int(short.sum()))


def kernel_density(pool: Array, rows: NDArray[np.int64], width: float) -> NDArray[np.float64]:
    """Returns sum_j max(0, 1 - |x_i - x_j|^2 / width^2) over j in `rows`, for i in `rows`.

    At least 1: a document is near itself. Cost: half a product of these rows with themselves, in
    blocks; memory: the rows and one block.
    """
    cpu = torch.device("cpu")
    density = torch.zeros(len(rows), dtype=torch.float64)
    index = torch.from_numpy(rows)
    blocks = list(row_slices(len(rows), _ROWS))
    mean = gather_rows(pool, index[: 4 * _ROWS], cpu, torch.float32).mean(0)
    points = gather_rows(pool, index, cpu, torch.float32) - mean
    squares = (points * points).sum(1)
    for number, one in enumerate(blocks):
        for other in blocks[number:]:
            with float32_products():
                near = torch.addmm(squares[other], points[one], points[other].T, alpha=-2)
            near += squares[one][:, None]
            near = near.mul_(-1 / width**2).add_(1).clamp_(0, 1)
            if one == other:
                near.fill_diagonal_(1.0)  # exactly 1 at distance 0, whatever rounding left
            density[one] += near.sum(1).double()
            if one != other:
                density[other] += near.sum(0).double()
    return density.numpy()
