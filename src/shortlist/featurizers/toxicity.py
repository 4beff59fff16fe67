"""One number a document: how toxic a classifier of labelled texts finds it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.data.readers import file_digest, read
from shortlist.errors import InvalidInput
from shortlist.featurizers.base import Featurizer
from shortlist.featurizers.ngrams import NGrams
from shortlist.numerics.linear import Linear, logistic

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shortlist.core import Corpus
    from shortlist.runtime import Runtime


class Toxicity(Featurizer):
    """The probability of the toxic class by logistic regression on hashed n-grams, trained on a
    person's own labelled texts in seconds.

    Both classes weigh alike, so 1/2 is the border whatever their shares in the file. It knows words
    and their neighbours; what is rude without a rude word escapes it.
    """

    def __init__(
        self,
        labelled: str | None,
        text: str,
        label: str,
        toxic: str,
        buckets: int,
        longest: int,
        inverse_penalty: float,
        max_iterations: int,
    ) -> None:
        """Stores the settings.

        Args:
            labelled: file of labelled texts, of any readable format.
            text: its column of the text.
            label: its column of the label.
            toxic: the label that means toxic; every other one means that a text is not.
            buckets: n-grams are hashed into so many.
            longest: length of the longest n-gram, in words.
            inverse_penalty: inverse strength of the L2 penalty.
            max_iterations: of L-BFGS.

        Raises:
            InvalidInput: no file is named.
        """
        if not labelled:
            raise InvalidInput(
                "featurizer=toxicity learns from labelled texts, found no file of them; set "
                "featurizer.labelled=FILE (columns `text` and `label`, toxic or not)"
            )
        self.labelled, self.text, self.label, self.toxic = Path(labelled), text, label, toxic
        self.inverse_penalty, self.max_iterations = inverse_penalty, max_iterations
        self.ngrams = NGrams(buckets, longest, "fast")
        self._model: Linear | None = None

    def identity(self, runtime: Runtime) -> dict[str, str]:
        """Returns the digest of the labelled texts.

        Raises:
            Missing: the file is not there.
        """
        return {"labelled": file_digest(self.labelled)}

    def compute(
        self, corpus: Corpus, directory: Path, runtime: Runtime
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Returns (n, 1) float32 probabilities, and what the classifier was trained on.

        Raises:
            InvalidInput: the file holds one class alone.
        """
        if self._model is None:
            self._model = self._trained(directory, runtime)
        counts, facts = self.ngrams.compute(corpus, directory, runtime)
        odds = self._model.log_odds(counts)
        return (1 / (1 + np.exp(-odds))).astype(np.float32)[:, None], facts

    def _trained(self, directory: Path, runtime: Runtime) -> Linear:
        texts = read(self.labelled, text=self.text, label=self.label).corpus.canonical()
        labels = np.array([label == self.toxic for label in texts.labels or ()], dtype=np.int64)
        if not 0 < labels.sum() < len(labels):
            raise InvalidInput(
                f"{self.labelled}: texts labelled {self.toxic!r} and others were expected, found "
                f"{labels.sum():,} of {len(labels):,}; set featurizer.toxic=LABEL"
            )
        counts, _ = self.ngrams.compute(texts, directory, runtime)
        return logistic(counts, labels, self.inverse_penalty, self.max_iterations)
