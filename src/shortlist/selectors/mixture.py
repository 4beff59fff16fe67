"""Weights of the pool's domains by regression on many small models (RegMix, Liu et al. 2025)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from shortlist import progress
from shortlist.core import Budget, Corpus, Features
from shortlist.errors import InvalidInput
from shortlist.kernels.words import text_batch
from shortlist.selectors.bag_of_words import text_batches
from shortlist.selectors.base import (
    Choice,
    ScoredPool,
    Traits,
    TransductiveSelector,
    documents_of,
    take,
)
from shortlist.selectors.moore_lewis import NGramModel
from shortlist.settings import Count, Seed
from shortlist.stats.kernel_regression import kernel_regression
from shortlist.stats.sampling import draw_key, gumbel, order

_ASKED = 10_000  # mixtures whose loss is predicted
_BEST = 100  # of them whose mean is the result
_STRENGTHS = (0.1, 5.0)  # of the Dirichlet distributions, for each domain


class Mixture(TransductiveSelector):
    """A sample of the pool whose domains have the weights under which small models fit the target.

    Small models are trained on samples of random mixtures of the domains; a regression predicts the
    target's loss from the weights, and the mean of the 100 mixtures of smallest prediction among
    10,000 is taken. A document has the weight of its domain, spread over the domain: within a
    domain the sample is random. The record holds the weights and how well the loss of a mixture is
    predicted from the others (rank correlation).

    Formula:
        score(x) = log(w_d / n_d) for x in domain d of n_d documents

    Paper:
        Liu et al., ICLR 2025 (arXiv 2407.01492).

    Deviations:
        The small models are n-gram models of Witten and Bell in place of transformers of 1 M
        parameters; the loss is that of the target's texts; kernel ridge regression of its logarithm
        on log(w + 1 / documents) in place of LightGBM; a domain that runs out is not repeated.

    Cost:
        `mixtures` models, each of `documents` documents, and the target read by each.
    """

    traits = Traits(stochastic=True)

    def __init__(
        self, mixtures: Count, documents: Count, max_n: Count, buckets: Count, seed: Seed
    ) -> None:
        """Stores the settings.

        Args:
            mixtures: number of small models.
            documents: documents that each is trained on, drawn with replacement.
            max_n: words of the longest n-gram.
            buckets: hash buckets for the n-grams of each length.
            seed: draws mixtures and documents.

        Raises:
            InvalidInput: there are too few mixtures for a regression.
        """
        super().__init__()
        if mixtures < 8:
            raise InvalidInput(f"selector.mixtures must be at least 8, found {mixtures}")
        self.mixtures, self.documents = mixtures, documents
        self.max_n, self.buckets, self.seed = max_n, buckets, seed

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps the scores; returns the weights, and what the regression is worth.

        Raises:
            InvalidInput: the pool has one domain.
        """
        corpus = documents_of(pool, "selector=mixture")
        names, domain = np.unique(np.array(corpus.domains), return_inverse=True)
        if len(names) < 2:
            raise InvalidInput(
                f"selector=mixture weighs domains, found the one {str(names[0])!r}; give the pool "
                "several (pool=files pool.domain=COLUMN)"
            )
        by_id = np.argsort(corpus.id_bits(), kind="stable")
        rows = [by_id[domain[by_id] == one] for one in range(len(names))]
        sizes = np.array([len(one) for one in rows], dtype=np.float64)
        draw = np.random.default_rng(self.seed)
        tried = random_mixtures(draw, sizes / sizes.sum(), self.mixtures)
        losses = np.empty(self.mixtures)
        with progress.bar("mixtures", len(tried), "models", show=self.show_progress) as report:
            for number, weights in enumerate(tried):
                counts = draw.multinomial(self.documents, weights)
                chosen = [
                    one[draw.integers(len(one), size=k)]
                    for one, k in zip(rows, counts, strict=True)
                ]
                losses[number] = self._loss(corpus.take(np.concatenate(chosen)), target)
                report(1)
        regression = kernel_regression(self._coordinates(tried), np.log(losses))
        asked = random_mixtures(draw, sizes / sizes.sum(), _ASKED)
        predicted = regression(self._coordinates(asked))
        best = asked[np.argsort(predicted, kind="stable")[:_BEST]].mean(0)
        self.keep("pool_scores", torch.from_numpy(np.log(best / sizes)[domain]))
        ranks: Any = spearmanr(regression.left_out, losses)
        asked = self._coordinates(np.stack([sizes / sizes.sum(), best]))
        natural, found = np.exp(regression(asked)).tolist()
        return {
            "weights": dict(zip(names.tolist(), best.tolist(), strict=True)),
            "spearman_left_out": float(ranks.statistic),
            "loss_of_pool_shares": natural,
            "loss_of_weights": found,
        }

    def _coordinates(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the (n, d) numbers in which the regression reads (n, d) weights: a domain of less
        than one document of a sample hardly differs from none.
        """
        return np.log(weights + 1 / self.documents)

    def _loss(self, sample: Corpus, target: Features) -> float:
        """Returns the mean loss of the target's texts under a model of the sample, in nats a word."""
        model = NGramModel.empty(self.max_n, self.buckets)
        model.read(text_batch(*sample.utf8(0, len(sample))))
        losses = [model.loss(texts) for texts in text_batches(target, "selector=mixture")]
        return float(np.concatenate(losses).mean())

    def select(self, scores: ScoredPool, budget: Budget, generator: torch.Generator) -> Choice:
        """Returns a sample without replacement in proportion to the weights."""
        noisy = scores.values + gumbel(scores.id_bits, draw_key(generator))
        return take(order(noisy, scores.id_bits), replace(scores, values=noisy), budget)


def random_mixtures(
    draw: np.random.Generator, shares: NDArray[np.float64], count: int
) -> NDArray[np.float64]:
    """Returns (count, d) random weights, all above 0, around the square roots of (d,) shares.

    Each is drawn from a Dirichlet distribution of a strength of its own, from nearly one domain to
    nearly the mean.
    """
    mean = np.sqrt(shares) / np.sqrt(shares).sum()
    low, high = np.log(_STRENGTHS)
    strengths = np.exp(draw.uniform(low, high, size=count))
    drawn = draw.gamma(strengths[:, None] * len(shares) * mean) + 1e-9
    return drawn / drawn.sum(1, keepdims=True)
