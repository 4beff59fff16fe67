"""Newton's method for the target potential on a sample of the pool, and annealing of epsilon."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from shortlist.vectors import float32_products, row_slices, rows_per_block

from .problem import Geometry, LogKernel, Penalties, dual_term, marginal_error, refuse_bad_rows
from .stream import penalized_potential, row_logsumexp

SMALLEST_MARGINAL = 1e-30  # so that a target that no candidate reaches still gets a finite step
LEVEL_ERROR = 0.05  # marginal error of a level of epsilon from which the next one converges fast
MAX_RATIO, MIN_RATIO = 3.0, 1.05  # by which a level divides epsilon
MAX_LEVELS = 60  # attempts at levels; from 3 to 1.05 and back takes five
DAMPING = (1e-5, 1e-3, 0.1)  # of the diagonal; the next one after a step that was no improvement


@dataclass(frozen=True)
class SampleValue:
    """The sampled semi-dual at one f.

    Attributes:
        marginal: (M,) target marginal of the plan, float64.
        pool_value: The pool's part of the dual objective: <b, g>, or its penalised form.
    """

    marginal: Tensor
    pool_value: float


class Sample:
    """Pool rows whose costs to all targets are stored, or recomputed at each evaluation.

    Attributes:
        rows: (n, d) prepared vectors.
        b: (n,) masses.
        numbers: (n,) pool rows, where known.
        rows_processed: Rows of all evaluations so far.
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
        fast: bool,
        numbers: Tensor | None = None,
    ) -> None:
        """Computes the costs if they are `stored`; `fast` products may be in bfloat16."""
        self._fast = fast
        n, m = len(rows), len(log_a)
        self.geometry, self.rows, self.b, self.log_a = geometry, rows, b, log_a
        self.penalties, self.numbers, self.rows_processed = penalties, numbers, 0
        self._step = rows_per_block(m, rows.device)
        self._offset = geometry.offset(rows).double()
        self._buffer = rows.new_empty(min(self._step, n), m)
        self._row_masses = b
        self._costs = rows.new_empty(n, m) if stored else None
        self._plan = rows.new_empty(n, m) if stored else None
        self._kernel: LogKernel | None = None
        if self._costs is not None:
            with float32_products(fast=fast):
                for block in self._blocks():
                    geometry.shifted_costs(rows[block], self._costs[block])
            self.rows_processed += n

    @property
    def stored_costs(self) -> tuple[Tensor, Tensor] | None:
        """Returns (shifted costs (n, M), offsets (n,)) if they are stored."""
        return None if self._costs is None else (self._costs, self._offset)

    def _blocks(self) -> Iterator[slice]:
        return row_slices(len(self.rows), self._step)

    def _logits(self, block: slice, kernel: LogKernel) -> Tensor:
        out = self._buffer[: block.stop - block.start]
        if self._costs is None:
            with float32_products(fast=self._fast):
                return kernel.logits(self.rows[block], out)
        return kernel.logits_of_costs(self._costs[block], out)

    def _last_plan(self, block: slice) -> Tensor:
        """Returns row-normalised plan rows of the last evaluation, (rows of the block, M)."""
        if self._plan is not None:
            return self._plan[block]
        assert self._kernel is not None
        return torch.softmax(self._logits(block, self._kernel), 1)

    def evaluate(self, f: Tensor, epsilon: float) -> SampleValue:
        """Returns marginal and dual value at f, and keeps its plan for the other methods."""
        kernel = LogKernel(self.geometry, f, self.log_a, epsilon)
        total = torch.zeros_like(f)
        g, masses = torch.empty_like(self.b), self.b
        for block in self._blocks():
            logits = self._logits(block, kernel)
            plan = None if self._plan is None else self._plan[block]
            share = torch.softmax(logits, 1) if plan is None else torch.softmax(logits, 1, out=plan)
            h = self._offset[block] - epsilon * (row_logsumexp(logits, share) + kernel.shift)
            g[block] = penalized_potential(h, epsilon, self.penalties.pool)
            if math.isfinite(self.penalties.pool):
                masses = masses if masses is not self.b else torch.empty_like(self.b)
                masses[block] = self.b[block] * (-g[block] / self.penalties.pool).exp()
            total += torch.mv(share.T, masses[block].to(share.dtype)).double()
        if not bool(torch.isfinite(total).all()):
            self._refuse(f)
        self._kernel, self._row_masses = kernel, masses
        self.rows_processed += len(self.rows)
        value = dual_term(self.b, g, self.penalties.pool) - epsilon * float(masses.sum())
        return SampleValue(total, value)

    def _refuse(self, f: Tensor) -> None:
        """Raises for the first row whose vector is not finite, by its number in the pool."""
        bad = (~torch.isfinite(self.rows).all(1)).nonzero()
        first = int(bad[0]) if len(bad) else 0
        number = first if self.numbers is None else int(self.numbers[first])
        refuse_bad_rows(f.new_full((1,), math.nan), number, self.geometry.cost)

    def sampling_error(self, marginal: Tensor) -> float:
        """Returns the expected L1 error of a target marginal over one pool row drawn by mass.

        Over K rows the error is that divided by sqrt(K), times sqrt(1 - K / N) when drawn without
        replacement: sum_i sqrt(2 / pi) sd_i, the mean of |error| of a normal error, with sd_i from
        the rows' shares Pi_ij of target i in the last plan, whose marginal is `marginal`.
        """
        second, mass = torch.zeros_like(marginal), float(self._row_masses.sum())
        for block in self._blocks():
            share = self._last_plan(block)
            squared = torch.mul(share, share, out=self._buffer[: block.stop - block.start])
            weight = (self._row_masses[block] / mass).to(share.dtype)
            second += torch.mv(squared.T, weight).double()
        self.rows_processed += len(self.rows)
        deviation = (second - (marginal / mass).square()).clamp_min(0).sqrt()
        return float(deviation.sum()) * math.sqrt(2 / math.pi)

    def plan_product(self, v: Tensor) -> Tensor:
        """Returns Pi^T diag(w) Pi v for the last row-normalised plan Pi, (M,), in v's dtype."""
        total, masses = torch.zeros_like(v), self._row_masses.to(v.dtype)
        for block in self._blocks():
            share = self._last_plan(block)
            total += torch.mv(share.T, torch.mv(share, v) * masses[block])
        self.rows_processed += len(self.rows)
        return total

    def newton_step(
        self, marginal: Tensor, wanted: Tensor, epsilon: float, forcing: float, damping: float
    ) -> Tensor:
        """Returns Newton's step for f, (M,), by conjugate gradients on the Hessian of the
        semi-dual.

        epsilon H = diag(p + wanted epsilon / rho_a) - lambda Pi^T diag(w) Pi, with lambda = 1 for
        an exact pool marginal, else rho_b / (rho_b + epsilon). The diagonal preconditions.

        Args:
            marginal: (M,) target marginal p at f, of the last evaluation.
            wanted: (M,) marginal to reach.
            epsilon: Absolute.
            forcing: Share of the residual to stop at.
            damping: Share of the diagonal added to it: a thousandth of a percent for the constant
                direction that the balanced problem leaves open, more where the quadratic model is
                valid only nearby.
        """
        dtype = self.rows.dtype
        pool = self.penalties.pool
        slack = 1.0 if math.isinf(pool) else pool / (pool + epsilon)
        soft = 0.0 if math.isinf(self.penalties.target) else epsilon / self.penalties.target
        diagonal = marginal.clamp_min(SMALLEST_MARGINAL) + wanted * soft
        diagonal = diagonal.to(dtype) * (1 + damping)
        residual = (wanted - marginal).to(dtype)
        x, z = torch.zeros_like(residual), residual / diagonal
        d, rho = z.clone(), float(residual @ z)
        goal = forcing**2 * rho
        for _ in range(50):
            product = diagonal * d - slack * self.plan_product(d)
            curvature = float(d @ product)
            if not curvature > 0 or not math.isfinite(curvature):
                break
            x += (rho / curvature) * d
            residual -= (rho / curvature) * product
            z = residual / diagonal
            following = float(residual @ z)
            if following <= goal:
                break
            d, rho = z + (following / rho) * d, following
        return epsilon * x.double()


