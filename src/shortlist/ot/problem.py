"""The transport problem: ground cost, kernel, masses, marginal penalties and mean cost.

Notation of the package: candidates j = 1..N (the pool) have masses b_j, targets i = 1..M have
masses a_i, C_ij is the cost between them, f (M,) and g (N,) are their potentials.
"""
# The stubs of torch leave these unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shortlist.errors import InvalidInput
from shortlist.vectors import (
    Array,
    check_pair,
    float32_products,
    gather_rows,
    read_rows,
    row_slices,
    rows_per_block,
)

Cost = Literal["sqeuclidean", "euclidean", "cosine"]
COSTS: tuple[Cost, ...] = get_args(Cost)
Regime = Literal["exact", "dense", "streamed"]
Progress = Callable[[float, float], None]  # takes (passes so far, last target error)

CANCELLATION = (
    2**-6
)  # share of |x|^2 + |y|^2 below which a squared distance is summed by differences
DIFFERENCE_ENTRIES = 2**22  # vector entries gathered at a time for those: 16 MB in float32
MEAN_COST_ROWS = 16384  # rows over which the mean Euclidean cost is taken
READ_ENTRIES = 2**22  # vector entries of the pool read at a time: 16 MB in float32


class EpsilonTooSmall(InvalidInput):
    """An epsilon that the arithmetic cannot resolve."""


@dataclass(frozen=True)
class ParameterNames:
    """Names of the settings of a solve as its user types them, for error messages.

    Attributes:
        epsilon: The regularisation as it was given (relative or absolute).
        float64: The setting that computes in float64; empty where there is none.
        streamed: The setting that stores no costs of the whole pool.
        no_stored_costs: The setting that stores no costs of the sample.
        fewer_targets: How to use fewer targets.
        smaller_pool: How to use a part of the pool.
    """

    epsilon: str = "epsilon"
    float64: str = "dtype=float64"
    streamed: str = "regime=streamed"
    no_stored_costs: str = "stored_bytes=0"
    fewer_targets: str = "fewer targets"
    smaller_pool: str = "a part of the pool"


@dataclass(frozen=True)
class Penalties:
    """KL penalties rho of the two marginals; infinite means that the marginal is met exactly."""

    target: float = math.inf
    pool: float = math.inf

    @property
    def balanced(self) -> bool:
        """Returns whether both marginals are exact, so that f is free up to a constant."""
        return math.isinf(self.target) and math.isinf(self.pool)

    def wanted_marginal(self, a: Tensor, f: Tensor) -> Tensor:
        """Returns the target marginal that is optimal at f, (M,): a exp(-f / rho), or a itself."""
        return a if math.isinf(self.target) else a * (-f / self.target).exp()

    def scaled(self, factor: float) -> "Penalties":
        """Returns the penalties multiplied by `factor`."""
        return Penalties(self.target * factor, self.pool * factor)


def dual_term(masses: Tensor, potential: Tensor, rho: float) -> float:
    """Returns <mass, potential>, or -rho <mass, exp(-potential / rho) - 1> under a penalty rho."""
    if math.isinf(rho):
        return float(masses @ potential)
    return -rho * float(masses @ torch.expm1(-potential / rho))


def marginal_error(marginal: Tensor, wanted: Tensor) -> float:
    """Returns the L1 error of a target marginal as a share of the mass that is wanted.

    In a balanced problem that mass is one; where marginals are penalised the plan may carry far
    less, and an error that is small against one could be all of it.
    """
    return float((marginal - wanted).abs().sum() / wanted.sum())


