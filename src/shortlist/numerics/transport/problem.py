"""The state of one solve: what was asked, what was measured before the work, and what a visit tells."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from shortlist.errors import InvalidInput

from .certificate import dual_value, primal_value
from .costs import Geometry, tile_rows
from .forecasting import Forecast
from .inputs import Array, gather, strata
from .precision import quick_products_exist
from .result import Transport
from .sample import Penalties, Sample
from .scale import measure_costs
from .stream import Visit, exact_shortcut, visit

log = logging.getLogger(__name__)

Progress = Callable[[float, float], None]


@dataclass
class Problem:
    """The state of one solve; nothing of it outlives `solve`."""

    pool: Array
    geometry: Geometry
    a: Tensor
    b: Tensor
    penalties: Penalties
    plan: Forecast
    generator: torch.Generator | None
    epsilon: float = 0.0
    scale: float = 0.0
    exact: bool = False  # whether quick products are float32 products all the same
    rough: bool = False  # whether they are not, but good enough for all visits except the last
    seen: int = 0  # rows visited in streamed passes
    full: int = 0
    _sample: Sample | None = field(default=None)

    @property
    def rows(self) -> int:
        """Returns N."""
        return len(self.b)

    @property
    def weighted(self) -> bool:
        """Returns whether the pool's masses differ."""
        return float(self.b.max()) > float(self.b.min())

    @property
    def passes(self) -> float:
        """Returns the rows visited so far, all visits together, divided by N."""
        sampled = 0 if self._sample is None else self._sample.visited
        return (self.seen + sampled) / self.rows

    def measure(self, epsilon: float, relative: bool) -> None:
        """Sets the mean cost, the absolute epsilon, and whether rough products are good enough.

        Reads the pool once, and refuses rows that cannot be worked with.
        """
        geometry, dtype = self.geometry, self.geometry.points.dtype
        costs = measure_costs(geometry, self.pool, self.b, self.a)
        self.scale = costs.mean
        self.epsilon = epsilon * self.scale if relative else epsilon
        if not self.epsilon > 0:
            raise InvalidInput(
                "epsilon is relative to a mean cost of zero: every pool vector equals the target; "
                "set relative=False and an absolute epsilon"
            )
        # A logit of this size is off by less than a twentieth after rounding.
        digits = 0.05 / torch.finfo(dtype).eps
        if costs.largest / self.epsilon > digits:
            raise InvalidInput(
                f"epsilon is too small for {dtype}: costs reach {costs.largest:.3g}, so it must be "
                f"at least {costs.largest / digits:.3g}; set a larger epsilon or dtype=float64; "
                f"found: {self.epsilon:.3g}"
            )
        device = geometry.points.device
        self.exact = exact_shortcut(min(tile_rows(len(self.a), device), self.rows), geometry)
        if not self.exact and quick_products_exist(device, dtype):
            lengths = costs.length * float(geometry.squares.mean().sqrt())
            noise = 2 * lengths / self.epsilon * 2**-9 / math.sqrt(geometry.points.shape[1])
            self.rough = noise < 0.1

    def sample(self) -> Sample:
        """Returns the pool sample, made when first asked for."""
        if self._sample is None:
            points = self.geometry.points
            numbers, weight = strata(self.b, self.plan.sample_rows, self.generator)
            raw = gather(self.pool, numbers, points.device, points.dtype)
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
        """Returns the L1 error of the target marginal p at f."""
        return float((p - self.penalties.wanted(self.a, f)).abs().sum())

    def look(
        self,
        f: Tensor,
        rough: bool,
        progress: Progress | None,
        known: float,
        skip: int = 0,
        kept: tuple[Tensor, Tensor] | None = None,
    ) -> Visit:
        """Returns a visit of the pool from row `skip` on."""
        before, count = self.passes, self.rows - skip

        def tick(share: float) -> None:
            if progress is not None:
                progress(before + share * count / self.rows, known)

        weight = self.b[skip:] / self.b[skip:].sum() if skip else self.b
        found = visit(
            self.geometry,
            self.pool[skip:] if skip else self.pool,
            weight,
            f,
            self.a.log(),
            self.epsilon,
            pool_penalty=self.penalties.pool,
            quick=self.exact or rough,
            certify=not rough,
            kept=kept,
            progress=tick,
        )
        self.seen += count
        self.full += skip == 0
        return found

    def result(self, f: Tensor, last: Visit, done: bool, tolerance: float) -> Transport:
        """Returns the record of what was found."""
        dual = dual_value(last, f, self.a, self.b, self.epsilon, self.penalties)
        primal = primal_value(last, self.geometry, f, self.a, self.epsilon, self.penalties)
        if not done:
            log.warning("transport did not reach its tolerance %g", tolerance)
        return Transport(
            f=f,
            g=last.g,
            converged=done,
            target_error=self.error(last.marginal, f),
            pool_error=last.pool_error,
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
            weighted=self.weighted,
            evidence=last,
        )
