"""Methods whose scores of two documents hang on each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from shortlist.errors import ForeignFeatures
from shortlist.selectors.base import Selector

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from shortlist.core import Features
    from shortlist.runtime import Runtime


class WholePool(Selector):
    """A method that scores the whole pool at once, while it fits.

    `fit` of a subclass ends with `self.keep("pool_scores", ...)`: one score a row of the pool. Such
    a method cannot score a document it has not seen.
    """

    pool_scores: torch.Tensor

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
