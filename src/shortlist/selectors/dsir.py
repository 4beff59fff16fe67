"""Data selection with importance resampling (DSIR), Xie et al., NeurIPS 2023, arXiv 2302.03169."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shortlist.core import Budget, Features
from shortlist.errors import InvalidInput
from shortlist.kernels.ngrams import dots
from shortlist.runtime import Runtime
from shortlist.selectors.bag_of_words import column_totals, weighted_sums, word_counts
from shortlist.selectors.base import (
    Choice,
    ScoredPool,
    Selector,
    Traits,
    documents_of,
    take,
    take_ranked,
)
from shortlist.settings import NaturalNumber, NonNegative
from shortlist.stats.sampling import draw_key, gumbel, in_proportion, order


class DSIR(Selector):
    """Importance resampling in the space of hashed n-grams.

    `selector.smoothing=0 selector.floor=1e-8 selector.minimum_length=100` reproduces the authors'
    package (data-selection 1.0.3) to 1e-6. The default differs: it nearly has the ranks of the head of
    their repository with `target_laplace_smoothing=1`, an option that the package's release lacks. With
    `separate`, each domain of the target is a target of its own: p is estimated for each, and the
    budget is drawn in turn so that every prefix holds each target's share.

    Formula:
        score(x) = phi(x) . (log p - log q)

        phi(x) counts n-grams by bucket, p and q are the bag-of-n-grams models of target and pool.
        The budget is sampled without replacement in proportion to exp(score), by Gumbel top-k.

    Paper:
        Xie et al., NeurIPS 2023 (arXiv 2302.03169), section 3.

    Deviations:
        Both models are smoothed by counts in place of a constant, which makes a bucket that the
        target lacks a veto; short documents are not dropped. The draw is always seeded and belongs
        to the document, not to its row.

    Cost:
        One pass over the counts.
    """

    version = 2
    # Additive: sum_t w_t log p_t - log q is the log-weight toward the targets' geometric mean.
    traits = Traits(stochastic=True, additive=True, reads_pool="sums")
    log_ratio: torch.Tensor

    def __init__(
        self,
        smoothing: NonNegative,
        floor: NonNegative,
        temperature: NonNegative,
        minimum_length: NaturalNumber,
        separate: bool,
        proportions: Mapping[str, float] | None,
    ) -> None:
        """Stores the settings.

        Args:
            smoothing: Laplace counts added to every bucket of both models.
            floor: added to every probability inside the logarithm.
            temperature: factor on the Gumbel noise; 1 samples, 0 takes the largest weights.
            minimum_length: documents of fewer words (punctuation counts) are not selected; 0 drops
                none.
            separate: whether each domain of the target is a target of its own.
            proportions: share of each, by domain; None for the shares of their n-grams.

        Raises:
            InvalidInput: one of them is out of range.
        """
        super().__init__()
        if min(smoothing, floor) < 0 or max(smoothing, floor) <= 0:
            raise InvalidInput(
                "selector.smoothing or selector.floor must be above 0 (log 0 otherwise) and neither "
                f"below, found {smoothing} and {floor}"
            )
        if proportions and (not separate or min(proportions.values()) <= 0):
            raise InvalidInput(
                "selector.proportions must be above 0 and need selector.separate=true, found "
                f"{dict(proportions)} and separate={separate}"
            )
        self.smoothing, self.floor, self.temperature = smoothing, floor, temperature
        self.minimum_length, self.separate = minimum_length, separate
        if separate or minimum_length:  # shares of the budget, and lengths, go beyond the sums
            self.traits = replace(self.traits, reads_pool="vectors")
        self.proportions = dict(proportions or {})

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps `log_ratio`, log p - log q per bucket: (d,), or (d, t) of t separate targets.

        Raises:
            InvalidInput: `proportions` does not name the target's domains.
        """
        facts: dict[str, Any] = {}
        raw = self._log_probabilities(column_totals(pool))
        if self.separate:
            counts = self._counts_by_domain(target)
            facts["targets"] = list(counts)
            facts["proportions"] = self._shares({name: counts[name].sum() for name in counts})
            logs = [self._log_probabilities(one) - raw for one in counts.values()]
            ratio = np.stack(logs, axis=1)
        else:
            ratio = self._log_probabilities(column_totals(target)) - raw
        self.keep("log_ratio", torch.from_numpy(ratio))
        if self.minimum_length:
            facts["too_short"] = int((~self._long_enough(pool)).sum())
        return facts

    def _log_probabilities(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        smoothed = counts + self.smoothing
        # Without a single n-gram no bucket has a probability: each gets the floor.
        return np.log(smoothed / max(smoothed.sum(), 1.0) + self.floor)

    def _counts_by_domain(self, target: Features) -> dict[str, NDArray[np.float64]]:
        domains = np.array(documents_of(target, "selector.separate").domains)
        if len(np.unique(domains)) < 2:
            raise InvalidInput(
                f"selector.separate needs a target of several domains, found the one {str(domains[0])!r}; "
                "name the column that parts it (task=own task.domain=COLUMN)"
            )
        return {
            str(name): column_totals(replace(target, values=target.values[domains == name]))
            for name in np.unique(domains)
        }

    def _shares(self, sizes: Mapping[str, float]) -> list[float]:
        shares = self.proportions or sizes
        if set(shares) != set(sizes):
            raise InvalidInput(
                f"selector.proportions must name the target's domains {sorted(sizes)}, found "
                f"{sorted(shares)}"
            )
        whole = sum(shares.values())
        return [float(shares[name] / whole) for name in sizes]

    def _long_enough(self, source: Features | ScoredPool) -> NDArray[np.bool_]:
        return word_counts(source, "selector.minimum_length") >= self.minimum_length

    def score(self, batch: torch.Tensor) -> torch.Tensor:
        """Returns the log importance weight of each document, for each separate target."""
        return weighted_sums(batch, self.log_ratio)

    def score_all(self, pool: Features, runtime: Runtime) -> NDArray[np.float64]:
        """Returns the log importance weights of the pool; sparse counts in one compiled loop."""
        values: Any = pool.values
        if isinstance(values, np.ndarray):
            return super().score_all(pool, runtime)
        ratio = self.log_ratio.double().cpu().numpy()
        weights, threads = ratio.reshape(len(ratio), -1), torch.get_num_threads()
        scores = dots(values.data, values.indices, values.indptr, weights, threads)
        return scores if ratio.ndim == 2 else scores[:, 0]

    def combine(self, columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """Returns the largest log importance weight over the separate targets."""
        return np.maximum.reduce(list(columns.values()))

    def select(self, scores: ScoredPool, budget: Budget, generator: torch.Generator) -> Choice:
        """Returns a sample without replacement in proportion to the weights.

        Raises:
            InvalidInput: fewer documents are long enough than the budget asks for.
        """
        allowed = scores.selectable
        if self.minimum_length:
            allowed &= self._long_enough(scores)
            left = int(allowed.sum() if scores.costs is None else scores.costs[allowed].sum())
            if left < budget.amount:
                raise InvalidInput(
                    f"selector.minimum_length={self.minimum_length} leaves {left:,} {budget.unit} of "
                    f"the pool for budget={budget.amount:,}; lower one of them"
                )
        targets = list(scores.columns.values()) if self.separate else [scores.values]
        noisy = [
            np.where(allowed, values, -np.inf)
            + self.temperature * gumbel(scores.id_bits, draw_key(generator))
            for values in targets
        ]
        ranked = [order(values, scores.id_bits) for values in noisy]
        if not self.separate:
            return take(ranked[0], replace(scores, values=noisy[0]), budget)
        needed = int(allowed.sum()) if scores.costs is not None else budget.amount
        rows = in_proportion(ranked, scores.report["proportions"], min(needed, int(allowed.sum())))
        return take_ranked(rows, scores, budget)
