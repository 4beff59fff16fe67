"""Greedy selectors for coverage: submodular mutual information, k-centre, herding to a mean."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from shortlist.core import Features
from shortlist.errors import InvalidInput
from shortlist.selectors.base import (
    Traits,
    TransductiveSelector,
    documents_of,
    option_name,
)
from shortlist.selectors.neighbours import nearest
from shortlist.vectors import (
    Array,
    check_finite,
    float32_products,
    read_rows,
    row_slices,
    unit_rows,
)

Information = Literal["concave_over_modular", "graph_cut"]
_ROWS = 8192
_CENTRES = 64  # centres whose distances to the whole pool are computed by one product
_CANDIDATES = 2048  # rows whose distances are kept up to date in between


class FacilityLocation(TransductiveSelector):
    """Greedy maximiser of facility location between targets and pool (FLQMI).

    The first sum saturates once each target has its nearest document; the second goes on ranking by
    similarity. Lazy greedy, within (1 - 1/e) of the best on these similarities.

    Formula:
        F(S) = sum_i max_{j in S} s_ij + relevance sum_{j in S} max_i s_ij

        s_ij is the cosine of target i and document j.

    Paper:
        Kothawade et al. 2022 (arXiv 2103.00128).

    Deviations:
        s_ij is 0 unless j is among the `neighbours` nearest documents of target i; the paper has
        all pairs.

    Cost:
        One product of the pool with the targets, then about 20,000 picks a second; memory:
        `neighbours` pairs a target.
    """

    ranking_length = "limit or selector.neighbours"

    def __init__(self, neighbours: int, relevance: float, limit: int) -> None:
        """Stores the settings.

        Args:
            neighbours: nearest documents of each target with a similarity above 0.
            relevance: weight of a document's own similarity beside what it adds to the cover.
            limit: length of the ranking.
        """
        super().__init__()
        if neighbours < 1 or limit < 1 or relevance < 0:
            raise InvalidInput(
                "selector.neighbours and selector.limit must be at least 1 and selector.relevance "
                f"not negative, found {neighbours}, {limit}, {relevance}"
            )
        self.neighbours, self.relevance, self.limit = neighbours, relevance, limit

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps the greedy ranking; returns how well its first documents cover the target."""
        points, targets = pool.dense, target.dense
        near = nearest(points, targets, self.neighbours, "cosine", device=self.device)
        rows, values = near.rows.cpu().numpy(), near.values.cpu().numpy()
        ties = documents_of(pool, f"selector={option_name(type(self).__name__)}").id_bits()
        ranking, gains = self.greedy(rows, values, ties)
        self.keep_ranking(ranking, len(pool))
        return {
            "seen": len(np.unique(rows)),
            "ordered": len(ranking),
            "value": float(gains.sum()),
            "best_cover": float(np.maximum(values[:, 0], 0).sum()),
        }

    def greedy(
        self, rows: NDArray[np.int64], values: NDArray[np.float32], ties: NDArray[np.uint64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Returns (rows, gains) of the greedy maximiser on sparse similarities."""
        own = np.zeros(len(ties))
        np.maximum.at(own, rows.ravel(), np.maximum(values.ravel(), 0))
        return lazy_greedy(
            rows, values, self.relevance * own, np.maximum, _itself, self.limit, ties
        )


class Submodular(FacilityLocation):
    """Greedy maximiser of submodular mutual information between targets and selection.

    Each target saturates as more documents near it are taken, by the square root of their total
    similarity (concave over modular, COM), where `facility_location` (FLQMI) counts the nearest of
    them alone. `graph_cut` (GCMI) does not saturate: it ranks by the sum of similarities.

    Formula:
        concave_over_modular: F(S) = sum_i sqrt(sum_{j in S} s_ij)
        + relevance sum_{j in S} sqrt(sum_i s_ij)

        graph_cut: F(S) = sum_{j in S} sum_i s_ij

        s_ij is the cosine of target i and document j, 0 where it is negative.

    Paper:
        Kothawade et al. 2022 (arXiv 2103.00128), table 1.

    Deviations:
        s_ij is 0 unless j is among the `neighbours` nearest documents of target i; the paper has
        all pairs. The variants with similarities within the pool (FLVMI, LogDetMI) are left out:
        they need all pairs of the pool.

    Cost:
        That of `facility_location`.
    """

    def __init__(
        self, information: Information, neighbours: int, relevance: float, limit: int
    ) -> None:
        """Stores the settings.

        Args:
            information: the function that is maximised.
            neighbours: nearest documents of each target with a similarity above 0.
            relevance: weight of a document's own similarity beside what it adds; graph_cut has no
                such part.
            limit: length of the ranking.

        Raises:
            InvalidInput: there is no such function, or a number is out of range.
        """
        super().__init__(neighbours, relevance, limit)
        if information not in get_args(Information):
            known = ", ".join(get_args(Information))
            raise InvalidInput(f"selector.information must be one of {known}, found {information}")
        self.information: Information = information

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps the greedy ranking; returns how much of the pool was seen, and its value."""
        facts = super().fit(target, pool)
        return {name: facts[name] for name in ("seen", "ordered", "value")}

    def greedy(
        self, rows: NDArray[np.int64], values: NDArray[np.float32], ties: NDArray[np.uint64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Returns (rows, gains) of the greedy maximiser on sparse similarities."""
        weights = np.maximum(values, 0).ravel()
        own = np.bincount(rows.ravel(), weights=weights, minlength=len(ties))
        saturates = self.information == "concave_over_modular"
        own = self.relevance * np.sqrt(own) if saturates else np.zeros(len(ties))
        worth = np.sqrt if saturates else _itself
        return lazy_greedy(rows, values, own, np.add, worth, self.limit, ties)


class KCenter(TransductiveSelector):
    """Farthest-first traversal of the pool: each document is the farthest from those before it.

    The greedy 2-approximation of the k-centre problem. It reads no target and prefers outliers: a
    baseline for coverage, not for relevance.

    Formula:
        x_{k+1} = argmax_x min_{i <= k} |x - x_i|, x_1 the document nearest to the pool's mean

    Paper:
        Gonzalez 1985; as a core set: Sener and Savarese 2018 (arXiv 1708.00489).

    Deviations:
        The first document is the one nearest to the mean in place of an arbitrary one.

    Cost:
        About `limit` / 64 products of the pool with 64 vectors, and one of `limit` with 2,048.
    """

    traits = Traits(target_aware=False)

    def __init__(self, limit: int) -> None:
        """Stores the length of the ranking."""
        super().__init__()
        self.limit = _at_least_1(limit)

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps the ranking; returns the covering radius of its documents."""
        ranking, radii = farthest_first(pool.dense, self.limit)
        self.keep_ranking(ranking, len(pool))
        radius = float(radii[-1]) if len(radii) > 1 else None
        return {"ordered": len(ranking), "radius": radius}


class Herding(TransductiveSelector):
    """Documents whose mean vector follows the target's: herding with the linear kernel.

    The maximum mean discrepancy to the target falls like 1 / k where documents may repeat.
    `centroid` ranks by one direction; herding compensates for the direction that its earlier picks
    leaned to.

    Formula:
        x_{k+1} = argmax_x w_k . x, w_{k+1} = w_k + mean - x_{k+1}, w_0 = mean

        mean is that of the target's vectors; all vectors have length one.

    Paper:
        Welling 2009; Chen, Welling and Smola 2010 (arXiv 1203.3472).

    Deviations:
        Each document is taken once.

    Cost:
        One product of the pool with one vector a pick.
    """

    def __init__(self, limit: int) -> None:
        """Stores the length of the ranking."""
        super().__init__()
        self.limit = _at_least_1(limit)

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps the ranking; returns the distance of its mean from the target's."""
        vectors = unit_rows(torch.from_numpy(np.array(target.dense, dtype=np.float64)))
        ranking, distances = herd(pool.dense, vectors.mean(0).numpy(), self.limit)
        self.keep_ranking(ranking, len(pool))
        after = [size for size in (10, 100, 1000) if size <= len(distances)]
        return {
            "ordered": len(ranking),
            "discrepancy": {str(size): float(distances[size - 1]) for size in after},
        }


def _at_least_1(limit: int) -> int:
    if limit < 1:
        raise InvalidInput(f"selector.limit must be at least 1, found {limit}")
    return limit


def _itself(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values


def lazy_greedy(
    rows: NDArray[np.int64],
    values: NDArray[np.float32],
    own: NDArray[np.float64],
    join: np.ufunc,
    worth: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    limit: int,
    ties: NDArray[np.uint64],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Returns (rows, gains) of the lazy greedy maximiser of a cover on sparse similarities.

    F(S) = sum_i worth(join_{j in S} s_ij) + sum_{j in S} own_j, s_ij >= 0, and 0 where j is in no
    list of i. With a maximum or a concave function of a sum F is monotone and submodular, so that
    the first k rows reach (1 - 1/e) of the best k (Nemhauser et al. 1978); gains only shrink, so a
    row's gain is computed again only when its last one is the largest (Minoux 1978). Rows in no
    list are never taken.

    Args:
        rows: (M, k) rows of the pool near each target.
        values: (M, k) their similarities; negative ones count 0.
        own: (n,) what each row of the pool is worth beside what it adds to the cover.
        join: `numpy.maximum` or `numpy.add`, of the similarities to a target that are taken.
        worth: increasing and, for sums, concave; 0 at 0.
        limit: most rows to take.
        ties: (n,) numbers that decide between equal gains, the smaller first.
    """
    similar = np.maximum(values, 0).astype(np.float64).ravel()
    column = rows.ravel()
    targets = np.repeat(np.arange(len(rows)), rows.shape[1])
    order = np.argsort(column, kind="stable")
    similar, targets = similar[order], targets[order]
    starts = np.concatenate([[0], np.cumsum(np.bincount(column, minlength=len(own)))])
    bounds = own + np.bincount(column[order], weights=worth(similar), minlength=len(own))
    listed = np.flatnonzero(np.diff(starts))
    heap = [(-float(bounds[row]), int(ties[row]), int(row)) for row in listed]
    heapq.heapify(heap)
    cover = np.zeros(len(rows))
    taken: list[int] = []
    gains: list[float] = []
    while heap and len(taken) < limit:
        _, tie, row = heap[0]
        part = slice(starts[row], starts[row + 1])
        before = cover[targets[part]]
        after = join(before, similar[part])
        gain = float(own[row] + (worth(after) - worth(before)).sum())
        following = min(heap[1:3], default=None)  # a heap's second smallest is one of these two
        if following is None or (-gain, tie, row) <= following:
            heapq.heappop(heap)
            taken.append(row)
            gains.append(gain)
            cover[targets[part]] = after
        else:
            heapq.heapreplace(heap, (-gain, tie, row))
    return np.array(taken, dtype=np.int64), np.array(gains)


def farthest_first(pool: Array, limit: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Returns (rows, radii): each row the farthest from all before it, and that distance.

    The first is the row nearest to the mean. The radius of the k first rows (the largest distance
    of any row to the nearest of them) is at most twice the best that k rows can have (Gonzalez
    1985). The picks are those of one pass over the pool each, in far fewer passes: distances to the
    nearest centre only shrink, so the best of the `_CANDIDATES` farthest rows is the farthest of
    all as long as it is not nearer than any row outside was at the last pass.

    Args:
        pool: (N, d), torch or numpy (memory maps are read block by block).
        limit: most rows to take. Cost: about limit / 64 products of the pool with 64 vectors.

    Raises:
        InvalidInput: a row is not finite.
    """
    n, limit = len(pool), min(limit, len(pool))
    cpu = torch.device("cpu")

    def read(rows: slice) -> torch.Tensor:
        return read_rows(pool, rows, cpu, torch.float32)

    total = torch.zeros(pool.shape[1], dtype=torch.float64)
    for rows in row_slices(n, _ROWS):
        total += read(rows).double().sum(0)
    mean = (total / n).float()
    nearest = torch.empty(n)
    for rows in row_slices(n, _ROWS):
        nearest[rows] = (read(rows) - mean).square().sum(1)
    if not bool(torch.isfinite(nearest).all()):
        check_finite(np.asarray(pool), "pool")
    order, radii = [int(nearest.argmin())], [float("inf")]
    nearest.fill_(torch.inf)
    pending = list(order)
    while len(order) < limit:
        centres = torch.cat([read(slice(row, row + 1)) for row in pending])
        centres -= mean
        for rows in row_slices(n, _ROWS):
            block = read(rows) - mean
            with float32_products():
                squares = torch.addmm((centres**2).sum(1), block, centres.T, alpha=-2)
            part = nearest[rows]
            torch.minimum(part, (squares.amin(1) + (block**2).sum(1)).clamp_min_(0), out=part)
        nearest[order] = -1
        pending = []
        top = nearest.topk(min(_CANDIDATES + 1, n))
        outside = float(top.values[-1]) if len(top.values) > _CANDIDATES else -1.0
        candidates, _ = top.indices[:_CANDIDATES].sort()  # equal distances: the earlier row
        local = torch.cat([read(slice(row, row + 1)) for row in candidates.tolist()])
        distances = nearest[candidates]
        while len(order) < limit and len(pending) < _CENTRES:
            best = int(distances.argmax())
            if pending and float(distances[best]) < outside:
                break
            order.append(int(candidates[best]))
            pending.append(int(candidates[best]))
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

    Raises:
        InvalidInput: a row is not finite.
    """
    n, limit = len(pool), min(limit, len(pool))
    with np.errstate(over="ignore"):
        lengths = [np.linalg.norm(pool[rows], axis=1) for rows in row_slices(n, _ROWS)]
    norms = np.concatenate(lengths)
    if not np.isfinite(norms).all():
        check_finite(pool, "pool")
    scale = 1 / np.maximum(norms, 1e-30)
    direction = mean.copy()
    total = np.zeros_like(mean)
    taken: list[int] = []
    distances: list[float] = []
    excluded = np.zeros(n)
    for count in range(1, limit + 1):
        # BLAS takes a vector of the pool's own type, and no copy of the pool is made.
        product = cast("NDArray[np.floating]", pool @ direction.astype(pool.dtype))
        row = int((product * scale + excluded).argmax())
        vector = np.asarray(pool[row], dtype=np.float64) * scale[row]
        taken.append(row)
        excluded[row] = -np.inf
        total += vector
        direction += mean - vector
        distances.append(float(np.linalg.norm(total / count - mean)))
    return np.array(taken, dtype=np.int64), np.array(distances)
