"""Data selection with importance resampling (DSIR), Xie et al., NeurIPS 2023, arXiv 2302.03169."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from shortlist.errors import InvalidInput
from shortlist.kernels.ngrams import dots
from shortlist.selectors.bags import totals, weighted, word_counts
from shortlist.selectors.base import Choice, ScoredPool, Selector, Traits, take, take_in_turn
from shortlist.stats.sampling import draw_key, gumbel, in_proportion, order

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from shortlist.core import Budget, Corpus, Features
    from shortlist.runtime import Runtime


class DSIR(Selector):
    """Importance resampling in the space of hashed n-grams.

    A bag-of-n-grams model is estimated from the target (p) and from the pool (q); a document with
    counts phi(x) has the log-weight phi(x) . (log p - log q); the budget is sampled without
    replacement in proportion to the weights (Gumbel top-k). The authors' package is reproduced to
    1e-6 by `selector.smoothing=0 selector.floor=1e-8 selector.minimum_length=100`. Deviations of
    the defaults: both models are smoothed by counts in place of that constant, which makes a bucket
    the target never saw a veto; short documents are not dropped. The draw is always seeded and
    belongs to the document, not to its row.

    With `separate`, each domain of the target is a target of its own: p is estimated for each, and
    the budget is drawn in turn so that at every length of the list each target has its share.
    """

    version = 2
    # Additive: sum_t w_t log p_t - log q is the log-weight toward the targets' geometric mean.
    traits = Traits(stochastic=True, additive=True)
    log_ratio: torch.Tensor

    def __init__(
        self,
        smoothing: float,
        floor: float,
        temperature: float,
        minimum_length: int,
        separate: bool,
        proportions: Mapping[str, float] | None,
    ) -> None:
        """Stores the settings.

        Args:
            smoothing: Laplace counts added to every bucket of both models.
            floor: added to every probability inside the logarithm.
            temperature: factor on the Gumbel noise; 1 samples, 0 takes the largest weights.
            minimum_length: documents of fewer words (signs count) are not chosen; 0 drops none.
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
        self.proportions = dict(proportions or {})

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps `log_ratio`, log p - log q per bucket: (d,), or (d, t) of t separate targets.

        Raises:
            InvalidInput: `proportions` does not name the target's domains.
        """
        facts: dict[str, Any] = {}
        raw = self._log(totals(pool))
        if self.separate:
            found = self._separate(target)
            facts["targets"] = list(found)
            facts["proportions"] = self._shares({name: found[name].sum() for name in found})
            ratio = np.stack([self._log(counts) - raw for counts in found.values()], axis=1)
        else:
            ratio = self._log(totals(target)) - raw
        self.keep("log_ratio", torch.from_numpy(ratio))
        if self.minimum_length:
            facts["too_short"] = int((~self._long(pool.documents)).sum())
        return facts

    def _log(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        smoothed = counts + self.smoothing
        # A model without a single n-gram is uniform over none: every bucket has the floor.
        return np.log(smoothed / max(smoothed.sum(), 1.0) + self.floor)

    def _separate(self, target: Features) -> dict[str, NDArray[np.float64]]:
        if target.documents is None:
            raise InvalidInput(
                "selector.separate needs the target's documents, found vectors alone"
            )
        domains = np.array(target.documents.domains)
        if len(np.unique(domains)) < 2:
            raise InvalidInput(
                f"selector.separate needs a target of several domains, found the one {str(domains[0])!r}; "
                "name the column that parts it (task=own task.domain=COLUMN)"
            )
        return {
            str(name): totals(replace(target, values=target.values[domains == name]))
            for name in np.unique(domains)
        }

    def _shares(self, sizes: Mapping[str, float]) -> list[float]:
        wanted = self.proportions or sizes
        if set(wanted) != set(sizes):
            raise InvalidInput(
                f"selector.proportions must name the target's domains {sorted(sizes)}, found "
                f"{sorted(wanted)}"
            )
        whole = sum(wanted.values())
        return [float(wanted[name] / whole) for name in sizes]

    def _long(self, documents: Corpus | None) -> NDArray[np.bool_]:
        return word_counts(documents, "selector.minimum_length") >= self.minimum_length

    def score(self, batch: torch.Tensor) -> torch.Tensor:
        """Returns the log importance weight of each document, for each separate target."""
        return weighted(batch, self.log_ratio)

    def score_all(self, pool: Features, runtime: Runtime) -> NDArray[np.float64]:
        """Returns the same of all documents; of stored counts in one compiled loop."""
        values: Any = pool.values
        if isinstance(values, np.ndarray):
            return super().score_all(pool, runtime)
        ratio = self.log_ratio.double().cpu().numpy()
        weights, threads = ratio.reshape(len(ratio), -1), torch.get_num_threads()
        found = dots(values.data, values.indices, values.indptr, weights, threads)
        return found if ratio.ndim == 2 else found[:, 0]

    def combine(self, columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """Returns the weight under the target that a document fits best."""
        return np.maximum.reduce(list(columns.values()))

    def select(self, scores: ScoredPool, budget: Budget, generator: torch.Generator) -> Choice:
        """Returns a sample without replacement in proportion to the weights.

        Raises:
            InvalidInput: fewer long enough documents are left than the budget asks for, or there are
                several targets beside `separate`.
        """
        allowed = scores.values > -np.inf
        if self.minimum_length:
            allowed &= self._long(scores.documents)
            left = int(allowed.sum() if scores.costs is None else scores.costs[allowed].sum())
            if left < budget.amount:
                raise InvalidInput(
                    f"selector.minimum_length={self.minimum_length} leaves {left:,} {budget.unit} of "
                    f"the pool for budget={budget.amount:,}; lower one of them"
                )
        targets = list(scores.columns.values()) if self.separate else [scores.values]
        noisy = [
            np.where(allowed, values, -np.inf)
            + self.temperature * gumbel(scores.id_words, draw_key(generator))
            for values in targets
        ]
        if not self.separate:
            rows = order(noisy[0], scores.id_words)
            return take(rows, replace(scores, values=noisy[0]), budget)
        ranked = [order(values, scores.id_words) for values in noisy]
        needed = int(allowed.sum()) if scores.costs is not None else budget.amount
        rows = in_proportion(ranked, scores.report["proportions"], min(needed, int(allowed.sum())))
        return take_in_turn(rows, scores, budget)
