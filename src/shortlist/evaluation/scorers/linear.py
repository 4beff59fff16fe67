"""Toxicity by logistic regression on hashed n-grams, trained on labelled texts in seconds."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.sparse import csr_array, vstack

from shortlist.core import digest
from shortlist.errors import InvalidInput
from shortlist.evaluation.scorers.labelled import LabelledColumns, LabelledScorer, read_labelled
from shortlist.kernels.ngrams import count_character_ngrams, count_ngrams
from shortlist.kernels.words import text_batch
from shortlist.models.linear import Linear, logistic
from shortlist.settings import Count, Positive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from shortlist import progress

log = logging.getLogger(__name__)

_CHUNK = 4096
_UNITS = {"words": 1, "characters": 2}  # and the least length of an n-gram


@dataclass(frozen=True)
class LinearSettings:
    """All that decides the classifier except the files; see `LinearScorer`."""

    text: str
    label: str
    toxic: str
    source: str
    sources: tuple[str, ...]
    unit: str
    min_n: int
    max_n: int
    buckets: int
    inverse_penalty: float
    max_iterations: int
    tolerance: float


class LinearScorer(LabelledScorer):
    """The probability of the toxic class by logistic regression on hashed n-grams of words or of
    characters.

    Both classes have the same weight in training, so that 1/2 separates them whatever their shares
    in the files. Toxicity without toxic words is not recognised. A text without n-grams gets the
    probability of the bias alone.

    Args:
        labelled: the file or files of labelled texts.
        text: column of the text.
        label: column of the label.
        toxic: the label of toxic texts; every other label means nontoxic.
        source: column by which texts are filtered.
        sources: the values of `source` whose texts are learned from; None for all.
        unit: `words` or `characters`.
        min_n: length of the smallest n-gram, in units.
        max_n: length of the largest n-gram, in units.
        buckets: number of buckets that n-grams are hashed into.
        inverse_penalty: inverse strength of the L2 penalty.
        max_iterations: largest number of steps of L-BFGS.
        tolerance: of its gradient.

    Raises:
        InvalidInput: a setting is out of range.
    """

    version = 2
    kind = "linear"

    def __init__(
        self,
        labelled: str | Sequence[str | None] | None,
        text: str,
        label: str,
        toxic: str,
        source: str,
        sources: Sequence[str] | None,
        unit: str,
        min_n: int,
        max_n: int,
        buckets: int,
        inverse_penalty: float,
        max_iterations: Count,
        tolerance: Positive,
    ) -> None:
        super().__init__(labelled)
        self.settings = LinearSettings(
            text, label, toxic, source, tuple(sources or ()), unit, min_n, max_n, buckets,
            float(inverse_penalty), max_iterations, float(tolerance),
        )  # fmt: skip
        least = _UNITS.get(unit)
        if least is None:
            raise InvalidInput(
                f"a linear scorer's unit must be words or characters, found {unit!r}"
            )
        if unit == "words" and min_n != 1:
            raise InvalidInput(
                "a linear scorer that counts words counts single ones, too: min_n must be 1, "
                f"found {min_n}"
            )
        if not least <= min_n <= max_n:
            raise InvalidInput(
                f"a linear scorer of {unit} needs {least} <= min_n <= max_n, found {min_n} "
                f"and {max_n}"
            )
        if not 1 <= buckets < 2**31 or inverse_penalty <= 0:
            raise InvalidInput(
                "a linear scorer needs from 1 to 2^31 - 1 buckets and an inverse_penalty above 0, "
                f"found {buckets} and {inverse_penalty:g}"
            )

    def check(self) -> None:
        """Refuses missing files of labelled texts.

        Raises:
            InvalidInput: no file is named.
            Missing: a file does not exist.
        """
        self.digests()

    def identity(self) -> dict[str, str]:
        """Returns the digests of the files of labelled texts and of the settings."""
        return {
            "scorer": f"linear {self.version}",
            "labelled": digest(self.digests()),
            "recipe": digest(map(str, astuple(self.settings))),
        }

    def score(self, texts: Sequence[str], report: progress.Report) -> NDArray[np.float64]:
        """Returns the (n,) probabilities of the toxic class; none is NaN.

        Raises:
            InvalidInput: the labelled texts hold only one class, or none of a source.
        """
        model, self.counts = trained(self.settings, self.paths, self.digests())
        scores = np.empty(len(texts), dtype=np.float64)
        starts = range(0, len(texts), _CHUNK)
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            chunks = pool.map(
                lambda start: model.log_odds(
                    ngram_counts(texts[start : start + _CHUNK], self.settings)
                ),
                starts,
            )
            for start, odds in zip(starts, chunks, strict=True):
                scores[start : start + len(odds)] = 1 / (1 + np.exp(-odds))
                report(len(odds))
        return scores


# The cells of a sweep, and the stages of a cell, use the same classifier repeatedly.
@lru_cache(maxsize=8)
def trained(
    settings: LinearSettings, paths: tuple[Path, ...], digests: tuple[str, ...]
) -> tuple[Linear, dict[str, int]]:
    """Returns the classifier of the files' texts, and numbers of rows that were left out.

    Args:
        settings: the settings.
        paths: the files.
        digests: digests of the files: other bytes under the same name give another classifier.

    Raises:
        InvalidInput: the files hold only one class, or no text of a source.
    """
    columns = LabelledColumns(
        settings.text, settings.label, settings.toxic, settings.source, settings.sources
    )
    labelled = read_labelled(paths, columns)
    labels, texts = labelled.toxic, labelled.corpus.texts
    chunks = [
        ngram_counts(texts[start : start + _CHUNK], settings)
        for start in range(0, len(texts), _CHUNK)
    ]
    model = logistic(
        csr_array(vstack(chunks)),
        labels,
        settings.inverse_penalty,
        settings.max_iterations,
        settings.tolerance,
    )
    counts = {**labelled.counts, "scorer_not_converged": int(not model.converged)}
    return model, {name: number for name, number in counts.items() if number}


def ngram_counts(texts: Sequence[str], settings: LinearSettings) -> csr_array:
    """Returns the (n, buckets) counts of the texts' n-grams."""
    if settings.unit == "characters":
        values = count_character_ngrams(texts, settings.min_n, settings.max_n, settings.buckets)
    else:
        parts = [text.encode() for text in texts]
        ends = np.cumsum([0, *map(len, parts)], dtype=np.int64)
        data = np.frombuffer(b"".join(parts), dtype=np.uint8)
        values = count_ngrams(text_batch(data, ends), settings.max_n, settings.buckets)
    return csr_array(values, shape=(len(texts), settings.buckets))