def sinkhorn_step(
    f: Tensor, p: Tensor, a: Tensor, epsilon: float, penalties: Penalties, relax: float = 1.0
) -> Tensor:
    """Returns f after one Sinkhorn update of the target side, over-relaxed by `relax`.

    p (M,) is the target marginal at f, a (M,) the one to reach.
    """
    wanted = penalties.wanted_marginal(a, f)
    gain = (wanted.clamp_min(SMALLEST_MARGINAL) / p.clamp_min(SMALLEST_MARGINAL)).log()
    slack = 1.0 if math.isinf(penalties.target) else 1 / (1 + epsilon / penalties.target)
    return f + relax * slack * epsilon * gain


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
    """Returns (f, marginal, error) on the sample at one epsilon.

    Up to `sweeps` over-relaxed Sinkhorn sweeps, which are cheap and bring any start into the basin
    of Newton's method, then up to `steps` Newton steps. A step counts if it lowers the error or
    raises the dual, which is concave (the error alone may have to rise on the way); else it is
    halved, after four halvings damped, and at last replaced by Sinkhorn sweeps.
    """
    penalties = sample.penalties
    current = sample.evaluate(f, epsilon)
    error = marginal_error(current.marginal, penalties.wanted_marginal(a, f))
    relax = 1.3 if penalties.balanced else 1.0
    for _ in range(sweeps):
        if error <= tolerance:
            return f, current.marginal, error
        f = sinkhorn_step(f, current.marginal, a, epsilon, penalties, relax)
        current = sample.evaluate(f, epsilon)
        before = error
        error = marginal_error(current.marginal, penalties.wanted_marginal(a, f))
        if error > before:
            relax = 1.0
    level = 0
    for _ in range(steps):
        if error <= tolerance:
            break
        forcing = min(0.1, max(error, 0.3 * tolerance / error))
        wanted = penalties.wanted_marginal(a, f)
        step = sample.newton_step(current.marginal, wanted, epsilon, forcing, DAMPING[level])
        improved = _line_search(sample, f, current, error, a, epsilon, step)
        if improved is not None:
            (f, current), level = improved, max(0, level - 1)
        elif level + 1 < len(DAMPING):
            level += 1
            current = sample.evaluate(f, epsilon)  # the kept plan must be that of f again
        else:
            for _ in range(5):
                f = sinkhorn_step(f, current.marginal, a, epsilon, penalties)
                current = sample.evaluate(f, epsilon)
        error = marginal_error(current.marginal, penalties.wanted_marginal(a, f))
    return f, current.marginal, error


