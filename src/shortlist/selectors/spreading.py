"""Mass that each target spreads over its nearest documents, evenly, as far as distance allows."""
# The stubs of torch leave these unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from shortlist.vectors import Array, float32_products, gather_rows

_ROWS = 4096


@dataclass(frozen=True)
class Spread:
    """Where the mass of the targets went.

    Attributes:
        mass: (M, k) mass at each target's neighbours, nearest first; each row sums to 1 / M.
        level: s; a neighbour of density 1 holds at most 1 / (M s).
        exhausted: targets whose list of neighbours was too short for the level.
    """

    mass: NDArray[np.float64]
    level: float
    exhausted: int


def spread(
    distances: NDArray[np.floating], density: NDArray[np.floating], alpha: float, scale: float
) -> Spread:
    """Returns the assignment that trades distance for evenness (Liu et al. 2024, TSDS, section 4).

    It minimises (alpha / scale) sum_ij P_ij d_ij + (1 - alpha) M max_ij rho_j P_ij over P with row
    sums 1 / M: with rho = 1 the uniform, with a kernel density the KDE regulariser. At level s
    target i fills its nearest documents with 1 / (M s rho) each, the last one in part. Raising s
    by ds pushes mass outwards; it is raised until that costs as much as it gains: until
    sum_i (d_{i,n+1} W_{i,n} - sum_{k <= n} d_ik / rho_ik) >= M scale (1 - alpha) / alpha, with
    W_{i,n} = sum_{k <= n} 1 / rho_ik and n the last document that is full.

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
    # The price of pushing on, once the first n documents are full, by target: one event each.
    price = far[:, 1:] * filled[:, :-1] - np.cumsum(far * room, axis=1)[:, :-1]
    rise = np.diff(price, axis=1, prepend=0.0)
    at = filled[:, :-1].ravel()
    order = np.argsort(at, kind="stable")
    enough = alpha * np.cumsum(rise.ravel()[order]) >= (1 - alpha) * scale * m
    ended = not enough.any()  # the lists ended before the trade was even
    level = float(filled[:, -1].max()) if ended else float(at[order][int(enough.argmax())])
    mass = np.diff(np.minimum(filled, level), axis=1, prepend=0.0) / (m * level)
    mass[:, -1] += np.maximum(1 / m - mass.sum(axis=1), 0)
    return Spread(mass, level, m if ended else int((filled[:, -1] < level).sum()))


def kernel_density(pool: Array, rows: NDArray[np.int64], width: float) -> NDArray[np.float64]:
    """Returns sum_j max(0, 1 - |x_i - x_j|^2 / width^2) over j in `rows`, for i in `rows`.

    At least 1: a document is near itself. Cost: half a product of these rows with themselves, in
    blocks; memory: the rows and one block.
    """
    cpu = torch.device("cpu")
    found = torch.zeros(len(rows), dtype=torch.float64)
    index = torch.from_numpy(rows)
    blocks = [slice(start, min(start + _ROWS, len(rows))) for start in range(0, len(rows), _ROWS)]
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
                near.fill_diagonal_(1.0)  # what rounding leaves of a distance to itself
            found[one] += near.sum(1).double()
            if one != other:
                found[other] += near.sum(0).double()
    return found.numpy()
