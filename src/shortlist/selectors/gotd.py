"""GOT-D: gradients of optimal transport (Kang et al. 2024, arXiv 2405.02774), and its ablation."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from shortlist import progress
from shortlist.core import Features
from shortlist.errors import InvalidInput
from shortlist.ot import (
    Cost,
    CTransform,
    Forecast,
    ParameterNames,
    Plan,
    Transport,
    cluster_masses,
    epsilon_sensitivity,
    forecast,
    mean_cost,
    released_sinkhorn,
    solve,
    transport_plan,
)
from shortlist.selectors.base import Selector, Traits, TransductiveSelector
from shortlist.settings import Count, NaturalNumber, NonNegative, Positive

log = logging.getLogger(__name__)

Masses = Literal["documents", "column", "clusters"]
NAMES = ParameterNames(
    epsilon="selector.relative_epsilon",
    float64="",
    streamed="selector.stored_mib=0",
    no_stored_costs="selector.stored_mib=0",
    fewer_targets="fewer targets (task.max_train=N)",
    smaller_pool="a part of the pool (pool.per_domain=N, pool.per_package=N or fewer pool.paths)",
)


class TransportSelector(Selector):
    """Base class of methods whose score is minus the candidate potential that f implies.

    score(x_j) = -g_j with g_j = -epsilon log sum_i a_i exp((f_i - C_ij) / epsilon). The target's
    vectors and its potential f are kept, so that documents outside the pool can be scored too.
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

    def keep_potential(
        self,
        target: Features,
        f: torch.Tensor,
        epsilon: float,
        masses: torch.Tensor | None = None,
        pool_penalty: float = math.inf,
    ) -> None:
        """Keeps what `score` needs.

        Args:
            target: vectors (M, d).
            f: (M,) target potential.
            epsilon: regularisation in the unit of the cost; so is `pool_penalty`.
            masses: (M,) of the targets, or None where they are equal.
            pool_penalty: KL penalty of the pool's marginal; infinite where it is met.
        """
        self.keep("targets", torch.from_numpy(np.array(target.values)))
        self.keep("f", f.double().cpu())
        self.keep("epsilon", torch.tensor(epsilon, dtype=torch.float64))
        if masses is not None:
            self.keep("target_masses", masses.double().cpu())
        if math.isfinite(pool_penalty):
            self.keep("pool_penalty", torch.tensor(pool_penalty, dtype=torch.float64))

    def keep(self, name: str, value: torch.Tensor) -> None:
        """Keeps a tensor, and drops the scoring function that was made of earlier ones."""
        self._transform = None
        super().keep(name, value)

    def score(self, batch: torch.Tensor) -> torch.Tensor:
        """Returns -g_j: high near targets, most near those with a large f_i.

        The calibration of LAVA is an increasing affine map of g, which changes no ranking; it is
        left out.
        """
        if self._transform is None or self._transform.f.device != batch.device:
            kept = dict(self.named_buffers())
            self._transform = CTransform(
                self.targets,
                self.f,
                epsilon=float(self.epsilon),
                cost=self.cost,
                a=kept.get("target_masses"),
                pool_penalty=float(kept.get("pool_penalty", math.inf)),
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
    """Documents whose additional mass lowers the transport cost from pool to target the most.

    f_i is large where the pool is scarce around target i; through f alone the pool's density
    enters, and with it the correction for what the model has read. The record holds the certificate
    of the solve: marginal errors and duality gap.

    Formula:
        score(x_j) = -g_j, g_j = -epsilon log sum_i a_i exp((f_i - C_ij) / epsilon)

        The gradient of OT(pool, target) in the mass of document j is its potential g_j up to a
        constant; f is the target's potential, a its masses, C the ground cost.

    Paper:
        Kang et al., ICLR 2024 (arXiv 2405.02774), Theorem 1.

    Deviations:
        Epsilon is relative to the mean cost in place of 0.1; padding never enters a vector; the
        solve reaches a stated marginal error over the whole pool, and one that does not is marked
        in the record. Masses and penalties are not in the paper; their defaults change nothing.
        `gotd_paper` has the released settings.

    Cost:
        Two or three passes of products of the pool with the targets, and as many again for
        `sensitivity`.
    """

    version = 3  # 3: the buffer `mean_cost` is stored
    traits = Traits(additive=True, potential=True, reads_pool="sample")
    pool_potentials: torch.Tensor
    mean_cost: torch.Tensor

    def __init__(
        self,
        cost: Cost,
        relative_epsilon: NonNegative,
        tolerance: NonNegative,
        max_passes: Count,
        sensitivity: bool,
        masses: Masses,
        target_penalty: Positive | None,
        pool_penalty: Positive | None,
        stored_mib: NaturalNumber | None,
    ) -> None:
        """Stores the settings.

        Args:
            cost: ground cost.
            relative_epsilon: regularisation as a fraction of the mean cost; 0 solves exactly.
            tolerance: L1 error of the target marginal, over the whole pool, to stop at.
            max_passes: most passes over the whole pool.
            sensitivity: whether `sensitivity` solves again at half of epsilon.
            masses: mass of a document: equal (`documents`), from the columns `pool.mass` and
                `task.mass` (`column`), or one for each cluster of near-duplicates (`clusters`).
            target_penalty: KL penalty of the target marginal, in multiples of the mean cost, under
                which targets that the pool does not cover count less; None meets the marginal.
            pool_penalty: likewise for the pool's marginal: documents far from every target then
                have little influence on f.
            stored_mib: memory for stored costs in MiB; None goes by the number of targets.

        Raises:
            InvalidInput: unknown masses, or a penalty or memory out of range.
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
        if masses != "documents":  # of a sample they are others than of the pool
            self.traits = replace(self.traits, reads_pool="vectors")
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

    def forecast(self, candidates: int, targets: int, dimensions: int) -> Forecast:
        """Returns memory and time of the solve."""
        return forecast(
            candidates,
            targets,
            dimensions,
            epsilon=self.relative_epsilon,
            stored_bytes=self.stored_bytes,
            names=NAMES,
        )

    def ablation_baseline(self) -> dict[str, Any]:
        """Returns the settings of soft-kNN, f = 0, at the same cost and epsilon."""
        return {
            "_target_": "shortlist.selectors.gotd.SoftKNN",
            "cost": self.cost,
            "relative_epsilon": self.relative_epsilon,
        }

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps the target's vectors, its potential f, and epsilon; returns the certificate.

        Raises:
            InvalidInput: the masses asked for are missing.
        """
        candidates, targets = pool.dense, target.dense
        a, b = document_masses(self.masses, target, pool)
        with progress.bar("transport", None, "passes", show=self.show_progress) as report:
            done = 0

            def step(passes: float, error: float) -> None:
                nonlocal done
                report(int(passes) - done)
                done = int(passes)

            solved = solve(
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
                names=NAMES,
            )
        target_masses = None if a is None else solved.a
        self.keep_potential(target, solved.f, solved.epsilon, target_masses, solved.penalties.pool)
        if self.has_sensitivity:
            self.keep("pool_potentials", solved.g.cpu())
            self.keep("mean_cost", torch.tensor(solved.mean_cost, dtype=torch.float64))
        facts = certificate(solved) | {"masses": self.masses}
        if not solved.penalties.balanced:
            facts["transported_mass"] = float(solved.target_marginal.sum())
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
        a, b = document_masses(self.masses, target, pool)
        scale = float(self.mean_cost)
        log.info("transport: solving again at half of epsilon for the overlap of the top 5 %")
        half = epsilon_sensitivity(
            pool.dense,
            target.dense,
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


class GOTDPaper(TransductiveSelector, TransportSelector):
    """GOT-D as released: plain Sinkhorn with momentum, stopped early, ranked by its last potential.

    Squared Euclidean cost, epsilon 0.1 absolute, momentum 1.3, threshold 0.1 on the L1 marginal
    error, at most 2,000 iterations. The released notebooks join and cut all texts to 1,000
    characters; the target's are joined and cut here (`passage`), the pool's by `pool.chunk=1000`.
    Without it the mean over all positions, padding included, ranks documents by their length.

    Formula:
        score(x_j) = -g_j of the last iterate g <- (1 - w) g + w T(f), w the momentum, T(f)_j =
        -epsilon log sum_i a_i exp((f_i - C_ij) / epsilon)

    Paper:
        Kang et al., ICLR 2024 (arXiv 2405.02774), appendix C.3; the released selection notebook.

    Deviations:
        The released code prints whether the solve converged and goes on; here the record says so.
        What is left of a target after the last whole passage is not read, unless it is all there
        is.

    Cost:
        One pass over pool and targets an iteration.
    """

    version = 3
    traits = Traits(additive=True, potential=True)

    def __init__(
        self,
        epsilon: Positive,
        momentum: NonNegative,
        threshold: NonNegative,
        max_iterations: Count,
        passage: Count | None,
    ) -> None:
        """Stores the released solver's settings, under its own names.

        Args:
            epsilon: regularisation in the unit of the cost.
            momentum: weight of an iteration's new potential against the old one, from 0 to 2.
            threshold: L1 error of the pool's marginal to stop at.
            max_iterations: most iterations.
            passage: characters of a passage of the target; null: texts as they are.
        """
        TransportSelector.__init__(self, "sqeuclidean")
        self.passage = passage
        self.absolute_epsilon, self.momentum = epsilon, momentum
        self.threshold, self.max_iterations = threshold, max_iterations

    def ablation_baseline(self) -> dict[str, Any]:
        """Returns the settings of soft-kNN, f = 0, at the same absolute epsilon."""
        return {
            "_target_": "shortlist.selectors.gotd.SoftKNN",
            "cost": self.cost,
            "epsilon": self.absolute_epsilon,
        }

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps the potentials at which the solver stopped, and the target's vectors."""
        solved = released_sinkhorn(
            pool.dense,
            target.dense,
            epsilon=self.absolute_epsilon,
            momentum=self.momentum,
            threshold=self.threshold,
            max_iterations=self.max_iterations,
            device=self.device,
        )
        self.keep_potential(target, solved.f, solved.epsilon)
        self.keep("pool_scores", -solved.g)
        # The released rule stops by the pool's marginal, so that is the error to report.
        return certificate(solved) | {"marginal_error": solved.pool_error}


class SoftKNN(TransportSelector):
    """Soft nearest neighbours, the ablation f = 0 of GOT-D: a soft minimum of the costs to targets.

    GOT-D adds f, the price of a target that the pool covers badly; the difference between the two
    is what the correction for the pool's density is worth.

    Formula:
        score(x_j) = epsilon log mean_i exp(-C_ij / epsilon)

    Paper:
        None: an ablation of Kang et al., ICLR 2024 (arXiv 2405.02774).

    Deviations:
        None.

    Cost:
        One product of the pool with the targets.
    """

    # No potential of a balanced transport problem: nothing makes the targets share the pool.
    traits = Traits(additive=True, reads_pool="sample")

    def __init__(
        self,
        cost: Cost,
        relative_epsilon: NonNegative | None = None,
        epsilon: Positive | None = None,
    ) -> None:
        """Stores the settings.

        Args:
            cost: ground cost.
            relative_epsilon: regularisation as a fraction of the mean cost, as GOT-D has it.
            epsilon: regularisation in the unit of the cost, as the released GOT-D code has it.

        Raises:
            InvalidInput: both are given, or none.
        """
        super().__init__(cost)
        if (relative_epsilon is None) == (epsilon is None):
            raise InvalidInput(
                "selector.relative_epsilon or selector.epsilon must be given, and not both; found "
                f"{relative_epsilon} and {epsilon}"
            )
        self.relative_epsilon, self.absolute_epsilon = relative_epsilon, epsilon

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps the target's vectors, f = 0, and epsilon."""
        epsilon = self.absolute_epsilon
        if self.relative_epsilon is not None:
            points, targets = pool.dense, target.dense
            epsilon = self.relative_epsilon * mean_cost(points, targets, cost=self.cost)
        assert epsilon is not None
        self.keep_potential(target, torch.zeros(len(target), dtype=torch.float64), epsilon)
        return {}


def document_masses(
    masses: Masses, target: Features, pool: Features
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """Returns the masses of targets and pool, (M,) and (N,), or None where they are equal.

    Raises:
        InvalidInput: neither corpus has the column that `masses` needs, or documents are missing.
    """
    if masses == "documents":
        return None, None
    corpora = [features.documents for features in (target, pool)]
    if masses == "column":
        given = [None if corpus is None else corpus.masses for corpus in corpora]
    else:
        from shortlist.data.near_copies import clusters  # numba takes a third of a second to import

        if any(corpus is None for corpus in corpora):
            raise InvalidInput("selector.masses=clusters needs the documents, found vectors alone")
        labels = [clusters(corpus.texts).labels for corpus in corpora if corpus is not None]
        given = [cluster_masses(label).numpy() for label in labels]
    if all(mass is None for mass in given):
        raise InvalidInput(
            f"selector.masses={masses} needs masses, found none in pool or task; set "
            "pool=files pool.mass=COLUMN (or task=own task.mass=COLUMN), or selector.masses=documents"
        )
    return given[0], given[1]


def certificate(solved: Transport) -> dict[str, Any]:
    """Returns the errors and bounds of a solve as plain data for the record."""
    return {
        "converged": solved.converged,
        "marginal_error": solved.target_error,
        "pool_error": solved.pool_error,
        "pool_error_worst": solved.pool_error_worst,
        "dual": solved.dual,
        "primal": solved.primal,
        "gap": solved.gap,
        "epsilon": solved.epsilon,
        "mean_cost": solved.mean_cost,
        "passes": solved.passes,
        "regime": solved.regime,
        "dtype": str(solved.dtype).removeprefix("torch."),
    }
