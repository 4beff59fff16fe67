"""Task-adaptive pre-training: the task's own texts, again and again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from shortlist.errors import InvalidInput
from shortlist.selectors.base import Choice, ScoredPool, Selector, Traits, take_in_turn
from shortlist.stats.sampling import draw_key, order, uniform

if TYPE_CHECKING:
    import torch

    from shortlist.core import Budget


class TAPT(Selector):
    """The task's own texts without their labels, each as often as any other.

    TAPT, Gururangan et al., ACL 2020: a hundred epochs over them; here in a new order every time
    round. It chooses among the target in place of the pool; the pool still trains the model's head, so
    that the loss before is that of the other cells. A budget above the number of texts repeats
    them, and `repeated` says how many are repeats.
    """

    traits = Traits(stochastic=True, repeats=True, chooses_target=True, target_aware=False)

    def select(self, scores: ScoredPool, budget: Budget, generator: torch.Generator) -> Choice:
        """Returns every text once, then every text a second time, until the budget is filled.

        Raises:
            InvalidInput: no text may be chosen, or their tokens are none.
        """
        allowed = scores.values > -np.inf
        once = int(allowed.sum() if scores.costs is None else scores.costs[allowed].sum())
        if once < 1:
            raise InvalidInput(
                "the task has no text that may be chosen: all repeat evaluation texts; give others"
            )
        rounds = []
        for _ in range(-(-budget.amount // once)):
            drawn = order(uniform(scores.id_words, draw_key(generator)), scores.id_words)
            rounds.append(drawn[allowed[drawn]])
        choice = take_in_turn(np.concatenate(rounds), scores, budget)
        repeated = len(choice.rows) - len(np.unique(choice.rows))
        return replace(choice, report={"repeated": repeated})
