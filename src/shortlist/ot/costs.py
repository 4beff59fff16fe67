"""The ground cost between a tile of pool rows and all targets, and the kernel it makes."""
# The stubs of torch and POT leave these unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from shortlist.errors import InvalidInput

Cost = Literal["sqeuclidean", "euclidean", "cosine"]
COSTS: tuple[Cost, ...] = get_args(Cost)
NEAR = 2**-6  # share of |x|^2 + |y|^2 under which a squared distance is taken by differences
NEAR_NUMBERS = 2**22  # vector entries gathered at a time for those: 16 MB in float32


@dataclass(frozen=True)
class Geometry:
    """Targets made ready for one cost.

    A cost is split as C_ij = offset_j + part_ij, where the offset of a candidate shifts all of its
    costs alike: it leaves the row's softmax unchanged and is added to the potential afterwards, so
    that the tile holds one product and one bias.

    Attributes:
        cost: Which cost.
        points: Targets, (M, d): centred (squared Euclidean, Euclidean) or unit length (cosine).
        squares: Squared lengths of `points`, (M,).
        center: What was taken from every row, (d,); zero for cosine. Centring on the target mean
            changes no cost and keeps float32 (and bfloat16) from cancelling.
    """

    cost: Cost
    points: Tensor
    squares: Tensor
    center: Tensor

    @classmethod
    def of(cls, target: Tensor, cost: Cost) -> "Geometry":
        """Returns the geometry of `target`, (M, d), already in the arithmetic to compute in.

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
            lengths = target.norm(dim=1)
            if bool((lengths == 0).any()):
                raise InvalidInput(
                    "the cosine cost needs target vectors that are not zero; drop it or set "
                    f"cost=sqeuclidean; target row: {int((lengths == 0).nonzero()[0])}"
                )
            points = target / lengths[:, None]
        else:
            center = target.double().mean(0).to(target.dtype)
            points = target - center
        return cls(cost, points.contiguous(), (points * points).sum(1), center)

    @property
    def roundings(self) -> float:
        """Returns how many roundings of the largest cost one cost may be off.

        One where costs are sums. A root of a squared distance s that is off by r S (S the squared
        lengths, r the rounding) is off by r S / (2 sqrt(s)), and s >= NEAR S where `distances`
        leaves the expanded square.
        """
        return 0.5 * NEAR**-0.5 if self.cost == "euclidean" else 1.0

    @property
    def lipschitz_squares(self) -> float:
        """Returns c such that the cost is c times a squared distance (1 or 1/2), for certificates."""
        return 0.5 if self.cost == "cosine" else 1.0

    def rows(self, raw: Tensor) -> Tensor:
        """Returns candidates (n, d) made comparable with `points`."""
        if self.cost == "cosine":
            return raw / raw.norm(dim=1, keepdim=True)
        return raw - self.center

    def offset(self, rows: Tensor) -> Tensor:
        """Returns the part of the cost that depends on the candidate alone, (n,)."""
        if self.cost == "sqeuclidean":
            return torch.linalg.vecdot(rows, rows)
        return rows.new_zeros(len(rows))

    def part(self, rows: Tensor, out: Tensor) -> Tensor:
        """Returns C - offset for prepared `rows`, (n, M), written into `out`."""
        points = self.points.T
        if self.cost == "cosine":
            return torch.addmm(torch.ones_like(self.squares), rows, points, alpha=-1, out=out)
        if self.cost == "euclidean":
            return self.distances(rows, points * -2, out)
        return torch.addmm(self.squares, rows, points, alpha=-2, out=out)

    def distances(self, rows: Tensor, minus_twice: Tensor, out: Tensor) -> Tensor:
        """Returns Euclidean distances of prepared `rows` to all targets, (n, M), in `out`.

        |x|^2 - 2 x.y + |y|^2 cancels where x is near y: what rounding leaves of it is as large as
        the distance itself. Such pairs, few in any real pool, are taken again by differences.
        `minus_twice` is -2 times the targets, transposed, as the caller has it at hand.
        """
        lengths = torch.linalg.vecdot(rows, rows)[:, None]
        torch.addmm(self.squares, rows, minus_twice, out=out).add_(lengths)
        row, column = (out < NEAR * (lengths + self.squares)).nonzero(as_tuple=True)
        step = max(1, NEAR_NUMBERS // rows.shape[1])
        for start in range(0, len(row), step):
            i, j = row[start : start + step], column[start : start + step]
            away = rows[i] - self.points[j]
            out[i, j] = torch.linalg.vecdot(away, away)
        return out.clamp_(min=0).sqrt_()

    def keep(self, mask: Tensor) -> "Geometry":
        """Returns the geometry of the targets in `mask` alone."""
        return Geometry(self.cost, self.points[mask], self.squares[mask], self.center)


class Kernel:
    """Log kernel of one (f, epsilon): log a_i + (f_i - C_ij + offset_j) / epsilon, tile by tile."""

    def __init__(self, geometry: Geometry, f: Tensor, log_a: Tensor, epsilon: float) -> None:
        self.geometry = geometry
        self.epsilon = epsilon
        dtype = geometry.points.dtype
        constant = {"sqeuclidean": geometry.squares.double(), "euclidean": 0.0, "cosine": 1.0}
        bias = log_a + (f - constant[geometry.cost]) / epsilon
        # One constant for all targets moves no softmax; taking it out keeps float32 digits.
        self.shift = float(bias.mean())
        self.bias = (bias - self.shift).to(dtype)
        # For the tile of `Geometry.part`, which holds the constant itself.
        self.plain_bias = (log_a + f / epsilon - self.shift).to(dtype)
        factor = {"sqeuclidean": 2 / epsilon, "euclidean": -2.0, "cosine": 1 / epsilon}
        self.product = (geometry.points * factor[geometry.cost]).T.contiguous()

    def logits(self, rows: Tensor, out: Tensor) -> Tensor:
        """Returns the log kernel less `shift` for prepared `rows`, (n, M), written into `out`."""
        if self.geometry.cost != "euclidean":
            return torch.addmm(self.bias, rows, self.product, out=out)
        self.geometry.distances(rows, self.product, out)
        return out.mul_(-1 / self.epsilon).add_(self.bias)
