"""Low-rank gradient similarity search (LESS), Xia et al., ICML 2024, arXiv 2402.04333."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch

from shortlist.errors import InvalidInput
from shortlist.numerics.neighbours import unit
from shortlist.selectors.base import Selector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shortlist.core import Features

By = Literal["domain", "document"]


class LESS(Selector):
    """Documents whose training step would lower the target's loss the most, to first order.

    score(z) = max over sub-tasks of sum_t eta_t cos(G_t(z), mean of cos-normalised g_t over the
    sub-task): G the candidate's (Adam-aware) and g the target's gradient at warm-up checkpoint t,
    both projected; eta_t the learning rate around t (section 4, equations 5 and 6; the released
    code likewise scales every gradient to length one, so that short texts do not win by large
    ones). The gradients are the featurizer's: its columns are `checkpoints` groups of equal width,
    in the order of `weights`. A gradient costs a forward and a backward pass a document and
    checkpoint, so it is meant for a sub-pool: documents whose vector is zero in every column were
    not looked at, are counted in the record, and are never chosen.
    """

    anchors: torch.Tensor

    def __init__(self, checkpoints: int, weights: Sequence[float], by: By) -> None:
        """Stores the settings.

        Args:
            checkpoints: number of equal groups of columns.
            weights: learning rate of each; made to sum to one.
            by: what a sub-task is: the target texts of one `domain`, or each `document` by itself.
        """
        super().__init__()
        if by not in get_args(By):
            raise InvalidInput(f"selector.by must be one of {', '.join(get_args(By))}, found {by}")
        if checkpoints < 1 or len(weights) != checkpoints or min(weights) < 0 or sum(weights) <= 0:
            raise InvalidInput(
                "selector.weights must hold one learning rate a checkpoint, not all zero: "
                f"{checkpoints} checkpoints, found {list(weights)}"
            )
        self.checkpoints, self.by = checkpoints, by
        self.weights = [weight / sum(weights) for weight in weights]

    def fit(self, target: Features, pool: Features) -> None:
        """Keeps `anchors` (sub-tasks, d); reports sub-tasks and documents without a gradient.

        Raises:
            InvalidInput: the columns cannot be cut into as many groups.
        """
        if target.dimension % self.checkpoints:
            raise InvalidInput(
                f"selector.checkpoints={self.checkpoints} must divide the {target.dimension} columns "
                "of the vectors; set it to the featurizer's number of checkpoints"
            )
        vectors = self._normalised(torch.from_numpy(np.array(target.values, dtype=np.float64)))
        if self.by == "document":
            anchors = vectors
        else:
            assert target.documents is not None
            domains = np.array(target.documents.domains)
            anchors = torch.stack(
                [vectors[torch.from_numpy(domains == name)].mean(0) for name in sorted({*domains})]
            )
        rates = torch.tensor(self.weights, dtype=torch.float64).repeat_interleave(
            target.dimension // self.checkpoints
        )
        self.keep("anchors", anchors * rates)
        looked_at = sum(
            int((np.asarray(pool.values[start : start + 8192]) != 0).any(axis=1).sum())
            for start in range(0, len(pool), 8192)
        )
        self.report = {
            "sub_tasks": len(anchors),
            "documents_with_gradient": looked_at,
            "documents_without_gradient": len(pool) - looked_at,
        }

    def _normalised(self, rows: torch.Tensor) -> torch.Tensor:
        groups = rows.reshape(len(rows) * self.checkpoints, -1)
        return unit(groups).reshape(rows.shape)

    def score(self, batch: torch.Tensor) -> torch.Tensor:
        """Returns the influence of each document on its best sub-task."""
        found = (self._normalised(batch.double()) @ self.anchors.T).amax(1)
        return found.masked_fill((batch == 0).all(1), -torch.inf)
