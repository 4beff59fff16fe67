"""Exact search for the nearest pool rows of each target, one block of the pool at a time."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from shortlist.errors import InvalidInput
from shortlist.vectors import (
    Array,
    check_pair,
    fast_products_exact,
    fast_products_exist,
    float32_products,
    read_rows,
    row_slices,
    rows_per_block,
    unit_rows,
)

Measure = Literal["cosine", "euclidean"]
MEASURES: tuple[Measure, ...] = get_args(Measure)


@dataclass(frozen=True)
class Neighbours:
    """The nearest rows of the pool to each target.

    Attributes:
        rows: (M, k) rows of the pool, nearest first; equal ones in the order of their rows.
        values: (M, k) cosine (larger is nearer) or Euclidean distance (smaller is nearer), float32.
    """

    rows: Tensor
    values: Tensor


def nearest(
    pool: Array,
    target: Array,
    k: int,
    measure: Measure,
    *,
    device: torch.device | None = None,
) -> Neighbours:
    """Returns the k nearest pool rows of every target (fewer if the pool is smaller).

    One product of the pool with the targets, in blocks that stay in cache. Of a block only entries
    above each target's k-th best so far are kept, after t blocks about k / t of them, so that the
    search costs little beside the product. Memory: one block, and about 2 k pairs a target.

    Args:
        pool: (N, d), torch or numpy (a memory map is read block by block).
        target: (M, d).
        k: how many.
        measure: `cosine` or `euclidean`.
        device: where to compute; by default on the CPU.

    Raises:
        InvalidInput: shapes that do not go together, k below 1, or vectors that are not finite.
    """
    n, m, _ = check_pair(pool, target)
    if k < 1:
        raise InvalidInput(f"neighbours must be at least 1, found {k}")
    if measure not in MEASURES:
        raise InvalidInput(f"measure must be one of {', '.join(MEASURES)}, found {measure}")
    k, place = min(k, n), device or torch.device("cpu")
    points = read_rows(target, slice(m), place, torch.float32)
    # Distances do not change when both are moved; near the origin float32 cancels less.
    center = points.mean(0) if measure == "euclidean" else torch.zeros_like(points[0])
    points = unit_rows(points) if measure == "cosine" else points - center
    step = max(rows_per_block(m, place), min(k, 8192))
    best = _Best(m, k, place)
    quick = fast_products_exist(place, torch.float32)
    out = torch.empty(m, min(step, n), device=place)
    for part in row_slices(n, step):
        start, stop = part.start, part.stop
        rows = read_rows(pool, part, place, torch.float32)
        if not bool(torch.isfinite(rows).all()):
            bad = start + int((~torch.isfinite(rows).all(1)).nonzero()[0])
            raise InvalidInput(f"pool vectors must be finite; drop or repair pool row: {bad}")
        block = (
            out[:, : stop - start]
            if stop - start == step
            else torch.empty_like(out[:, : stop - start])
        )
        with float32_products(fast=quick and fast_products_exact(step, rows.shape[1], m)):
            if measure == "cosine":
                torch.mm(points, unit_rows(rows).T, out=block)
            else:  # -|x|^2 + 2 x.p: largest where the distance is smallest
                rows = rows - center
                torch.addmm(-(rows * rows).sum(1), points, rows.T, alpha=2, out=block)
        best.add(block, start)
    values, rows = best.sorted()
    if measure == "euclidean":
        values = ((points * points).sum(1, keepdim=True) - values).clamp_min(0).sqrt()
    return Neighbours(rows, values)


class _Best:
    """The k largest values of each of m rows of a matrix that comes in blocks of columns."""

    def __init__(self, m: int, k: int, device: torch.device) -> None:
        self.k = k
        # Larger than k, so that rows are pruned rarely: pruned to the best k when some row is full.
        self.room = 2 * k + 128
        self.values = torch.full((m, self.room), -torch.inf, device=device)
        self.rows = torch.full((m, self.room), -1, dtype=torch.int64, device=device)
        self.filled = torch.zeros(m, dtype=torch.int64, device=device)
        self.threshold = torch.full((m, 1), -torch.inf, device=device)

    def add(self, block: Tensor, start: int) -> None:
        """Adds the columns from `start` on."""
        if block.shape[1] > self.k and bool((self.filled < self.k).any()):
            # Without a k-th best so far, the block's own best are kept.
            found = block.topk(self.k, dim=1)
            self._append(
                torch.arange(len(block), device=block.device).repeat_interleave(self.k),
                found.indices.flatten() + start,
                found.values.flatten(),
            )
            self._prune()
            return
        above = block > self.threshold
        owner, column = above.nonzero(as_tuple=True)
        if len(owner):
            self._append(owner, column + start, block[above])

    def _append(self, owner: Tensor, rows: Tensor, values: Tensor) -> None:
        """Appends (owner, row, value), sorted by owner, a part at a time if they are many."""
        counts = torch.bincount(owner, minlength=len(self.filled))
        if int((self.filled + counts).max()) > self.room:
            self._prune()
            keep = values > self.threshold[owner, 0]
            owner, rows, values = owner[keep], rows[keep], values[keep]
            counts = torch.bincount(owner, minlength=len(self.filled))
        while len(owner):
            first = counts.cumsum(0) - counts
            place = torch.arange(len(owner), device=owner.device) - first[owner]
            fits = place + self.filled[owner] < self.room
            at = (owner[fits], (place + self.filled[owner])[fits])
            self.values[at], self.rows[at] = values[fits], rows[fits]
            self.filled += torch.bincount(owner[fits], minlength=len(self.filled))
            owner, rows, values = owner[~fits], rows[~fits], values[~fits]
            if len(owner):
                self._prune()
                counts = torch.bincount(owner, minlength=len(self.filled))

    def _prune(self) -> None:
        kept = self.values.topk(self.k, dim=1)
        self.values[:, : self.k] = kept.values
        self.rows[:, : self.k] = self.rows.gather(1, kept.indices)
        self.values[:, self.k :] = -torch.inf
        self.filled.clamp_(max=self.k)
        self.threshold = self.values[:, self.k - 1 : self.k].clone()

    def sorted(self) -> tuple[Tensor, Tensor]:
        """Returns (values, rows), largest first, equal values by row."""
        self._prune()
        rows, by_row = self.rows[:, : self.k].sort(dim=1)
        values, by_value = (
            self.values[:, : self.k].gather(1, by_row).sort(dim=1, descending=True, stable=True)
        )
        return values, rows.gather(1, by_value)
