"""Domain-adaptive pre-training: random documents of a domain that a person names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from shortlist.errors import InvalidInput, near
from shortlist.selectors.base import Choice, ScoredPool, Selector, Traits, take
from shortlist.selectors.matched import documents_of
from shortlist.stats.sampling import draw_key, order, uniform

if TYPE_CHECKING:
    import torch

    from shortlist.core import Budget


class DAPT(Selector):
    """A uniform sample, without replacement, of the named domains.

    DAPT, Gururangan et al., ACL 2020; in GOT-D's Table 2 the curated baseline.
    """

    traits = Traits(stochastic=True, target_aware=False)

    def __init__(self, domains: Sequence[str]) -> None:
        """Stores the domains.

        Raises:
            InvalidInput: none is named.
        """
        super().__init__()
        self.domains = tuple([domains] if isinstance(domains, str) else domains)
        if not self.domains:
            raise InvalidInput("selector.domains is empty; name one domain of the pool at least")

    def select(self, scores: ScoredPool, budget: Budget, generator: torch.Generator) -> Choice:
        """Returns the documents of these domains whose noise is largest.

        Raises:
            InvalidInput: a domain is not in the pool, or they hold less than the budget.
        """
        there = np.array(documents_of(scores).domains)
        known = set(there.tolist())
        for name in self.domains:
            if name not in known:
                raise InvalidInput(
                    f"selector.domains: the pool has no domain {name!r}; {near(name, known)}"
                )
        noise = uniform(scores.id_words, draw_key(generator))
        allowed = scores.values > -np.inf
        inside = allowed & np.isin(there, self.domains)
        noise[~inside] = -np.inf
        costs = np.ones(len(there), dtype=np.int64) if scores.costs is None else scores.costs
        left = int(costs[inside].sum())
        # Where the whole pool has no more than that, the budget has been judged already.
        if left < budget.amount <= costs[allowed].sum():
            raise InvalidInput(
                f"selector.domains hold {left:,} {budget.unit}, less than budget={budget.amount:,}; "
                "lower the budget or name more domains"
            )
        return take(order(noise, scores.id_words), replace(scores, values=noise), budget)
