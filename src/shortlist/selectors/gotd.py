"""GOT-D: gradients of optimal transport, Kang et al., ICLR 2024, arXiv 2405.02774."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch

from shortlist import progress
from shortlist.errors import InvalidInput
from shortlist.ot import (
    CTransform,
    Transport,
    Words,
    cluster_masses,
    epsilon_sensitivity,
    solve,
)
from shortlist.ot.explanation import transport_plan
from shortlist.selectors.base import Selector, Traits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from shortlist.core import Features
    from shortlist.ot import Cost
    from shortlist.ot.explanation import Plan

log = logging.getLogger(__name__)

Masses = Literal["documents", "column", "clusters"]
WORDS = Words(
    epsilon="selector.relative_epsilon",
    cost="selector.cost",
    precise="",
    streamed="selector.stored_mib=0",
    anew="selector.stored_mib=0",
    targets="fewer targets (task.max_train=N; task=own: fewer lines in task.train)",
    pool="a part of the pool (pool.per_domain=N, pool.per_package=N or fewer pool.paths)",
)


class TransportSelector(Selector):
    """A method whose score is -g_j, the candidate potential that a target potential f implies.

    What `fit` keeps is small (the target's vectors and f), and any document can be scored by it,
    seen or not: g_j = -epsilon log sum_i a_i exp((f_i - C_ij) / epsilon).
    """

    # Additive: the gradient of sum_t w_t OT(pool, target_t) is sum_t w_t g_t.
    traits = Traits(additive=True, potential=True)
    targets: torch.Tensor
    f: torch.Tensor
    epsilon: torch.Tensor
    cost: Cost

    def __init__(self, cost: Cost) -> None:
        """Stores the ground cost: `sqeuclidean`, `euclidean` or `cosine`."""
        super().__init__()
        self.cost = cost
        self._transform: CTransform | None = None

    def remember(
        self,
        target: Features,
        f: torch.Tensor,
        epsilon: float,
        masses: torch.Tensor | None = None,
        pool_penalty: float = math.inf,
    ) -> None:
        """Keeps what `score` needs; `epsilon` and `pool_penalty` in the unit of the cost, the
        target's `masses` where they differ.
        """
        self.keep("targets", torch.from_numpy(np.array(target.values)))
        self.keep("f", f.double().cpu())
        self.keep("epsilon", torch.tensor(epsilon, dtype=torch.float64))
        if masses is not None:
            self.keep("target_masses", masses.double().cpu())
        if math.isfinite(pool_penalty):
            self.keep("pool_penalty", torch.tensor(pool_penalty, dtype=torch.float64))

    def keep(self, name: str, value: torch.Tensor) -> None:
        """Keeps a tensor, and forgets the scoring function that was made of the earlier ones."""
        self._transform = None
        super().keep(name, value)

    def score(self, batch: torch.Tensor) -> torch.Tensor:
        """Returns -g_j: high where a document is near targets, most near those that cost the most.

        Calibration (LAVA's gradient) is an increasing affine map of g; it cannot change a ranking
        and is left out.
        """
        if self._transform is None or self._transform.f.device != batch.device:
            known = dict(self.named_buffers())
            self._transform = CTransform(
                self.targets,
                self.f,
                epsilon=float(self.epsilon),
                cost=self.cost,
                a=known.get("target_masses"),
                pool_penalty=float(known.get("pool_penalty", math.inf)),
                device=batch.device,
            )
        return -self._transform(batch)

    def plan(self, batch: torch.Tensor) -> Plan:
        """Returns the documents' rows of the transport plan that f implies."""
        masses = dict(self.named_buffers()).get("target_masses")
        return transport_plan(
            batch, self.targets, self.f, epsilon=float(self.epsilon), cost=self.cost, a=masses
        )


class GOTD(TransportSelector):
    """Documents whose mass, if there were more of it, would lower the transport cost from pool to
    target the most.

    The gradient of OT(pool, target) in the mass of document j is its potential g_j up to a constant
    (Theorem 1). f_i is high where the pool is scarce around target i: the only place where the
    pool's density, hence the correction for what the model has already read, enters.

    Deviations from the released code: epsilon is relative to the mean cost in place of 0.1, padding
    never enters a vector, the solve is run to a stated marginal error over the whole pool, and one
    that falls short is marked in the record. Masses and penalties are not in the paper; as they are
    set by default they change nothing.
    """

    version = 2
    pool_potentials: torch.Tensor
    mean_cost: torch.Tensor

    def __init__(
        self,
        cost: Cost,
        relative_epsilon: float,
        tolerance: float,
        max_passes: int,
        sensitivity: bool,
        masses: Masses,
        target_penalty: float | None,
        pool_penalty: float | None,
        stored_mib: int | None,
    ) -> None:
        """Stores the settings.

        Args:
            cost: ground cost.
            relative_epsilon: regularisation as a fraction of the mean cost; 0 solves exactly.
            tolerance: L1 error of the target marginal, over the whole pool, to stop at.
            max_passes: most visits of the whole pool.
            sensitivity: whether `sensitivity` solves again at half of epsilon.
            masses: what a document counts: `documents` alike, `column` by the column that
                `pool.mass` and `task.mass` name, `clusters` each cluster of near copies as one.
            target_penalty: price of missing the target marginal (KL), in multiples of the mean
                cost: targets that the pool cannot serve are then given up; None meets it.
            pool_penalty: likewise for the pool's marginal: documents far from every target then
                take no part in f.
            stored_mib: memory for costs that are kept; None goes by the number of targets.

        Raises:
            InvalidInput: unknown masses, or a penalty or memory that is none.
        """
        super().__init__(cost)
        if masses not in get_args(Masses):
            raise InvalidInput(
                f"selector.masses must be one of {', '.join(get_args(Masses))}, found {masses!r}"
            )
        for name, penalty in (("target_penalty", target_penalty), ("pool_penalty", pool_penalty)):
            if penalty is not None and not penalty > 0:
                raise InvalidInput(
                    f"selector.{name} must be above 0, found {penalty}; null meets the marginal"
                )
        if stored_mib is not None and stored_mib < 0:
            raise InvalidInput(f"selector.stored_mib must be 0 or more, found {stored_mib}")
        self.relative_epsilon, self.tolerance = relative_epsilon, tolerance
        self.max_passes, self.half_epsilon = max_passes, sensitivity
        self.masses: Masses = masses
        self.penalties = (
            math.inf if target_penalty is None else float(target_penalty),
            math.inf if pool_penalty is None else float(pool_penalty),
        )
        self.stored_bytes = None if stored_mib is None else stored_mib * 2**20

    def ablation_baseline(self) -> dict[str, Any]:
        """Returns the settings of soft-kNN, f = 0, at the same cost and epsilon."""
        return {
            "_target_": "shortlist.selectors.soft_knn.SoftKNN",
            "cost": self.cost,
            "relative_epsilon": self.relative_epsilon,
        }

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps the target's vectors, its potential f, and epsilon; reports the certificate.

        Raises:
            InvalidInput: masses are asked for that are not there.
        """
        candidates, targets = np.asarray(pool.values), np.asarray(target.values)
        a, b = weighed(self.masses, target, pool)
        with progress.bar("transport", None, "passes", show=self.show_progress) as report:
            done = 0

            def step(passes: float, error: float) -> None:
                nonlocal done
                report(int(passes) - done)
                done = int(passes)

            found = solve(
                candidates,
                targets,
                epsilon=self.relative_epsilon,
                cost=self.cost,
                a=a,
                b=b,
                target_penalty=self.penalties[0],
                pool_penalty=self.penalties[1],
                tolerance=self.tolerance,
                max_passes=self.max_passes,
                stored_bytes=self.stored_bytes,
                device=self.device,
                progress=step,
                words=WORDS,
            )
        uneven = a is not None
        self.remember(
            target, found.f, found.epsilon, found.a if uneven else None, found.penalties.pool
        )
        if self.has_sensitivity:
            self.keep("pool_potentials", found.g.cpu())
            self.keep("mean_cost", torch.tensor(found.scale, dtype=torch.float64))
        facts = certificate(found) | {"masses": self.masses}
        if not found.penalties.balanced:
            facts["transported_mass"] = float(found.target_marginal.sum())
        return facts

    @property
    def has_sensitivity(self) -> bool:
        """Whether the settings ask for a solve at half of epsilon; an exact solve has none."""
        return self.half_epsilon and self.relative_epsilon > 0

    def sensitivity(self, target: Features, pool: Features) -> dict[str, Any]:
        """Returns the overlap of the top 5 % with that of a solve at half of epsilon.

        The second solve starts from f, on the same pool, target, masses and penalties.
        """
        if not self.has_sensitivity:
            return {}
        a, b = weighed(self.masses, target, pool)
        scale = float(self.mean_cost)
        log.info("transport: solving again at half of epsilon for the overlap of the top 5 %%")
        half = epsilon_sensitivity(
            np.asarray(pool.values),
            np.asarray(target.values),
            f=self.f,
            g=self.pool_potentials,
            epsilon=float(self.epsilon),
            cost=self.cost,
            a=a,
            b=b,
            target_penalty=self.penalties[0] * scale,
            pool_penalty=self.penalties[1] * scale,
            tolerance=self.tolerance,
            stored_bytes=self.stored_bytes,
            device=self.device,
        )
        if half.reason:
            log.warning(half.reason)
        return {
            "overlap_at_half_epsilon": half.overlap,
            "converged_at_half_epsilon": half.converged,
            **({"no_half_epsilon": half.reason} if half.reason else {}),
        }


def weighed(
    masses: Masses, target: Features, pool: Features
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """Returns the masses of targets and pool, (M,) and (N,), or None where all count alike.

    Raises:
        InvalidInput: neither corpus has the column that `masses` needs.
    """
    if masses == "documents":
        return None, None
    given = [one.documents for one in (target, pool)]
    if masses == "column":
        found = [None if one is None else one.masses for one in given]
    else:
        from shortlist.data.duplicates import clusters  # numba takes a third of a second to import

        if any(one is None for one in given):
            raise InvalidInput("selector.masses=clusters needs the documents, found vectors alone")
        labels = [clusters(one.texts).labels for one in given if one is not None]
        found = [cluster_masses(one).numpy() for one in labels]
    if all(one is None for one in found):
        raise InvalidInput(
            f"selector.masses={masses} needs masses, found none in pool or task; set "
            "pool=files pool.mass=COLUMN (or task=own task.mass=COLUMN), or selector.masses=documents"
        )
    return found[0], found[1]


def certificate(found: Transport) -> dict[str, Any]:
    """Returns what proves how good a solve is, as plain data for the record."""
    return {
        "converged": found.converged,
        "marginal_error": found.target_error,
        "pool_error": found.pool_error,
        "pool_error_worst": found.pool_error_worst,
        "dual": found.dual,
        "primal": found.primal,
        "gap": found.gap,
        "epsilon": found.epsilon,
        "mean_cost": found.scale,
        "passes": found.passes,
        "regime": found.regime,
        "dtype": str(found.dtype).removeprefix("torch."),
    }
