"""The toxicity of each document, by any scorer."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shortlist import progress
from shortlist.core import Corpus
from shortlist.errors import InvalidInput
from shortlist.evaluation.scorers.base import Scorer, checked_scores
from shortlist.featurizers.base import Featurizer
from shortlist.runtime import Runtime

log = logging.getLogger(__name__)

WORST = 1.0


class Toxicity(Featurizer):
    """The toxicity of each document by a scorer, from 0 to 1, (n, 1).

    A document that the scorer fails on counts as the most toxic, so it is not selected as one of
    the least toxic. The record counts such documents.

    Formula:
        v(x) = scorer(x), 1 where the scorer failed

    Paper:
        None: any scorer of `conf/scorer`.

    Deviations:
        None.

    Cost:
        One score a document.
    """

    version = 2
    scorer: Scorer

    def __init__(self, scorer: Scorer) -> None:
        """Stores the settings.

        Args:
            scorer: an option of `conf/scorer`.
        """
        self.scorer = scorer

    def identity(self, runtime: Runtime) -> dict[str, str]:
        """Returns the scorer's."""
        return self.scorer.identity()

    def compute(
        self, corpus: Corpus, directory: Path, runtime: Runtime
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Returns (n, 1) float32 scores, and counts: `unscored` documents, what the scorer cut.

        Raises:
            InvalidInput: not one document could be scored, or a score is no number from 0 to 1.
        """
        self.scorer.check()
        total, name = len(corpus), type(self.scorer).__name__
        with progress.bar("toxicity", total, "documents", show=runtime.progress) as report:
            scores = checked_scores(self.scorer, corpus.texts, report, name)
        failed = np.isnan(scores)
        unscored = int(failed.sum())
        if unscored == total > 0:
            raise InvalidInput(
                f"featurizer=toxicity: not one of {total:,} documents could be scored by {name}; "
                "see the log"
            )
        if unscored:
            of = f"{unscored:,} of {total:,}"
            log.warning("%s failed on %s documents; they count as the most toxic", name, of)
        facts = {"unscored": unscored, **self.scorer.counts}
        return np.where(failed, WORST, scores).astype(np.float32)[:, None], facts
