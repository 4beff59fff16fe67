"""Methods whose scores of two documents hang on each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from shortlist.errors import ForeignFeatures, InvalidInput
from shortlist.selectors.base import Choice, ScoredPool, Selector
from shortlist.selectors.blending import BEYOND

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shortlist.core import Budget, Features
    from shortlist.runtime import Runtime


class WholePool(Selector):
    """A method that scores the whole pool at once, while it fits.

    `fit` of a subclass ends with `self.keep("pool_scores", ...)`: one score a row of the pool. Such
    a method cannot score a document it has not seen. One that orders only a part of the pool
    (`keep_order`) says in `longer` which setting makes the order longer.
    """

    pool_scores: torch.Tensor
    longer = "limit"

    def keep_order(self, rows: NDArray[np.int64], count: int) -> None:
        """Keeps an order as scores: minus the place of each of `rows`, `BEYOND` for the others.

        Args:
            rows: rows of the pool, best first.
            count: documents in the pool.
        """
        scores = np.full(count, BEYOND)
        scores[rows] = -np.arange(len(rows), dtype=np.float64)
        self.keep("pool_scores", torch.from_numpy(scores))

    def score_all(self, pool: Features, runtime: Runtime) -> NDArray[np.float64]:
        """Returns the (n,) scores that `fit` kept.

        Raises:
            ForeignFeatures: the pool has another number of documents than the one fitted on.
        """
        kept = self.pool_scores.double().cpu().numpy()
        if len(kept) != len(pool):
            raise ForeignFeatures(
                f"scores of {len(kept):,} documents were kept, found a pool of {len(pool):,}; "
                "fit on this pool"
            )
        return kept

    def select(self, scores: ScoredPool, budget: Budget, generator: torch.Generator) -> Choice:
        """Returns the best documents that fit the budget.

        Raises:
            InvalidInput: the budget reaches beyond the documents that were put in order.
        """
        choice = super().select(scores, budget, generator)
        ordered = int((choice.scores > BEYOND).sum())
        if ordered < len(choice.rows):
            raise InvalidInput(
                f"budget={budget.amount:,} {budget.unit} reaches beyond the {ordered:,} documents "
                f"that {type(self).__name__} put in order; set selector.{self.longer} larger, or a "
                "smaller budget"
            )
        return choice
