"""The control that reads nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from shortlist.selectors.base import Choice, ScoredPool, Selector, Traits

if TYPE_CHECKING:
    import torch

    from shortlist.core import Budget


class Vanilla(Selector):
    """No document at all: the model is fine-tuned as it is, without a warm-up.

    Whatever the budget, it is the same cell; the tables of papers call it "vanilla" or "base".
    """

    traits = Traits(target_aware=False)

    def select(self, scores: ScoredPool, budget: Budget, generator: torch.Generator) -> Choice:
        """Returns an empty choice."""
        return Choice(np.empty(0, dtype=np.int64), np.empty(0))
