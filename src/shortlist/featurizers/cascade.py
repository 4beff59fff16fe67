"""Vectors of a pool by an encoder that reads only the documents that a budget may reach.

A ridge regression from mean word embeddings predicts the encoder's vectors. A uniform sample is
encoded to learn it; then, round by round, the documents that the method ranks highest by predicted
vectors are encoded and the regression is learned again, until the documents above the threshold of
the budget are expected to be among the encoded ones. The other documents keep predicted vectors,
which tell the method how dense the pool is around each target.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from shortlist.models.tokens import Tokens

RIDGE = 0.3  # penalty of the regression, in squared lengths of the cheap vectors, which are 1
GROWTH = 0.3  # documents of a round as a share of those encoded before for their rank

Array = NDArray[np.float32]
Scores = NDArray[np.float64]
Encode = Callable[[NDArray[np.int64]], Array]  # rows of the pool to exact vectors, (k, d)
Fit = Callable[[Array], Callable[[Array], Scores]]  # (n, d + 1) vectors of the pool to a scorer


@dataclass(frozen=True)
class Cascaded:
    """Vectors of a pool, some of them predicted.

    Attributes:
        values: (n, d + 1) vectors of length 1, see `extended`.
        encoded: (n,) whether a document was encoded; of the others the vector is predicted.
        expected_overlap: expected share of the selection by exact vectors that was encoded.
        rounds: number of rounds.
    """

    values: Array
    encoded: NDArray[np.bool_]
    expected_overlap: float
    rounds: int


def cascade(
    cheap: Array,
    cheap_target: Array,
    exact_target: Array,
    selectable: NDArray[np.bool_],
    encode: Encode,
    fit: Fit,
    *,
    budget: int,
    factor: float,
    overlap: float,
    sample: int,
) -> Cascaded:
    """Returns the vectors of the pool.

    Args:
        cheap: (n, c) cheap vectors of the pool, which is sorted by a hash: its first rows are a
            uniform sample.
        cheap_target: (m, c) cheap vectors of the target.
        exact_target: (m, d) exact vectors of the target, of length 1.
        selectable: (n,) whether a document may be selected.
        encode: encodes documents, vectors of length 1.
        fit: fits the method to the pool and returns its scores of (k, d + 1) vectors.
        budget: number of documents that are going to be selected.
        factor: at most `factor * budget` documents are encoded for their rank.
        overlap: expected overlap at which encoding stops.
        sample: number of documents that are encoded to learn the regression.
    """
    n, width = len(cheap), exact_target.shape[1]
    values = np.zeros((n, width + 1), dtype=np.float32)
    guesses = np.zeros((n, width), dtype=np.float32)  # the last ones before a document was encoded
    encoded, chosen = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)

    def add(rows: NDArray[np.int64]) -> None:
        values[rows] = extended(encode(rows))
        encoded[rows] = True

    add(np.arange(min(sample, n)))
    most, rounds = min(int(factor * budget), n), 0
    while True:
        known = np.concatenate([cheap[encoded], cheap_target])
        exact = np.concatenate([values[encoded, :width], exact_target])
        guesses[~encoded] = regression(known, exact, cheap[~encoded])
        values[~encoded] = extended(guesses[~encoded])
        score = fit(values)
        expected = expected_overlap(score, values, guesses, encoded, chosen, selectable, budget)
        size = int(chosen.sum())
        if expected >= overlap or size >= most or not (selectable & ~encoded).any():
            break
        left = np.flatnonzero(selectable & ~encoded)
        ranked = left[np.argsort(-score(directions(guesses[left])), kind="stable")]
        rows = ranked[: min(max(budget, 1) if not size else int(GROWTH * size) + 1, most - size)]
        add(np.sort(rows))
        chosen[rows] = True
        rounds += 1
    return Cascaded(values, encoded, expected, rounds)


def expected_overlap(
    score: Callable[[Array], Scores],
    values: Array,
    guesses: Array,
    encoded: NDArray[np.bool_],
    chosen: NDArray[np.bool_],
    selectable: NDArray[np.bool_],
    budget: int,
) -> float:
    """Returns the expected share of the best `budget` documents by exact vectors that are encoded.

    A document is a hit if its exact score reaches the last one of the budget among the encoded
    documents. The probability of a hit given the score by the predicted vector is learned by
    logistic regression from the documents that were encoded for their rank, and summed over those
    that were not encoded. That the method itself is fitted to predicted vectors is not in it.
    """
    from sklearn.linear_model import LogisticRegression

    left = selectable & ~encoded
    if not left.any():
        return 1.0
    best = np.sort(score(values[encoded & selectable]))[::-1]
    if len(best) < budget or not chosen.any():
        return 0.0
    hits = score(values[chosen]) >= best[budget - 1]
    if hits.all():
        return 0.0  # where the hits end is not known yet
    if not hits.any():
        return 1.0
    foreseen = score(directions(guesses[chosen]))[:, None]
    center, scale = foreseen.mean(), max(float(foreseen.std()), 1e-12)
    model = LogisticRegression(C=100.0).fit((foreseen - center) / scale, hits)
    asked = (score(directions(guesses[left]))[:, None] - center) / scale
    missed = float(model.predict_proba(asked)[:, 1].sum())
    return budget / (budget + missed)


def extended(vectors: Array) -> Array:
    """Returns (n, d + 1) vectors of length 1: a vector x of at most length 1, and sqrt(1 - |x|^2).

    A regression gives the expectation of a unit vector, which is shorter than 1. With the last
    coordinate, which is 0 for exact vectors, squared distances and cosines to exact vectors are
    their expectations, for predicted and exact vectors alike.
    """
    rest = np.sqrt(np.clip(1 - np.einsum("ij,ij->i", vectors, vectors), 0, None))
    return np.column_stack([vectors, np.where(rest < 1e-3, 0, rest)]).astype(np.float32)


def directions(vectors: Array) -> Array:
    """Returns the (n, d + 1) exact vectors that would have the directions of predicted ones, (n,
    d).

    By them documents are ranked: a short prediction is uncertain, not far from every target.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
    return np.column_stack([vectors / lengths, np.zeros(len(vectors))]).astype(np.float32)


