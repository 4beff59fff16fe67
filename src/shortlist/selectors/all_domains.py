"""Equal numbers from every domain."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from shortlist.selectors.base import Choice, ScoredPool, Selector, Traits, take_in_turn
from shortlist.selectors.matched import documents_of
from shortlist.stats.sampling import draw_key, order, uniform

if TYPE_CHECKING:
    import torch

    from shortlist.core import Budget


class AllDomains(Selector):
    """Random documents, the same number from every domain of the pool.

    Domains take turns, in an order that is drawn anew each round; one that has no document left is
    passed over, and reported as `exhausted`. With the sampled pools of GOT-D (section 3.2: equal
    numbers of all domains) this is its baseline "all domains".
    """

    traits = Traits(stochastic=True, target_aware=False)

    def select(self, scores: ScoredPool, budget: Budget, generator: torch.Generator) -> Choice:
        """Returns the documents round by round: the n-th of every domain before the n+1-th of any."""
        noise, turn = (uniform(scores.id_words, draw_key(generator)) for _ in range(2))
        allowed = scores.values > -np.inf
        _, domain = np.unique(np.array(documents_of(scores).domains), return_inverse=True)
        rounds = np.zeros(len(noise), dtype=np.int64)
        drawn = order(noise, scores.id_words)
        drawn = drawn[allowed[drawn]]
        sizes = np.bincount(domain[allowed], minlength=domain.max() + 1)
        by_domain = drawn[np.argsort(domain[drawn], kind="stable")]
        rounds[by_domain] = np.concatenate([np.arange(size) for size in sizes])
        # Within a round by another number: the first of a large domain has the larger noise.
        in_turn = drawn[np.lexsort((turn[drawn], rounds[drawn]))]
        choice = take_in_turn(in_turn, scores, budget)
        last = int(rounds[choice.rows].max())
        return replace(choice, report={"exhausted": int(((sizes > 0) & (sizes <= last)).sum())})
