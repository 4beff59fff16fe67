"""What the methods on bags of words share: weighted sums over a document, and its words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from shortlist.errors import InvalidInput
from shortlist.kernels.ngrams import column_sums
from shortlist.kernels.words import count_words, text_batch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from shortlist.core import Corpus, Features
    from shortlist.kernels.words import TextBatch

_CHUNK = 8192


def weighted(batch: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Returns `batch @ weights` in float64, shape (b,) or (b, t), of (b, d) dense or CSR vectors.

    Of CSR by a running sum: exact to about 1e-12 of it, whatever else is in the batch.
    """
    if batch.layout != torch.sparse_csr:
        return batch.double() @ weights
    return row_sums(batch, batch.values().double(), weights[batch.col_indices()])


def row_sums(batch: torch.Tensor, values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Returns (b,) or (b, t): per row of a CSR batch the sum of `values * weights` over its entries.

    Args:
        batch: (b, d) CSR, whose rows are summed over.
        values: one float64 number an entry.
        weights: one float64 number an entry, or t.
    """
    terms = values[:, None] * weights if weights.ndim == 2 else values * weights
    running = torch.cat([terms.new_zeros(1, *terms.shape[1:]), terms.cumsum(0)])
    return running[batch.crow_indices()[1:]] - running[batch.crow_indices()[:-1]]


def totals(features: Features) -> NDArray[np.float64]:
    """Returns the (d,) sums over all documents, in float64."""
    values: Any = features.values
    if isinstance(values, np.ndarray):
        return values.sum(axis=0, dtype=np.float64)
    return column_sums(values.indices, values.data, features.dimension)


def texts_of(documents: Corpus | None, method: str) -> Iterator[TextBatch]:
    """Returns the documents in blocks that the compiled loops read.

    Raises:
        InvalidInput: the vectors came without their documents.
    """
    if documents is None:
        raise InvalidInput(
            f"{method} reads the documents themselves, found vectors alone; "
            "join them to their corpus (Features.of)"
        )
    for start in range(0, len(documents), _CHUNK):
        yield text_batch(*documents.utf8(start, min(start + _CHUNK, len(documents))))


def word_counts(documents: Corpus | None, method: str) -> NDArray[np.int64]:
    """Returns the (n,) number of words of each document, signs counted.

    Raises:
        InvalidInput: there are no documents.
    """
    blocks = [count_words(texts) for texts in texts_of(documents, method)]
    return np.concatenate([np.zeros(0, np.int64), *blocks])