def _line_search(
    sample: Sample,
    f: Tensor,
    current: SampleValue,
    error: float,
    a: Tensor,
    epsilon: float,
    step: Tensor,
) -> tuple[Tensor, SampleValue] | None:
    """Returns (f, its value) of the longest of the halved steps that is an improvement, or None."""
    if not bool(torch.isfinite(step).all()):
        return None
    penalties = sample.penalties
    slope = float(step @ (penalties.wanted_marginal(a, f) - current.marginal))
    value = dual_term(a, f, penalties.target) + current.pool_value
    for length in (1.0, 0.5, 0.25, 0.125, 0.0625):
        tried = f + length * step
        there = sample.evaluate(tried, epsilon)
        rise = dual_term(a, tried, penalties.target) + there.pool_value - value
        new_error = marginal_error(there.marginal, penalties.wanted_marginal(a, tried))
        if new_error < error or rise > 1e-4 * length * slope > 0:
            return tried, there
    return None


def anneal(
    sample: Sample, f: Tensor, a: Tensor, epsilon: float, mean_cost: float, tolerance: float
) -> tuple[Tensor, Tensor, float]:
    """Returns (f, marginal, error) at epsilon, lowered to it from a fifth of the mean cost.

    Each level divides epsilon by three and is solved only to `LEVEL_ERROR`; where it does not
    reach that, levels are inserted: by the root of the ratio, and again.
    """
    level, ratio = max(epsilon, 0.2 * mean_cost), MAX_RATIO
    if level > epsilon:
        f = refine(sample, f, a, level, LEVEL_ERROR, sweeps=6, steps=3)[0]
    for _ in range(MAX_LEVELS):
        following = max(epsilon, level / ratio)
        last = following <= epsilon * 1.001
        goal, sweeps, steps = (tolerance, 10, 12) if last else (LEVEL_ERROR, 6, 4)
        solved = refine(sample, f, a, following, goal, sweeps=sweeps, steps=steps)
        if last and solved[2] <= goal:
            return solved
        ratio = level / following
        if solved[2] > max(goal, LEVEL_ERROR) and ratio > MIN_RATIO:
            ratio = math.sqrt(ratio)
            continue
        f, level, ratio = solved[0], following, min(MAX_RATIO, max(ratio, MIN_RATIO) ** 1.5)
        if last:
            break
    return refine(sample, f, a, epsilon, tolerance, sweeps=0, steps=30)
