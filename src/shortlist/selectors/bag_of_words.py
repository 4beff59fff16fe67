"""Selectors on bags of words, BM25 and a linear classifier, and sums that such methods share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import vstack

from shortlist.core import Features
from shortlist.errors import InvalidInput
from shortlist.kernels.ngrams import column_sums
from shortlist.kernels.words import TextBatch, count_words, text_batch
from shortlist.models.linear import logistic
from shortlist.selectors.base import ScoredPool, Selector, documents_of
from shortlist.vectors import row_slices


def weighted_sums(batch: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Returns `batch @ weights` in float64, (b,) or (b, t), of (b, d) dense or CSR vectors.

    The product of a CSR batch is a difference of running sums: within about 1e-12 of its terms'
    total, whatever else is in the batch.
    """
    if batch.layout != torch.sparse_csr:
        return batch.double() @ weights
    return row_sums(batch, batch.values().double(), weights[batch.col_indices()])


def row_sums(batch: torch.Tensor, values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Returns (b,) or (b, t): per row of a CSR batch the sum of `values * weights` over its
    entries.

    Args:
        batch: (b, d) CSR, whose rows are summed over.
        values: one float64 number per entry.
        weights: one float64 number per entry, or t.
    """
    terms = values[:, None] * weights if weights.ndim == 2 else values * weights
    running = torch.cat([terms.new_zeros(1, *terms.shape[1:]), terms.cumsum(0)])
    return running[batch.crow_indices()[1:]] - running[batch.crow_indices()[:-1]]


def column_totals(features: Features) -> NDArray[np.float64]:
    """Returns the (d,) sums over all documents, in float64."""
    values: Any = features.values
    if isinstance(values, np.ndarray):
        return values.sum(axis=0, dtype=np.float64)
    return column_sums(values.indices, values.data, features.dimension)


def text_batches(source: Features | ScoredPool, method: str) -> Iterator[TextBatch]:
    """Yields the documents in blocks that the compiled loops read.

    Raises:
        InvalidInput: there are no documents.
    """
    documents = documents_of(source, method)
    for rows in row_slices(len(documents)):
        yield text_batch(*documents.utf8(rows.start, rows.stop))


def word_counts(source: Features | ScoredPool, method: str) -> NDArray[np.int64]:
    """Returns the (n,) number of words of each document, runs of punctuation included.

    Raises:
        InvalidInput: there are no documents.
    """
    blocks = [count_words(texts) for texts in text_batches(source, method)]
    return np.concatenate([np.zeros(0, np.int64), *blocks])


class BM25(Selector):
    """Mean Okapi BM25 of a document over the target texts as queries.

    BM25 is linear in the counts of the query, so the mean over all queries is one query of mean
    counts. Terms are hashed buckets.

    Formula:
        score(x) = sum_t q_t idf_t c_t (k1 + 1) / (c_t + k1 (1 - b + b |x| / mean |x|))

        c_t counts term t in x, q_t is its mean count in a target text, idf_t = log(1 + (n - n_t +
        1/2) / (n_t + 1/2)) with n_t of the pool's n documents holding t.

    Paper:
        Robertson and Zaragoza 2009, eq. 3.15.

    Deviations:
        The logarithm of 1 plus the ratio keeps idf from falling below 0. Unlike search engines: no
        stop words and no stemming.

    Cost:
        One pass over the counts.
    """

    query: torch.Tensor
    mean_length: torch.Tensor

    def __init__(self, k1: float, b: float) -> None:
        """Stores the settings.

        Args:
            k1: saturation: how soon further mentions of a term stop counting.
            b: strength of the correction for length, from 0 to 1.

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
        mean_length = column_totals(pool).sum() / max(len(pool), 1)
        self.keep("query", torch.from_numpy(column_totals(target) / max(len(target), 1) * idf))
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


class Classifier(Selector):
    """Log-odds that a document is of the target, by logistic regression on its hashed n-grams.

    Balanced log-odds estimate log p_target / p_pool, which DSIR estimates bucket by bucket. The
    sample of the pool is the documents of smallest ids, which are hashes: no seed.

    Formula:
        score(x) = w . x / |x| + b

        w and b are fitted to all target texts against a sample of the pool, both classes of the
        same weight, L2 penalty 1 / (2 inverse_penalty).

    Paper:
        Li et al. 2024 (DCLM), section 4.4.

    Deviations:
        A linear model on the bags in place of fastText's learned embeddings: it is convex, so that
        the same documents give the same filter.

    Cost:
        One pass over the counts, and at most `max_iterations` steps of L-BFGS on target and sample.
    """

    weights: torch.Tensor
    bias: torch.Tensor

    def __init__(self, inverse_penalty: float, negatives: int, max_iterations: int) -> None:
        """Stores the settings.

        Args:
            inverse_penalty: inverse strength of the L2 penalty (`C` of scikit-learn).
            negatives: most documents of the pool in the sample.
            max_iterations: of L-BFGS.

        Raises:
            InvalidInput: one of them is not above 0.
        """
        super().__init__()
        if min(inverse_penalty, negatives, max_iterations) <= 0:
            raise InvalidInput(
                "selector.inverse_penalty, negatives and max_iterations must be above 0, found "
                f"{inverse_penalty}, {negatives}, {max_iterations}"
            )
        self.inverse_penalty, self.negatives = inverse_penalty, negatives
        self.max_iterations = max_iterations

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps the weights (d,) and the bias; returns sizes and whether L-BFGS converged.

        Raises:
            InvalidInput: the vectors came without their documents.
        """
        id_bits = documents_of(pool, "selector=classifier").id_bits()
        sample = np.sort(np.argsort(id_bits, kind="stable")[: self.negatives])
        parts: list[Any] = [target.values, pool.values[sample]]
        dense = isinstance(parts[0], np.ndarray)
        fitted = logistic(
            np.vstack(parts) if dense else vstack(parts, format="csr"),
            np.repeat([1, 0], [len(target), len(sample)]),
            self.inverse_penalty,
            self.max_iterations,
        )
        self.keep("weights", torch.from_numpy(fitted.weights))
        self.keep("bias", torch.tensor(fitted.bias, dtype=torch.float64))
        return {
            "positives": len(target),
            "negatives": len(sample),
            "iterations": fitted.iterations,
            "fitted_to_the_end": fitted.converged,
        }

    def score(self, batch: torch.Tensor) -> torch.Tensor:
        """Returns the log-odds; those of a document without words are the bias."""
        if batch.layout == torch.sparse_csr:
            values = batch.values().double()
            squares = row_sums(batch, values, values)
        else:
            squares = batch.double().square().sum(1)
        norms = squares.clamp_min(0).sqrt()
        return weighted_sums(batch, self.weights) / norms.where(norms > 0, 1) + self.bias
