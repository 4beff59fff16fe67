"""A ranking thinned out: nobody is taken who has too many near-duplicates before him."""
# The stubs of torch leave these unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import numpy as np
import torch
from numpy.typing import NDArray

from shortlist.vectors import Array, float32_products, gather_rows

from .neighbours import unit

_ROWS = 1024


def spaced(
    pool: Array,
    ranking: NDArray[np.int64],
    similarity: float,
    most: int,
    amount: int,
    costs: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Returns the rows passed over, in the order of the ranking, read until the budget is full.

    A row is passed over where `most` kept rows have a cosine to it above `similarity`; the others
    are kept. What is kept for a larger amount begins with what is kept for a smaller one.

    Args:
        pool: (N, d), torch or numpy.
        ranking: rows, best first.
        similarity: cosine above which two rows are near-duplicates.
        most: how many near-duplicates of a row may be kept before it.
        amount: how many rows to keep, or what they may cost.
        costs: (N,) cost of each row of the pool, or None where each costs 1.

    Cost: one product of the rows read with the rows kept, in blocks; memory: the rows kept.
    """
    cpu = torch.device("cpu")
    passed: list[int] = []
    held = torch.empty(0, pool.shape[1])
    spent = 0
    for start in range(0, len(ranking), _ROWS):
        rows = ranking[start : start + _ROWS]
        # Ascending, so that a memory map is read in order; then back into the ranking's order.
        sorted_rows, back = np.unique(rows, return_inverse=True)
        block = gather_rows(pool, torch.from_numpy(sorted_rows), cpu, torch.float32)
        vectors = unit(block)[torch.from_numpy(back)]
        with float32_products():
            near = (vectors @ held.T > similarity).sum(1).numpy()
            among = (vectors @ vectors.T > similarity).numpy()
        mine: list[int] = []
        full = False
        for place, row in enumerate(rows.tolist()):
            if near[place] >= most:
                passed.append(row)
                continue
            spent += 1 if costs is None else int(costs[row])
            if spent > amount:
                full = True
                break
            mine.append(place)
            near += among[place]
        if full:
            break
        held = torch.cat([held, vectors[mine]])
    return np.array(passed, dtype=np.int64)
