"""GOT-D whose picks may not repeat each other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.errors import InvalidInput
from shortlist.selectors.base import Choice, ScoredPool, Selector, take
from shortlist.selectors.spacing import spaced
from shortlist.stats.sampling import order

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from shortlist.core import Budget
    from shortlist.selectors.base import Member


class GOTDDiverse(Selector):
    """The best documents by GOT-D of which no two are near-duplicates.

    A ranking by score has no term for diversity, and near-duplicates score alike (Kang et al. 2024,
    appendix D.2). Here the ranking is read from the top and a document is passed over where `most`
    chosen ones have a cosine above `similarity` to it. Those passed over come last, and only if the
    rest does not fill the budget; the record counts them. Everything before the choice is GOT-D's
    own work, shared with its cells.
    """

    version = 2

    def __init__(self, members: Mapping[str, Member], similarity: float, most: int) -> None:
        """Stores the settings.

        Args:
            members: the method whose ranking is thinned out, under any name.
            similarity: cosine of two near-duplicates.
            most: how many near-duplicates of a document may be chosen before it.
        """
        super().__init__()
        if not -1 <= similarity <= 1 or most < 1:
            raise InvalidInput(
                "selector.similarity must be a cosine and selector.most at least 1, "
                f"found {similarity}, {most}"
            )
        if len(members) != 1:
            raise InvalidInput(f"selector.members must name one method, found {sorted(members)}")
        self.consist_of(members)
        self.similarity, self.most = similarity, most

    def ablation_baseline(self) -> dict[str, Any] | None:
        """Returns the same thinning out of the ranking without its correction, where there is one."""
        name, member = next(iter(self.members.items()))
        without = member.selector.ablation_baseline()
        return None if without is None else {"members": {name: without}}

    def select(self, scores: ScoredPool, budget: Budget, generator: torch.Generator) -> Choice:
        """Returns the best documents that are no near-duplicates of better ones.

        Raises:
            InvalidInput: the method's vectors are counts.
        """
        vectors = next(iter(scores.vectors.values())).values
        if not isinstance(vectors, np.ndarray):
            raise InvalidInput(
                "near-duplicates are found by dense vectors; set another featurizer for the member"
            )
        ranking = order(scores.values, scores.id_words)
        ranking = ranking[scores.values[ranking] > -np.inf]
        passed = spaced(vectors, ranking, self.similarity, self.most, budget.amount, scores.costs)
        values = scores.values.copy()
        spread = float(np.ptp(values[ranking])) + 1 if len(ranking) else 1.0
        values[passed] -= spread  # below all others, among themselves as they were
        rows = order(values, scores.id_words)
        choice = take(rows, ScoredPool(values, scores.id_words, scores.costs), budget)
        used = int(np.isin(choice.rows, passed).sum())
        report = {"passed_over": len(passed) - used, "near_duplicates_kept": used}
        return replace(choice, report=report)
