"""The interface of toxicity scorers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from shortlist.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from shortlist import progress


class Scorer(ABC):
    """A function from a text to its toxicity in [0, 1]; no score depends on another text.

    Attributes:
        version: raised when the meaning of the scores changes; part of `identity`.
        counts: numbers of texts that the last `score` cut or left out, by name.
    """

    version: ClassVar[int] = 1
    counts: Mapping[str, int] = MappingProxyType({})

    @abstractmethod
    def check(self) -> None:
        """Refuses, before anything runs, what cannot work.

        Raises:
            ShortlistError: a file or package is missing, or a digest is not the expected one.
        """

    @abstractmethod
    def identity(self) -> dict[str, str]:
        """Returns everything that decides the scores: digests and settings, without paths."""

    @abstractmethod
    def score(self, texts: Sequence[str], report: progress.Report) -> NDArray[np.float64]:
        """Returns the (n,) scores in [0, 1], larger for more toxic; NaN where a text failed.

        Args:
            texts: texts that UTF-8 can encode, empty ones among them.
            report: called with the number of texts just scored.
        """


def checked_scores(
    scorer: Scorer, texts: Sequence[str], report: progress.Report, name: str
) -> NDArray[np.float64]:
    """Returns the (n,) scores of the texts, NaN where one failed, after checking them.

    Args:
        scorer: the scorer.
        texts: as for `Scorer.score`.
        report: as for `Scorer.score`.
        name: name of the scorer, in messages.

    Raises:
        InvalidInput: it gave another number of scores, or one outside [0, 1], so that bounds which
            count a failed score as 0 and as 1 would not hold.
    """
    scores = np.asarray(scorer.score(texts, report), dtype=np.float64)
    if scores.shape != (len(texts),):
        raise InvalidInput(
            f"scorer {name}: expected one score a text, {len(texts):,} of them, found an array of "
            f"shape {scores.shape}; correct the scorer"
        )
    outside = ~np.isnan(scores) & ~((scores >= 0) & (scores <= 1))
    if outside.any():
        raise InvalidInput(
            f"scorer {name}: expected scores from 0 to 1, found {scores[outside][0]:g} and "
            f"{outside.sum() - 1:,} more outside; correct the scorer, or return NaN for failed texts"
        )
    return scores