@dataclass(frozen=True)
class Geometry:
    """Target vectors prepared for one ground cost.

    A cost is split as C_ij = offset_j + shifted_ij. The offset of a candidate shifts all of its
    costs alike: it leaves the softmax over targets unchanged and is added to the potential
    afterwards, so that a block of costs is one matrix product and one bias.

    Attributes:
        cost: `sqeuclidean` |x - y|^2, `euclidean` |x - y|, or `cosine` 1 - cos(x, y).
        points: (M, d) targets, centred (squared Euclidean, Euclidean) or of unit length (cosine).
        squared_norms: (M,) squared lengths of `points`.
        center: (d,) vector subtracted from every row; zero for cosine. Centring on the target mean
            changes no cost and reduces cancellation in float32 and bfloat16.
    """

    cost: Cost
    points: Tensor
    squared_norms: Tensor
    center: Tensor

    @classmethod
    def of(cls, target: Tensor, cost: Cost) -> "Geometry":
        """Returns the geometry of `target`, (M, d), in the dtype of the computation.

        Raises:
            InvalidInput: An unknown cost, a target that is not finite, or a zero target vector
                under the cosine cost.
        """
        if cost not in COSTS:
            raise InvalidInput(
                f"cost must be one of {', '.join(COSTS)}; set transport cost: {cost}"
            )
        bad = ~torch.isfinite(target).all(1)
        if bool(bad.any()):
            raise InvalidInput(
                f"target vectors must be finite, {int(bad.sum())} are not; "
                f"look at target row: {int(bad.nonzero()[0])}"
            )
        center = torch.zeros_like(target[0])
        if cost == "cosine":
            norms = target.norm(dim=1)
            if bool((norms == 0).any()):
                raise InvalidInput(
                    "the cosine cost needs target vectors that are not zero; drop it or set "
                    f"cost=sqeuclidean; target row: {int((norms == 0).nonzero()[0])}"
                )
            points = target / norms[:, None]
        else:
            center = target.double().mean(0).to(target.dtype)
            points = target - center
        return cls(cost, points.contiguous(), (points * points).sum(1), center)

    @property
    def rounding_factor(self) -> float:
        """Returns by how many roundings of the largest cost one cost may be off.

        One where costs are sums. A root of a squared distance s that is off by r S (S the squared
        lengths, r the rounding) is off by r S / (2 sqrt(s)), and s >= CANCELLATION S where
        `distances` leaves the expanded square.
        """
        return 0.5 * CANCELLATION**-0.5 if self.cost == "euclidean" else 1.0

    @property
    def squared_distance_factor(self) -> float:
        """Returns c, 1 or 1/2: the cost is c times a squared distance of prepared rows."""
        return 0.5 if self.cost == "cosine" else 1.0

    def prepare(self, candidates: Tensor) -> Tensor:
        """Returns candidates (n, d) centred or normalised as `points` are."""
        if self.cost == "cosine":
            return candidates / candidates.norm(dim=1, keepdim=True)
        return candidates - self.center

    def offset(self, rows: Tensor) -> Tensor:
        """Returns the part of the costs of prepared `rows` that no target changes, (n,)."""
        if self.cost == "sqeuclidean":
            return torch.linalg.vecdot(rows, rows)
        return rows.new_zeros(len(rows))

    def shifted_costs(self, rows: Tensor, out: Tensor) -> Tensor:
        """Returns C - offset for prepared `rows`, (n, M), written into `out`."""
        points = self.points.T
        if self.cost == "cosine":
            return torch.addmm(torch.ones_like(self.squared_norms), rows, points, alpha=-1, out=out)
        if self.cost == "euclidean":
            return self.distances(rows, points * -2, out)
        return torch.addmm(self.squared_norms, rows, points, alpha=-2, out=out)

    def costs(self, candidates: Tensor) -> Tensor:
        """Returns C of raw `candidates`, (n, M), all at once."""
        rows = self.prepare(candidates)
        shifted = self.shifted_costs(rows, rows.new_empty(len(rows), len(self.points)))
        return (shifted + self.offset(rows)[:, None]).clamp_min(0)

    def distances(self, rows: Tensor, minus_twice: Tensor, out: Tensor) -> Tensor:
        """Returns Euclidean distances of prepared `rows` to all targets, (n, M), in `out`.

        |x|^2 - 2 x.y + |y|^2 cancels where x is near y: what rounding leaves of it is as large as
        the distance itself. Such pairs, few in any real pool, are summed by differences.
        `minus_twice` is -2 times the targets, transposed, which callers hold anyway.
        """
        lengths = torch.linalg.vecdot(rows, rows)[:, None]
        torch.addmm(self.squared_norms, rows, minus_twice, out=out).add_(lengths)
        near = out < CANCELLATION * (lengths + self.squared_norms)
        row, column = near.nonzero(as_tuple=True)
        for part in row_slices(len(row), max(1, DIFFERENCE_ENTRIES // rows.shape[1])):
            i, j = row[part], column[part]
            difference = rows[i] - self.points[j]
            out[i, j] = torch.linalg.vecdot(difference, difference)
        return out.clamp_(min=0).sqrt_()

    def subset(self, mask: Tensor) -> "Geometry":
        """Returns the geometry of the targets in `mask` alone."""
        return Geometry(self.cost, self.points[mask], self.squared_norms[mask], self.center)


class LogKernel:
    """Log kernel log a_i + (f_i - C_ij + offset_j) / epsilon of one (f, epsilon), block by block.

    Attributes:
        shift: Constant that is subtracted from every entry; it changes no softmax and keeps digits
            of float32.
    """

    def __init__(self, geometry: Geometry, f: Tensor, log_a: Tensor, epsilon: float) -> None:
        self.geometry = geometry
        self.epsilon = epsilon
        dtype = geometry.points.dtype
        constant = {"sqeuclidean": geometry.squared_norms.double(), "euclidean": 0.0, "cosine": 1.0}
        bias = log_a + (f - constant[geometry.cost]) / epsilon
        self.shift = float(bias.mean())
        self._bias = (bias - self.shift).to(dtype)
        # For the output of `Geometry.shifted_costs`, which contains the constant.
        self._cost_bias = (log_a + f / epsilon - self.shift).to(dtype)
        factor = {"sqeuclidean": 2 / epsilon, "euclidean": -2.0, "cosine": 1 / epsilon}
        self._scaled_points = (geometry.points * factor[geometry.cost]).T.contiguous()

    def logits(self, rows: Tensor, out: Tensor) -> Tensor:
        """Returns the log kernel less `shift` for prepared `rows`, (n, M), written into `out`."""
        if self.geometry.cost != "euclidean":
            return torch.addmm(self._bias, rows, self._scaled_points, out=out)
        self.geometry.distances(rows, self._scaled_points, out)
        return out.mul_(-1 / self.epsilon).add_(self._bias)

    def logits_of_costs(self, shifted_costs: Tensor, out: Tensor) -> Tensor:
        """Returns the same from stored `shifted_costs`, (n, M), written into `out`."""
        return torch.add(self._cost_bias, shifted_costs, alpha=-1 / self.epsilon, out=out)


def refuse_bad_rows(values: Tensor, start: int, cost: Cost) -> None:
    """Raises InvalidInput if a value per pool row, (n,), is not finite, naming the first such row.

    `start` is the pool row of the first value.
    """
    finite = torch.isfinite(values)
    if not bool(finite.all()):
        row = start + int((~finite).nonzero()[0])
        wanted = "finite and not zero (cost=cosine)" if cost == "cosine" else "finite"
        raise InvalidInput(f"pool vectors must be {wanted}; drop or repair pool row: {row}")


def normalized_masses(given: Array | None, count: int, name: str, device: torch.device) -> Tensor:
    """Returns float64 masses that sum to one, (count,); uniform if none are given.

    Raises:
        InvalidInput: Wrong length, negative, not finite, or all zero.
    """
    if given is None:
        return torch.full((count,), 1 / count, dtype=torch.float64, device=device)
    masses = torch.as_tensor(given).to(device=device, dtype=torch.float64)
    if masses.shape != (count,):
        raise InvalidInput(f"{name} must hold one mass a row, {count}: {tuple(masses.shape)}")
    total = float(masses.sum())
    if not math.isfinite(total) or total <= 0 or bool((masses < 0).any()):
        raise InvalidInput(f"{name} must be finite, not negative, and not all zero; sum: {total:g}")
    return masses / total


def cluster_masses(labels: Tensor | NDArray[np.integer]) -> Tensor:
    """Returns pool masses by which a cluster of near copies counts as one document, (n,), float64.

    b_j = 1 / (K |cluster of j|) for K clusters: they sum to one, and each cluster has mass 1 / K,
    shared evenly.

    Args:
        labels: (n,) integers, equal for documents of one cluster; a document without copies has a
            label of its own.

    Raises:
        InvalidInput: Not a vector of integers, empty, or negative (-1 is noise in many clusterings,
            which would make one cluster of all documents without copies).
    """
    labels = torch.as_tensor(labels)
    if labels.ndim != 1 or not len(labels) or labels.is_floating_point() or labels.is_complex():
        raise InvalidInput(
            f"labels must be a vector of integers that is not empty: {tuple(labels.shape)}, "
            f"{labels.dtype}"
        )
    if int(labels.min()) < 0:
        raise InvalidInput(
            "labels must not be negative; give each document without copies a label of its own: "
            f"{int(labels.min())}"
        )
    clusters, member, sizes = torch.unique(labels, return_inverse=True, return_counts=True)
    return 1 / (len(clusters) * sizes[member].double())


def stratified_sample(
    b: Tensor, count: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Returns (rows ascending, their masses) of a stratified sample of `count` draws of b.

    The pool is cut, in its order, into `count` strata of equal mass; one row is drawn from each: at
    a uniform place if a generator is given, else at the middle. A row drawn k times counts k times.
    """
    if count >= len(b):
        return torch.arange(len(b)), b
    places = torch.full((count,), 0.5, dtype=torch.float64)
    if generator is not None:
        places = torch.rand(count, dtype=torch.float64, generator=generator)
    places = (torch.arange(count, dtype=torch.float64) + places) / count
    edges = b.cpu().cumsum(0)
    drawn = torch.searchsorted(edges, places * float(edges[-1])).clamp_(max=len(b) - 1)
    rows, counts = torch.unique_consecutive(drawn, return_counts=True)
    return rows, (counts.double() / count).to(b.device)


@dataclass(frozen=True)
class CostStatistics:
    """Statistics of the costs that one reading of the pool gives, without a product per target.

    Attributes:
        mean: sum_ij a_i b_j C_ij.
        largest: Upper bound of the costs.
        row_norm: Root mean square of the lengths of the prepared pool rows.
    """

    mean: float
    largest: float
    row_norm: float


def cost_statistics(geometry: Geometry, pool: Array, b: Tensor, a: Tensor) -> CostStatistics:
    """Returns statistics of the costs between `pool` (N, d), masses b, and the targets, masses a.

    Squared Euclidean and cosine need the pool's mean vector and mean squared length only: exact,
    in float64, whatever the order of the pool or its shards.

    Deviation: the mean Euclidean cost would need every pair. It is taken over at most
    `MEAN_COST_ROWS` rows, the middles of strata of equal mass in the order of the pool; two orders
    of one pool then give epsilons that differ in the third or fourth digit.

    Raises:
        InvalidInput: A pool row that is not finite (or zero, under the cosine cost), by number.
    """
    device, dtype = geometry.points.device, geometry.points.dtype
    mean = torch.zeros(geometry.points.shape[1], device=device, dtype=torch.float64)
    square, longest = 0.0, 0.0
    for block in row_slices(len(pool), max(1, READ_ENTRIES // len(mean))):
        rows = geometry.prepare(read_rows(pool, block, device, dtype))
        squares, masses = torch.linalg.vecdot(rows, rows).double(), b[block]
        refuse_bad_rows(squares, block.start, geometry.cost)
        mean += masses @ rows.double()
        square += float(masses @ squares)
        longest = max(longest, float(squares.max()))
    row_norm = math.sqrt(square)
    if geometry.cost == "cosine":
        return CostStatistics(float(1 - mean @ (a @ geometry.points.double())), 2.0, row_norm)
    reach = math.sqrt(longest) + math.sqrt(float(geometry.squared_norms.max()))
    if geometry.cost == "euclidean":
        return CostStatistics(_mean_euclidean_cost(geometry, pool, b, a), reach, row_norm)
    target_mean = a @ geometry.points.double()
    target_square = float(a @ geometry.squared_norms.double())
    value = square + target_square - 2 * float(mean @ target_mean)
    return CostStatistics(value, reach**2, row_norm)


def mean_cost(pool: Array, target: Array, *, cost: Cost = "sqeuclidean") -> float:
    """Returns the mean cost between `pool` (N, d) and `target` (M, d) at uniform masses.

    It equals `Transport.mean_cost` of a `solve` at uniform masses in float32; see
    `cost_statistics`.

    Raises:
        InvalidInput: Vectors that do not go together or are not finite, by name.
    """
    n, m, _ = check_pair(pool, target)
    cpu = torch.device("cpu")
    a, b = (normalized_masses(None, count, "masses", cpu) for count in (m, n))
    with float32_products():
        geometry = Geometry.of(read_rows(target, slice(m), cpu, torch.float32), cost)
        return cost_statistics(geometry, pool, b, a).mean


def _mean_euclidean_cost(geometry: Geometry, pool: Array, b: Tensor, a: Tensor) -> float:
    points = geometry.points
    numbers, masses = stratified_sample(b, MEAN_COST_ROWS, None)
    rows = geometry.prepare(gather_rows(pool, numbers, points.device, points.dtype))
    total, step = 0.0, rows_per_block(len(points), points.device)
    out = rows.new_empty(min(step, len(rows)), len(points))
    for block in row_slices(len(rows), step):
        costs = geometry.shifted_costs(rows[block], out[: block.stop - block.start])
        total += float(costs.double() @ a @ masses[block])
    return total