def regression(known: Array, exact: Array, asked: Array) -> Array:
    """Returns the (k, d) vectors of `asked`, (k, c), by ridge regression of `exact` on `known`.

    Both are centred; W minimises |known W - exact|^2 + RIDGE |W|^2. Vectors longer than 1 are
    scaled to length 1.
    """
    center, mean = known.mean(0), exact.mean(0)
    left = (known - center).astype(np.float64)
    gram = left.T @ left + RIDGE * np.eye(left.shape[1])
    weights = np.linalg.solve(gram, left.T @ (exact - mean)).astype(np.float32)
    found = (asked - center) @ weights + mean
    return found / np.linalg.norm(found, axis=1, keepdims=True).clip(1)


def weighted_embeddings(
    tokens: Tokens, table: torch.Tensor, weights: torch.Tensor
) -> NDArray[np.float32]:
    """Returns (n, c) weighted means of the tokens' embeddings, scaled to length 1; zero without
    any.

    Args:
        tokens: the documents.
        table: (vocabulary, c) word embeddings.
        weights: (vocabulary,) weight of each token.
    """
    ids = torch.from_numpy(np.concatenate(tokens.ids))
    offsets = torch.from_numpy(np.concatenate([[0], np.cumsum(tokens.lengths)[:-1]]))
    sums = torch.nn.functional.embedding_bag(
        ids, table, offsets, mode="sum", per_sample_weights=weights[ids]
    )
    return torch.nn.functional.normalize(sums, dim=1).numpy()


def rarity(tokens: Tokens, vocabulary: int, special: list[int]) -> torch.Tensor:
    """Returns the weight of each token, (vocabulary,): log(n / (1 + documents with it)) + 1 of the
    n documents, and 0 for special tokens.
    """
    seen = np.bincount(np.concatenate([np.unique(ids) for ids in tokens.ids]), minlength=vocabulary)
    weights = np.log(len(tokens) / (1 + seen)).clip(0) + 1
    weights[special] = 0
    return torch.from_numpy(weights.astype(np.float32))
