"""GOT-D with greedy near-duplicate suppression."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shortlist.core import Budget
from shortlist.errors import InvalidInput
from shortlist.selectors.base import Choice, Member, ScoredPool, Selector, take
from shortlist.stats.sampling import order
from shortlist.vectors import Array, float32_products, gather_rows, row_slices, unit_rows

_ROWS = 1024


class GOTDDiverse(Selector):
    """The best documents by GOT-D that are not near-duplicates of higher-ranked ones.

    A ranking by score ignores diversity, and near-duplicates have similar scores. Documents are
    taken by decreasing score, and one is suppressed where `most` selected documents have a cosine
    above `similarity` to it. Suppressed documents rank last and are selected only if the others do not
    fill the budget; the record counts them.

    Formula:
        x is suppressed if #{selected y before x : cos(x, y) > similarity} >= most

    Paper:
        None: the limitation is named by Kang et al., ICLR 2024 (arXiv 2405.02774), appendix D.2.

    Deviations:
        None.

    Cost:
        That of GOT-D, and one product of the documents read with those selected.
    """

    version = 2

    def __init__(self, members: Mapping[str, Member], similarity: float, most: int) -> None:
        """Stores the settings.

        Args:
            members: the one method whose ranking is read, under any name.
            similarity: cosine above which two documents are near-duplicates.
            most: how many near-duplicates of a document may be selected before it.
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
        """Returns the member's baseline under the same suppression, where the member has one."""
        name, member = next(iter(self.members.items()))
        baseline = member.selector.ablation_baseline()
        return None if baseline is None else {"members": {name: baseline}}

    def select(self, scores: ScoredPool, budget: Budget, generator: torch.Generator) -> Choice:
        """Returns the best documents that are not near-duplicates of higher-ranked ones.

        Raises:
            InvalidInput: the member's vectors are counts.
        """
        vectors = next(iter(scores.vectors.values())).values
        if not isinstance(vectors, np.ndarray):
            raise InvalidInput(
                "near-duplicates are found by dense vectors; set another featurizer for the member"
            )
        ranking = scores.ranking
        ranking = ranking[scores.selectable[ranking]]
        suppressed = suppress_near_duplicates(
            vectors, ranking, self.similarity, self.most, budget.amount, scores.costs
        )
        values = scores.values.copy()
        below = float(np.ptp(values[ranking])) + 1 if len(ranking) else 1.0
        values[suppressed] -= below  # below all others, in their own order
        rows = order(values, scores.id_bits)
        choice = take(rows, ScoredPool(values, scores.id_bits, scores.costs), budget)
        used = int(np.isin(choice.rows, suppressed).sum())
        report = {"passed_over": len(suppressed) - used, "near_duplicates_kept": used}
        return replace(choice, report=report)


def suppress_near_duplicates(
    pool: Array,
    ranking: NDArray[np.int64],
    similarity: float,
    most: int,
    amount: int,
    costs: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Returns the suppressed rows, in the order of the ranking, which is read until the budget is
    full.

    A row is suppressed where `most` kept rows have a cosine to it above `similarity`; the others
    are kept. The rows kept for a larger amount begin with those for a smaller one. Cost: one
    product of the rows read with the rows kept, in blocks; memory: the rows kept.

    Args:
        pool: (N, d), torch or numpy.
        ranking: rows, best first.
        similarity: cosine above which two rows are near-duplicates.
        most: how many near-duplicates of a row may be kept before it.
        amount: how many rows to keep, or what they may cost.
        costs: (N,) cost of each row of the pool, or None where each costs 1.
    """
    cpu = torch.device("cpu")
    suppressed: list[int] = []
    kept = torch.empty(0, pool.shape[1])
    spent = 0
    for part in row_slices(len(ranking), _ROWS):
        rows = ranking[part]
        # Ascending, so that a memory map is read in order; `inverse` restores the ranking.
        sorted_rows, inverse = np.unique(rows, return_inverse=True)
        block = gather_rows(pool, torch.from_numpy(sorted_rows), cpu, torch.float32)
        vectors = unit_rows(block)[torch.from_numpy(inverse)]
        with float32_products():
            near = (vectors @ kept.T > similarity).sum(1).numpy()
            near_in_block = (vectors @ vectors.T > similarity).numpy()
        places: list[int] = []
        for place, row in enumerate(rows.tolist()):
            if near[place] >= most:
                suppressed.append(row)
                continue
            spent += 1 if costs is None else int(costs[row])
            if spent > amount:
                return np.array(suppressed, dtype=np.int64)
            places.append(place)
            near += near_in_block[place]
        kept = torch.cat([kept, vectors[places]])
    return np.array(suppressed, dtype=np.int64)
