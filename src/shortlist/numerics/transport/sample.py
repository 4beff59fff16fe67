"""The target potential f on a sample of the pool (or on all of it, if that fits): Newton's method."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .costs import Geometry, Kernel, tile_rows
from .precision import products
from .stream import refuse_bad_rows, row_potential

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


class Sample:
    """Rows whose costs to all targets are kept (or made anew at each visit, where they cannot be).

    Attributes:
        visited: Rows visited so far, all visits together.
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
        self._step = tile_rows(m, rows.device)
        self._numbers = numbers
        self._offset = geometry.offset(rows).double()
        self._buffer = rows.new_empty(min(self._step, n), m)
        self._weight = b
        self._part = rows.new_empty(n, m) if stored else None
        self._plan = rows.new_empty(n, m) if stored else None
        self._kernel: Kernel | None = None
        if self._part is not None:
            with products(quick=quick):
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
            with products(quick=self._quick):
                return kernel.logits(self.rows[tile], out)
        return torch.add(kernel.plain_bias, self._raw(tile), alpha=-1 / kernel.epsilon, out=out)

    def _raw(self, tile: slice) -> Tensor:
        assert self._part is not None
        return self._part[tile]

    def marginal(self, f: Tensor, epsilon: float) -> Tensor:
        """Returns the target marginal of the plan at f, (M,), float64, and keeps that plan."""
        kernel = Kernel(self.geometry, f, self.log_a, epsilon)
        n, total = len(self.rows), torch.zeros_like(f)
        weights = torch.empty_like(self.b) if math.isfinite(self.penalties.pool) else self.b
        for start in range(0, n, self._step):
            tile = slice(start, min(start + self._step, n))
            logits = self._logits(tile, kernel)
            plan = None if self._plan is None else self._plan[tile]
            share = torch.softmax(logits, 1) if plan is None else torch.softmax(logits, 1, out=plan)
            if math.isfinite(self.penalties.pool):
                h = self._offset[tile] - epsilon * (row_potential(logits, share) + kernel.shift)
                weights[tile] = self.b[tile] * (-h / (self.penalties.pool + epsilon)).exp()
            total += torch.mv(share.T, weights[tile].to(share.dtype)).double()
        if not bool(torch.isfinite(total).all()):
            self._refuse(f, epsilon)
        self._kernel, self._weight = kernel, weights
        self.visited += n
        return total

    def _refuse(self, f: Tensor, epsilon: float) -> None:
        """Raises for the first row whose vector is not finite, by its number in the pool."""
        bad = (~torch.isfinite(self.rows).all(1)).nonzero()
        first = int(bad[0]) if len(bad) else 0
        number = first if self._numbers is None else int(self._numbers[first])
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

    def direction(self, p: Tensor, wanted: Tensor, epsilon: float, forcing: float) -> Tensor:
        """Returns Newton's step for f, by conjugate gradients on the Hessian of the semi-dual.

        epsilon H = diag(p + wanted epsilon / rho_a) - lambda Pi^T diag(w) Pi, with lambda = 1 for
        an exact pool marginal, else rho_b / (rho_b + epsilon). The diagonal preconditions. A
        thousandth of a percent of it is added, for the constant direction that the balanced
        problem leaves open.
        """
        dtype = self.rows.dtype
        pool = self.penalties.pool
        damping = 1.0 if math.isinf(pool) else pool / (pool + epsilon)
        soft = 0.0 if math.isinf(self.penalties.target) else epsilon / self.penalties.target
        diagonal = (p.clamp_min(FLOOR) + wanted * soft).to(dtype) * (1 + 1e-5)
        residual = (wanted - p).to(dtype)
        x, z = torch.zeros_like(residual), residual / diagonal
        d, rho = z.clone(), float(residual @ z)
        goal = forcing**2 * rho
        for _ in range(50):
            curved = diagonal * d - damping * self.spread(d)
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


def sinkhorn_step(
    f: Tensor, p: Tensor, a: Tensor, epsilon: float, penalties: Penalties, relax: float = 1.0
) -> Tensor:
    """Returns f after one Sinkhorn update of the target side, over-relaxed by `relax`."""
    gain = (penalties.wanted(a, f).clamp_min(FLOOR) / p.clamp_min(FLOOR)).log()
    slack = 1.0 if math.isinf(penalties.target) else 1 / (1 + epsilon / penalties.target)
    return f + relax * slack * epsilon * gain


def _error(p: Tensor, wanted: Tensor) -> float:
    return float((p - wanted).abs().sum())


def refine(
    sample: Sample,
    f: Tensor,
    a: Tensor,
    epsilon: float,
    tolerance: float,
    *,
    sweeps: int,
    steps: int = 12,
) -> tuple[Tensor, Tensor, float]:
    """Returns (f, marginal, L1 error) on the sample at one epsilon.

    Up to `sweeps` over-relaxed Sinkhorn sweeps, which are cheap and bring any start into Newton's
    reach, then up to `steps` Newton steps; a step that does not lower the error is halved, and
    after four halvings gives way to Sinkhorn sweeps.
    """
    penalties = sample.penalties
    p = sample.marginal(f, epsilon)
    error = _error(p, penalties.wanted(a, f))
    relax = 1.3 if penalties.balanced else 1.0
    for _ in range(sweeps):
        if error <= tolerance:
            return f, p, error
        f = sinkhorn_step(f, p, a, epsilon, penalties, relax)
        p = sample.marginal(f, epsilon)
        before, error = error, _error(p, penalties.wanted(a, f))
        if error > before:
            relax = 1.0
    for _ in range(steps):
        if error <= tolerance:
            break
        wanted = penalties.wanted(a, f)
        forcing = min(0.1, max(error, 0.3 * tolerance / error))
        move = sample.direction(p, wanted, epsilon, forcing)
        f, p, error, better = _search(sample, f, p, error, a, epsilon, move)
        if not better:
            for _ in range(5):
                f = sinkhorn_step(f, p, a, epsilon, penalties)
                p = sample.marginal(f, epsilon)
            error = _error(p, penalties.wanted(a, f))
    return f, p, error


def _search(
    sample: Sample, f: Tensor, p: Tensor, error: float, a: Tensor, epsilon: float, move: Tensor
) -> tuple[Tensor, Tensor, float, bool]:
    """Returns the best of the halved steps along `move`, and whether it lowered the error."""
    if not bool(torch.isfinite(move).all()):
        return f, p, error, False
    for step in (1.0, 0.5, 0.25, 0.125):
        tried = f + step * move
        q = sample.marginal(tried, epsilon)
        found = _error(q, sample.penalties.wanted(a, tried))
        if found < error:
            return tried, q, found, True
    p = sample.marginal(f, epsilon)  # the kept plan must be that of f again
    return f, p, error, False


def anneal(
    sample: Sample, f: Tensor, a: Tensor, epsilon: float, scale: float, tolerance: float
) -> tuple[Tensor, Tensor, float]:
    """Returns (f, marginal, L1 error) at epsilon, coming down from a fifth of the mean cost.

    Each level divides epsilon by three and needs its error only to stay within reach of the next.
    """
    level = max(epsilon, 0.2 * scale)
    while level > epsilon * 1.001:
        f, _, _ = refine(sample, f, a, level, 0.05, sweeps=6, steps=3)
        level = max(epsilon, level / 3)
    return refine(sample, f, a, epsilon, tolerance, sweeps=10, steps=30)
