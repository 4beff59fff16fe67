"""GOT-D: gradients of optimal transport, Kang et al., ICLR 2024, arXiv 2405.02774."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import torch

from shortlist.numerics.transport import c_transform, solve
from shortlist.selectors.base import Selector

if TYPE_CHECKING:
    from shortlist.core import Features

log = logging.getLogger(__name__)


class GOTD(Selector):
    """Documents whose mass, if there were more of it, would lower the transport cost from pool to
    target the most.

    The gradient of OT(pool, target) in the mass of document j is its potential g_j up to a constant
    (Theorem 1; calibration is an affine map and cannot change the ranking), and g is the
    c-transform of the target's potential f, so f is all that `fit` keeps and any document can be
    scored, seen or not. The score is -g_j.

    Deviations from the released code: epsilon relative to the mean cost in place of 0.1 absolute,
    padding never enters a vector, and a solve that did not converge is reported, not only printed.
    """

    targets: torch.Tensor
    f: torch.Tensor
    epsilon: torch.Tensor

    def __init__(
        self, relative_epsilon: float, threshold: float, iterations: int, sample: float
    ) -> None:
        """Stores the settings.

        Args:
            relative_epsilon: regularisation as a fraction of the mean cost.
            threshold: marginal error at which the solve stops.
            iterations: most Sinkhorn iterations.
            sample: pool documents per target text in the solve; the others are scored by the
                c-transform.
        """
        super().__init__()
        self.relative_epsilon, self.threshold, self.iterations, self.sample = (
            relative_epsilon, threshold, iterations, sample,
        )  # fmt: skip

    def fit(self, target: Features, pool: Features) -> None:
        """Keeps the target's vectors, its potential f and epsilon.

        The pool's rows are in the order of their ids, which are hashes: its first rows are a
        uniform sample.
        """
        size = min(len(pool), max(1000, int(self.sample * len(target))))
        solved = solve(
            np.array(pool.values[:size]),
            np.array(target.values),
            self.relative_epsilon,
            self.threshold,
            self.iterations,
        )
        log.info(
            "transport: %d x %d, %d iterations, marginal error %.1e",
            size,
            len(target),
            solved.iterations,
            solved.marginal_error,
        )
        self.keep("targets", torch.from_numpy(np.array(target.values)))
        self.keep("f", solved.f)
        self.keep("epsilon", torch.tensor(solved.epsilon))
        self.report = {
            "converged": solved.converged,
            "marginal_error": solved.marginal_error,
            "epsilon": solved.epsilon,
            "iterations": solved.iterations,
            "solved_on": size,
        }

    def score(self, batch: torch.Tensor) -> torch.Tensor:
        """Returns -g_j: high where a document is near targets that the pool serves badly."""
        return -c_transform(batch, self.targets, self.f, float(self.epsilon))
