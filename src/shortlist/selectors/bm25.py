"""Okapi BM25 with the target's words as the query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from shortlist.errors import InvalidInput
from shortlist.selectors.bags import row_sums, totals
from shortlist.selectors.base import Selector

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shortlist.core import Features


class BM25(Selector):
    """Mean BM25 of a document over the target texts as queries.

    score(x) = sum_t q_t idf_t c_t (k1 + 1) / (c_t + k1 (1 - b + b |x| / mean |x|)), where c_t
    counts term t in x, q_t is its mean count in a target text, idf_t = log(1 + (n - n_t + 1/2) /
    (n_t + 1/2)) with n_t of the pool's n documents holding t (Robertson and Zaragoza 2009, eq.
    3.15; the logarithm of 1 plus keeps it from falling below 0). BM25 is linear in the counts of
    the query, so the mean over all queries is one query of mean counts. Terms are hashed buckets:
    two words that share one are one term. Deviation from search engines: no stop words and no
    stemming.
    """

    query: torch.Tensor
    mean_length: torch.Tensor

    def __init__(self, k1: float, b: float) -> None:
        """Stores the settings.

        Args:
            k1: how soon further mentions of a term stop counting.
            b: how far length is corrected for, from 0 to 1.

        Raises:
            InvalidInput: one of them is out of range.
        """
        super().__init__()
        if k1 <= 0 or not 0 <= b <= 1:
            raise InvalidInput(
                f"selector.k1 must be above 0 and selector.b from 0 to 1, found {k1} and {b}"
            )
        self.k1, self.b = k1, b

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps `query` (d,), q_t idf_t, and the pool's mean length.

        Raises:
            InvalidInput: the vectors are not counts in CSR form.
        """
        values: Any = pool.values
        if isinstance(values, np.ndarray):
            raise InvalidInput(
                "selector=bm25 counts terms and needs sparse counts, found dense vectors; "
                "set featurizer=unigrams"
            )
        holding = np.bincount(values.indices, minlength=pool.dimension)
        idf = np.log1p((len(pool) - holding + 0.5) / (holding + 0.5))
        mean_length = totals(pool).sum() / max(len(pool), 1)
        self.keep("query", torch.from_numpy(totals(target) / max(len(target), 1) * idf))
        self.keep("mean_length", torch.tensor(max(mean_length, 1.0), dtype=torch.float64))
        return {}

    def score(self, batch: torch.Tensor) -> torch.Tensor:
        """Returns the mean BM25 over the queries."""
        counts = batch.values().double()
        lengths = row_sums(batch, counts, torch.ones_like(counts))
        entries = batch.crow_indices().diff()
        saturation = self.k1 * (1 - self.b + self.b * lengths / self.mean_length)
        mentions = counts * (self.k1 + 1) / (counts + saturation.repeat_interleave(entries))
        return row_sums(batch, mentions, self.query[batch.col_indices()])
