"""Low-rank gradient similarity search (LESS), Xia et al., ICML 2024, arXiv 2402.04333."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch

from shortlist.core import Features
from shortlist.errors import InvalidInput
from shortlist.selectors.base import Selector, documents_of
from shortlist.vectors import row_slices, unit_rows

By = Literal["domain", "document"]


class LESS(Selector):
    """Documents whose training step would lower the target's loss the most, to first order.

    Documents whose vector is zero in every column have no gradient: they are counted and never
    selected.

    Formula:
        score(z) = max over sub-tasks of the mean over its texts z' of
        sum_t eta_t cos(G_t(z), g_t(z'))

        G is the step that AdamW would take on the candidate and g the target's gradient at warm-up
        checkpoint t, both projected; eta_t is the learning rate around t.

    Paper:
        Xia et al., ICML 2024 (arXiv 2402.04333), section 4, equations 5 and 6; the released code
        likewise scales every gradient to length one, so that short texts do not win by large ones.

    Deviations:
        Those of the gradients (`featurizer=gradients`): the last layers' own weights in place of
        LoRA factors in all layers, a TensorSketch in place of a dense projection, and the language
        model's loss for pool and target alike.

    Cost:
        A forward and a backward pass a document and checkpoint, by the featurizer, and the warm-up;
        then one product of the pool with the sub-tasks.
    """

    version = 3
    anchors: torch.Tensor

    def __init__(self, weights: Sequence[float] | None, by: By, halves: bool) -> None:
        """Stores the settings.

        Args:
            weights: learning rate of each checkpoint, made to sum to one: the columns are as many
                groups of equal width. None: the vectors carry the rates (each group has the length
                sqrt(eta_t), so that the plain inner product is the sum above).
            by: what a sub-task is: the target texts of one `domain`, or each `document` by itself.
            halves: whether a vector holds G in its first half and g in its second
                (`featurizer=gradients_adam`); else one stands for both.
        """
        super().__init__()
        if by not in get_args(By):
            raise InvalidInput(f"selector.by must be one of {', '.join(get_args(By))}, found {by}")
        if weights is not None and (not weights or min(weights) < 0 or sum(weights) <= 0):
            raise InvalidInput(
                "selector.weights must hold a learning rate a checkpoint, not all zero, or be null, "
                f"found {list(weights)}"
            )
        self.by, self.halves = by, halves
        self.weights = None if weights is None else [each / sum(weights) for each in weights]

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps `anchors` (sub-tasks, d); returns counts of sub-tasks and of documents without a
        gradient.

        Raises:
            InvalidInput: the columns cannot be cut into as many groups.
        """
        parts = (1 + self.halves) * len(self.weights or [1])
        if target.dimension % parts:
            raise InvalidInput(
                f"selector.halves={self.halves} and {parts // (1 + self.halves)} checkpoints "
                f"(selector.weights) must divide the {target.dimension} columns of the vectors; give "
                "one rate a checkpoint of the featurizer"
            )
        whole = torch.from_numpy(np.array(target.dense, dtype=np.float64))
        vectors = self._weighted(self._half(whole, 1))
        if self.by == "domain":
            domains = np.array(documents_of(target, "selector.by=domain").domains)
            vectors = torch.stack(
                [vectors[torch.from_numpy(domains == name)].mean(0) for name in sorted({*domains})]
            )
        self.keep("anchors", vectors)
        with_gradient = sum(
            int((np.asarray(pool.values[rows]) != 0).any(axis=1).sum())
            for rows in row_slices(len(pool))
        )
        return {
            "sub_tasks": len(vectors),
            "documents_with_gradient": with_gradient,
            "documents_without_gradient": len(pool) - with_gradient,
        }

    def _half(self, rows: torch.Tensor, which: int) -> torch.Tensor:
        return rows.chunk(2, dim=1)[which] if self.halves else rows

    def _weighted(self, rows: torch.Tensor) -> torch.Tensor:
        """Returns the rows with each group at the length of the square root of its rate."""
        if self.weights is None:
            return rows
        groups = unit_rows(rows.reshape(len(rows) * len(self.weights), -1))
        lengths = torch.tensor(self.weights, dtype=rows.dtype, device=rows.device).sqrt()
        return (groups.reshape(len(rows), len(self.weights), -1) * lengths[:, None]).reshape(
            rows.shape
        )

    def score(self, batch: torch.Tensor) -> torch.Tensor:
        """Returns the influence of each document on its best sub-task."""
        steps = self._weighted(self._half(batch.double(), 0))
        scores = (steps @ self.anchors.T).amax(1)
        return scores.masked_fill((batch == 0).all(1), -torch.inf)
