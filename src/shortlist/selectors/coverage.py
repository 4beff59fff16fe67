"""Orders in which a set of documents grows: round robin, greedy coverage, farthest first, herding."""
# The stubs of torch leave these unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import heapq
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from shortlist.vectors import Array, float32_products, read_rows

_ROWS = 8192
_CENTRES = 64  # centres that are brought to the whole pool by one product
_CANDIDATES = 2048  # rows that are kept up to date in between


def round_robin(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the distinct rows of (M, k) lists: all first places, then all second places, ...

    Within a round the lists come in their order. A row that an earlier place has taken is passed
    over, and not replaced in that round.
    """
    flat = rows.T.ravel()
    first = np.unique(flat, return_index=True)[1]
    return flat[np.sort(first)].astype(np.int64)


def facility_greedy(
    rows: NDArray[np.int64],
    values: NDArray[np.float32],
    count: int,
    relevance: float,
    limit: int,
    ties: NDArray[np.uint64],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Returns (rows, gains) of the lazy greedy maximiser of facility location on sparse similarities.

    F(S) = sum_i max_{j in S} s_ij + relevance sum_{j in S} max_i s_ij, s_ij >= 0, and 0 where j is
    in no list of i. F is monotone and submodular, so that the first k rows reach (1 - 1/e) of the
    best k (Nemhauser et al. 1978); gains only shrink, so a row is looked at again only when its
    last gain is the largest (Minoux 1978). Rows in no list are never taken. Cost: the pairs once,
    then a few short lists a pick.

    Args:
        rows: (M, k) rows of the pool near each target.
        values: (M, k) their similarities; negative ones count 0.
        count: rows of the pool.
        relevance: weight of a row's own similarity beside what it adds to the cover.
        limit: most rows to take.
        ties: (count,) numbers that decide between equal gains, the smaller first.
    """
    similar = np.maximum(values, 0).astype(np.float64).ravel()
    column = rows.ravel()
    targets = np.repeat(np.arange(len(rows)), rows.shape[1])
    order = np.argsort(column, kind="stable")
    similar, targets = similar[order], targets[order]
    starts = np.concatenate([[0], np.cumsum(np.bincount(column, minlength=count))])
    own = np.zeros(count)
    np.maximum.at(own, column[order], similar)
    own *= relevance
    gains = own + np.bincount(column[order], weights=similar, minlength=count)
    held = np.flatnonzero(np.diff(starts))
    heap = [(-float(gains[row]), int(ties[row]), int(row)) for row in held]
    heapq.heapify(heap)
    cover = np.zeros(len(rows))
    taken: list[int] = []
    found: list[float] = []
    while heap and len(taken) < limit:
        _, tie, row = heap[0]
        part = slice(starts[row], starts[row + 1])
        near, who = similar[part], targets[part]
        gain = float(own[row] + np.maximum(near - cover[who], 0).sum())
        following = min(heap[1:3], default=None)  # a heap's second smallest is one of these two
        if following is None or (-gain, tie, row) <= following:
            heapq.heappop(heap)
            taken.append(row)
            found.append(gain)
            cover[who] = np.maximum(cover[who], near)
        else:
            heapq.heapreplace(heap, (-gain, tie, row))
    return np.array(taken, dtype=np.int64), np.array(found)


def farthest_first(pool: Array, limit: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Returns (rows, radii): each row the farthest from all before it, and that distance.

    The first is the row nearest to the mean. The radius of the k first rows (the largest distance
    of any row to the nearest of them) is at most twice the best that k rows can have (Gonzalez
    1985). The same picks as one pass over the pool each, in far fewer passes: distances to the
    nearest centre only shrink, so the best of the `_CANDIDATES` farthest rows is the farthest of
    all as long as it is not nearer than any row outside was at the last pass.

    Args:
        pool: (N, d), torch or numpy (memory maps are read block by block).
        limit: most rows to take. Cost: about limit / 64 products of the pool with 64 vectors.
    """
    n, limit = len(pool), min(limit, len(pool))
    cpu = torch.device("cpu")

    def block(start: int) -> torch.Tensor:
        return read_rows(pool, start, min(start + _ROWS, n), cpu, torch.float32)

    total = torch.zeros(pool.shape[1], dtype=torch.float64)
    for start in range(0, n, _ROWS):
        total += block(start).double().sum(0)
    mean = (total / n).float()
    nearest = torch.empty(n)
    for start in range(0, n, _ROWS):
        nearest[start : start + _ROWS] = (block(start) - mean).square().sum(1)
    order, radii = [int(nearest.argmin())], [float("inf")]
    nearest.fill_(torch.inf)
    pending = list(order)
    while len(order) < limit:
        centres = torch.stack(
            [read_rows(pool, row, row + 1, cpu, torch.float32)[0] for row in pending]
        )
        centres -= mean
        for start in range(0, n, _ROWS):
            rows = block(start) - mean
            with float32_products():
                squares = torch.addmm((centres**2).sum(1), rows, centres.T, alpha=-2)
            part = nearest[start : start + _ROWS]
            torch.minimum(part, (squares.amin(1) + (rows**2).sum(1)).clamp_min_(0), out=part)
        nearest[order] = -1
        pending = []
        top = nearest.topk(min(_CANDIDATES + 1, n))
        outside = float(top.values[-1]) if len(top.values) > _CANDIDATES else -1.0
        rows, _ = top.indices[:_CANDIDATES].sort()  # equal distances: the earlier row
        local = torch.cat(
            [read_rows(pool, row, row + 1, cpu, torch.float32) for row in rows.tolist()]
        )
        distances = nearest[rows]
        while len(order) < limit and len(pending) < _CENTRES:
            best = int(distances.argmax())
            if pending and float(distances[best]) < outside:
                break
            order.append(int(rows[best]))
            pending.append(int(rows[best]))
            radii.append(max(float(distances[best]), 0.0) ** 0.5)
            torch.minimum(distances, (local - local[best]).square().sum(1), out=distances)
            distances[best] = -1
            if float(distances.max()) < 0:
                break
    return np.array(order, dtype=np.int64), np.array(radii)


def herd(
    pool: NDArray[np.floating], mean: NDArray[np.float64], limit: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Returns (rows, distances): rows whose running mean follows `mean`, and how far off it is.

    Kernel herding with the linear kernel, without replacement (Chen, Welling, Smola 2010): w starts
    at `mean`; the row with the largest w . x is taken, and w grows by mean - x. The distance after
    k rows, |mean of the k rows - mean|, is their maximum mean discrepancy to the target.

    Args:
        pool: (N, d); rows are taken at length one (a row of zeros stays zero).
        mean: (d,) mean of the target's rows at length one.
        limit: most rows to take. Cost: one product of the pool with one vector a row.
    """
    n, limit = len(pool), min(limit, len(pool))
    lengths = np.concatenate(
        [np.linalg.norm(pool[start : start + _ROWS], axis=1) for start in range(0, n, _ROWS)]
    )
    scale = 1 / np.maximum(lengths, 1e-30)
    wanted = mean.copy()
    total = np.zeros_like(mean)
    taken: list[int] = []
    apart: list[float] = []
    free = np.zeros(n)
    for count in range(1, limit + 1):
        # BLAS takes a vector of the pool's own type, and no copy of the pool is made.
        fit = cast(NDArray[np.floating], pool @ wanted.astype(pool.dtype)) * scale + free
        row = int(fit.argmax())
        vector = np.asarray(pool[row], dtype=np.float64) * scale[row]
        taken.append(row)
        free[row] = -np.inf
        total += vector
        wanted += mean - vector
        apart.append(float(np.linalg.norm(total / count - mean)))
    return np.array(taken, dtype=np.int64), np.array(apart)
