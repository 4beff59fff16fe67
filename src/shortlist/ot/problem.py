"""The state of one solve: what was asked, what was measured before the work, and what a visit tells."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from shortlist.errors import InvalidInput
from shortlist.vectors import Array, RowSubset, fast_products_exist, gather_rows, rows_per_block

from .certificate import dual_value, primal_value
from .checking import pool_misfit
from .costs import Geometry
from .forecasting import Forecast
from .inputs import strata
from .result import Transport
from .sample import Penalties, Sample, marginal_error
from .scale import measure_costs
from .stream import Visit, exact_shortcut, visit
from .words import Words

log = logging.getLogger(__name__)

Progress = Callable[[float, float], None]


class EpsilonTooSmall(InvalidInput):
    """An epsilon that the arithmetic cannot resolve."""


@dataclass
class Problem:
    """The state of one solve; nothing of it outlives `solve`."""

    pool: Array
    target: Array
    kept: Tensor  # which targets have mass; `geometry`, `a` and f are over those
    geometry: Geometry
    a: Tensor
    b: Tensor
    penalties: Penalties
    plan: Forecast
    generator: torch.Generator | None
    words: Words
    epsilon: float = 0.0
    scale: float = 0.0
    exact: bool = False  # whether quick products are float32 products all the same
    rough: bool = False  # whether they are not, but good enough for all visits except the last
    seen: int = 0  # rows visited in streamed passes, and by samples given up
    full: int = 0
    _sample: Sample | None = field(default=None)

    @property
    def rows(self) -> int:
        """Returns N."""
        return len(self.b)

    @property
    def passes(self) -> float:
        """Returns the rows visited so far, all visits together, divided by N."""
        sampled = 0 if self._sample is None else self._sample.visited
        return (self.seen + sampled) / self.rows

    def measure(self, epsilon: float, relative: bool) -> None:
        """Sets the mean cost, epsilon and penalties in its unit, and whether rough products do.

        Reads the pool once, and refuses rows that cannot be worked with.
        """
        geometry, dtype, words = self.geometry, self.geometry.points.dtype, self.words
        costs = measure_costs(geometry, self.pool, self.b, self.a)
        self.scale = costs.mean
        unit = self.scale if relative else 1.0
        if not epsilon * unit > 0:
            raise InvalidInput(
                f"{words.epsilon} is relative to a mean cost of zero: every pool vector equals the "
                "target; look at the vectors, or give an absolute epsilon"
            )
        self.epsilon, self.penalties = epsilon * unit, self.penalties.times(unit)
        rounding = torch.finfo(dtype).eps * geometry.roundings * costs.largest
        # A logit of this size is off by less than a twentieth after rounding.
        least = 20 * rounding
        if self.epsilon < least:
            other = f" or {words.precise}" if words.precise else ""
            raise EpsilonTooSmall(
                f"{words.epsilon} is too small for {str(dtype).removeprefix('torch.')}, as costs "
                f"reach {costs.largest:.3g}; set {words.epsilon}={least / unit:.3g} or "
                f"more{other}; found: {epsilon:.3g}"
            )
        device = geometry.points.device
        self.exact = exact_shortcut(min(rows_per_block(len(self.a), device), self.rows), geometry)
        if not self.exact and fast_products_exist(device, dtype):
            lengths = costs.length * float(geometry.squares.mean().sqrt())
            noise = 2 * lengths / self.epsilon * 2**-9 / math.sqrt(geometry.points.shape[1])
            self.rough = noise < 0.1

    def sample(self) -> Sample:
        """Returns the pool sample, made when first asked for."""
        return self._sample or self.enlarge(self.plan.sample_rows)

    def enlarge(self, rows: int) -> Sample:
        """Returns a sample of so many rows, in place of the one there was."""
        if self._sample is not None:
            self.seen += self._sample.visited
        self._sample = None  # its memory goes before the next takes its own
        points = self.geometry.points
        numbers, weight = strata(self.b, rows, self.generator)
        raw = gather_rows(self.pool, numbers, points.device, points.dtype)
        self._sample = Sample(
            self.geometry,
            self.geometry.rows(raw),
            weight,
            self.a.log(),
            self.penalties,
            stored=self.plan.stored,
            # Dense costs are also what is certified: there rough ones are not good enough.
            quick=self.exact or (self.rough and self.plan.regime != "dense"),
            numbers=numbers,
        )
        return self._sample

    def centred(self, f: Tensor) -> Tensor:
        """Returns f shifted to <a, f> = 0, where the problem leaves a constant open."""
        return f - self.a @ f if self.penalties.balanced else f

    def error(self, p: Tensor, f: Tensor) -> float:
        """Returns the L1 error of the target marginal p at f, as a share of the mass wanted."""
        return marginal_error(p, self.penalties.wanted(self.a, f))

    def look(
        self,
        f: Tensor,
        rough: bool,
        progress: Progress | None,
        known: float,
        rows: Tensor | None = None,
        weight: Tensor | None = None,
        kept: tuple[Tensor, Tensor] | None = None,
    ) -> Visit:
        """Returns a visit of the pool, or of some `rows` of it as if they were all.

        `weight` is the masses of those rows (by default as they have them in the pool); sums that
        only the certificate needs are left out where it is given, or where `rough` is.
        """
        pool = self.pool if rows is None else RowSubset(self.pool, rows)
        before, count = self.passes, len(pool)

        def tick(share: float) -> None:
            if progress is not None:
                progress(before + share * count / self.rows, known)

        mass = self.b
        if weight is not None:
            mass = weight
        elif rows is not None:
            mass = self.b[rows.to(self.b.device)]
            mass = mass / mass.sum()
        found = visit(
            self.geometry,
            pool,
            mass,
            f,
            self.a.log(),
            self.epsilon,
            pool_penalty=self.penalties.pool,
            quick=self.exact or rough,
            certify=not rough and weight is None,
            kept=kept,
            progress=tick,
        )
        self.seen += count
        self.full += rows is None
        return found

    def result(self, f: Tensor, last: Visit, tolerance: float) -> Transport:
        """Returns the record of what was found, after checking it in float64."""
        log_a, penalties = self.a.log(), self.penalties
        mean, worst = pool_misfit(
            self.geometry,
            self.pool,
            self.target,
            self.kept,
            self.b,
            f,
            log_a,
            last.g,
            self.epsilon,
            penalties,
        )
        target_error = self.error(last.marginal, f)
        pool_error = max(last.pool_error / last.pool_mass, mean)
        done = max(target_error, pool_error) <= tolerance
        dual = dual_value(last, f, self.a, self.b, self.epsilon, self.penalties)
        primal = primal_value(last, self.geometry, f, self.a, self.epsilon, self.penalties)
        if not done:
            log.warning(
                "transport did not reach its tolerance %g: target error %.1e, pool error %.1e",
                tolerance,
                target_error,
                pool_error,
            )
        return Transport(
            f=f,
            a=self.a,
            g=last.g,
            converged=done,
            target_error=target_error,
            pool_error=pool_error,
            pool_error_worst=worst,
            primal=primal,
            dual=dual,
            gap=primal - dual,
            epsilon=self.epsilon,
            scale=self.scale,
            tolerance=tolerance,
            cost=self.geometry.cost,
            penalties=self.penalties,
            passes=self.passes,
            full_passes=self.full,
            seconds=0.0,
            dtype=self.geometry.points.dtype,
            regime=self.plan.regime,
            target_marginal=last.marginal,
        )
