"""A selector that fails for the budgets in the file PLANTED names: a method with a bug, for the tests."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from shortlist.selectors.controls import Random

if TYPE_CHECKING:
    import torch

    from shortlist.core import Budget
    from shortlist.selectors.base import Choice, ScoredPool


class Planted(Random):
    """A uniform sample, unless the budget is one that it fails for."""

    def select(self, scores: ScoredPool, budget: Budget, generator: torch.Generator) -> Choice:
        """Returns a uniform sample."""
        if budget.amount in json.loads(Path(os.environ["PLANTED"]).read_text()):
            raise RuntimeError(f"planted failure\nat budget {budget.amount}")
        return super().select(scores, budget, generator)
