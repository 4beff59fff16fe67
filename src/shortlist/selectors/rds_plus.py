"""Representation-based selection (RDS+), Ivison et al. 2025, arXiv 2503.01807."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch

from shortlist.errors import InvalidInput
from shortlist.selectors.nearest import RoundRobin
from shortlist.selectors.neighbours import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shortlist.core import Features

By = Literal["round_robin", "best"]


class RDSPlus(RoundRobin):
    """Cosine of position-weighted mean hidden states, round robin over the target texts.

    The vector of a text is sum_i i h_i / sum_i i of the last hidden states h of the model that is
    to be trained (`featurizer`); later tokens of a causal model have read more. The paper's rule
    and the default is round robin, so that one large cluster of targets cannot take the budget;
    `by: best` takes the documents with the largest cosine to any target.
    """

    def __init__(self, neighbours: int, by: By) -> None:
        """Stores the rule; `neighbours` is how many each target may ask for in a round robin."""
        super().__init__(neighbours)
        if by not in get_args(By):
            raise InvalidInput(f"selector.by must be one of {', '.join(get_args(By))}, found {by}")
        self.by = by

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps the order of the rounds, or the largest cosine of each document."""
        if self.by == "round_robin":
            return super().fit(target, pool)
        # The nearest target of each document: the same search with the roles exchanged.
        scores = np.empty(len(pool))
        for start in range(0, len(pool), 8192):
            rows = np.array(pool.values[start : start + 8192])
            found = nearest(np.asarray(target.values), rows, 1, "cosine", device=self.device)
            scores[start : start + len(rows)] = found.values[:, 0].double().cpu().numpy()
        self.keep("pool_scores", torch.from_numpy(scores))
        return {}
