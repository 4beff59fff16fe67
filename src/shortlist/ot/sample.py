"""A sample of the pool (or all of it, if that fits): marginals, dual values and curvature at any f."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from shortlist.vectors import float32_products, rows_per_block

from .costs import Geometry, Kernel
from .stream import refuse_bad_rows, row_potential, soften

FLOOR = 1e-30  # a target that no candidate reaches still gets a finite step


@dataclass(frozen=True)
class Penalties:
    """KL penalties of the two marginals; infinite means that the marginal is met exactly."""

    target: float = math.inf
    pool: float = math.inf

    @property
    def balanced(self) -> bool:
        """Returns whether both marginals are exact, so that f is free up to a constant."""
        return math.isinf(self.target) and math.isinf(self.pool)

    def wanted(self, a: Tensor, f: Tensor) -> Tensor:
        """Returns the target marginal that f asks for: a exp(-f / rho), or a itself."""
        return a if math.isinf(self.target) else a * (-f / self.target).exp()

    def times(self, scale: float) -> "Penalties":
        """Returns the penalties multiplied by `scale`."""
        return Penalties(self.target * scale, self.pool * scale)


def linear(mass: Tensor, potential: Tensor, rho: float) -> float:
    """Returns <mass, potential>, or -rho <mass, exp(-potential / rho) - 1> under a penalty rho."""
    if math.isinf(rho):
        return float(mass @ potential)
    return -rho * float(mass @ torch.expm1(-potential / rho))


def marginal_error(p: Tensor, wanted: Tensor) -> float:
    """Returns the L1 error of the target marginal p, as a share of the mass that is wanted.

    Balanced problems want a mass of one; where the marginals are penalised the plan may carry far
    less, and an error that is small against one could be all of it.
    """
    return float((p - wanted).abs().sum() / wanted.sum())


@dataclass(frozen=True)
class Look:
    """What one visit of the sample tells of f.

    Attributes:
        marginal: Target marginal of the plan, (M,), float64.
        value: The pool's part of the dual objective: <b, g>, or its penalised form.
    """

    marginal: Tensor
    value: float


class Sample:
    """Rows whose costs to all targets are kept (or made anew at each visit, where they cannot be).

    Attributes:
        visited: Rows visited so far, all visits together.
        numbers: Which rows of the pool they are, where known.
    """

    def __init__(
        self,
        geometry: Geometry,
        rows: Tensor,
        b: Tensor,
        log_a: Tensor,
        penalties: Penalties,
        *,
        stored: bool,
        quick: bool,
        numbers: Tensor | None = None,
    ) -> None:
        """Takes prepared `rows`, (n, d), with masses b, (n,); `numbers` are their pool rows."""
        self._quick = quick
        n, m = len(rows), len(log_a)
        self.geometry, self.rows, self.b, self.log_a = geometry, rows, b, log_a
        self.penalties, self.stored, self.visited = penalties, stored, 0
        self._step = rows_per_block(m, rows.device)
        self.numbers = numbers
        self._offset = geometry.offset(rows).double()
        self._buffer = rows.new_empty(min(self._step, n), m)
        self._weight = b
        self._part = rows.new_empty(n, m) if stored else None
        self._plan = rows.new_empty(n, m) if stored else None
        self._kernel: Kernel | None = None
        if self._part is not None:
            with float32_products(fast=quick):
                for start in range(0, n, self._step):
                    tile = slice(start, min(start + self._step, n))
                    geometry.part(rows[tile], self._part[tile])
            self.visited += n

    @property
    def kept(self) -> tuple[Tensor, Tensor] | None:
        """Returns (part, offset) of all costs, (n, M) and (n,), if they are kept."""
        return None if self._part is None else (self._part, self._offset)

    def _logits(self, tile: slice, kernel: Kernel) -> Tensor:
        out = self._buffer[: tile.stop - tile.start]
        if self._part is None:
            with float32_products(fast=self._quick):
                return kernel.logits(self.rows[tile], out)
        return torch.add(kernel.plain_bias, self._raw(tile), alpha=-1 / kernel.epsilon, out=out)

    def _raw(self, tile: slice) -> Tensor:
        assert self._part is not None
        return self._part[tile]

    def look(self, f: Tensor, epsilon: float) -> Look:
        """Returns marginal and dual value at f, and keeps that plan for `spread`."""
        kernel = Kernel(self.geometry, f, self.log_a, epsilon)
        n, total = len(self.rows), torch.zeros_like(f)
        g, weights = torch.empty_like(self.b), self.b
        for start in range(0, n, self._step):
            tile = slice(start, min(start + self._step, n))
            logits = self._logits(tile, kernel)
            plan = None if self._plan is None else self._plan[tile]
            share = torch.softmax(logits, 1) if plan is None else torch.softmax(logits, 1, out=plan)
            h = self._offset[tile] - epsilon * (row_potential(logits, share) + kernel.shift)
            g[tile] = soften(h, epsilon, self.penalties.pool)
            if math.isfinite(self.penalties.pool):
                weights = weights if weights is not self.b else torch.empty_like(self.b)
                weights[tile] = self.b[tile] * (-g[tile] / self.penalties.pool).exp()
            total += torch.mv(share.T, weights[tile].to(share.dtype)).double()
        if not bool(torch.isfinite(total).all()):
            self._refuse(f, epsilon)
        self._kernel, self._weight = kernel, weights
        self.visited += n
        value = linear(self.b, g, self.penalties.pool) - epsilon * float(weights.sum())
        return Look(total, value)

    def marginal(self, f: Tensor, epsilon: float) -> Tensor:
        """Returns the target marginal of the plan at f, (M,), float64, and keeps that plan."""
        return self.look(f, epsilon).marginal

    def noise(self, p: Tensor) -> float:
        """Returns the L1 error that a marginal over one row of the pool, drawn by mass, would have.

        Over K rows it is that divided by sqrt(K), times sqrt(1 - K / N) where they are not put
        back: sum_i sqrt(2 / pi) sd_i, the mean of |error| of a normal error, with sd_i from the
        rows' shares Pi_ij of target i in the kept plan, whose marginal is p.
        """
        assert self._kernel is not None
        second, mass = torch.zeros_like(p), float(self._weight.sum())
        for start in range(0, len(self.rows), self._step):
            tile = slice(start, min(start + self._step, len(self.rows)))
            if self._plan is None:
                share = torch.softmax(self._logits(tile, self._kernel), 1)
            else:
                share = self._plan[tile]
            squared = torch.mul(share, share, out=self._buffer[: tile.stop - tile.start])
            weight = (self._weight[tile] / mass).to(share.dtype)
            second += torch.mv(squared.T, weight).double()
        self.visited += len(self.rows)
        spread = (second - (p / mass).square()).clamp_min(0).sqrt()
        return float(spread.sum()) * math.sqrt(2 / math.pi)

    def _refuse(self, f: Tensor, epsilon: float) -> None:
        """Raises for the first row whose vector is not finite, by its number in the pool."""
        bad = (~torch.isfinite(self.rows).all(1)).nonzero()
        first = int(bad[0]) if len(bad) else 0
        number = first if self.numbers is None else int(self.numbers[first])
        refuse_bad_rows(f.new_full((1,), math.nan), number, self.geometry.cost)

    def spread(self, v: Tensor) -> Tensor:
        """Returns Pi^T diag(w) Pi v for the kept plan's row-normalised Pi, (M,), in v's dtype."""
        assert self._kernel is not None
        total, weight = torch.zeros_like(v), self._weight.to(v.dtype)
        for start in range(0, len(self.rows), self._step):
            tile = slice(start, min(start + self._step, len(self.rows)))
            if self._plan is None:
                share = torch.softmax(self._logits(tile, self._kernel), 1)
            else:
                share = self._plan[tile]
            total += torch.mv(share.T, torch.mv(share, v) * weight[tile])
        self.visited += len(self.rows)
        return total

    def direction(
        self, p: Tensor, wanted: Tensor, epsilon: float, forcing: float, damping: float
    ) -> Tensor:
        """Returns Newton's step for f, by conjugate gradients on the Hessian of the semi-dual.

        epsilon H = diag(p + wanted epsilon / rho_a) - lambda Pi^T diag(w) Pi, with lambda = 1 for
        an exact pool marginal, else rho_b / (rho_b + epsilon). The diagonal preconditions, and
        `damping` of it is added: a thousandth of a percent for the constant direction that the
        balanced problem leaves open, more where the curvature is not to be trusted far.
        """
        dtype = self.rows.dtype
        pool = self.penalties.pool
        slack = 1.0 if math.isinf(pool) else pool / (pool + epsilon)
        soft = 0.0 if math.isinf(self.penalties.target) else epsilon / self.penalties.target
        diagonal = (p.clamp_min(FLOOR) + wanted * soft).to(dtype) * (1 + damping)
        residual = (wanted - p).to(dtype)
        x, z = torch.zeros_like(residual), residual / diagonal
        d, rho = z.clone(), float(residual @ z)
        goal = forcing**2 * rho
        for _ in range(50):
            curved = diagonal * d - slack * self.spread(d)
            bend = float(d @ curved)
            if not bend > 0 or not math.isfinite(bend):
                break
            x += (rho / bend) * d
            residual -= (rho / bend) * curved
            z = residual / diagonal
            following = float(residual @ z)
            if following <= goal:
                break
            d, rho = z + (following / rho) * d, following
        return epsilon * x.double()
