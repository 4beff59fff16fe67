"""What a scorer is."""

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
    """How toxic a text is: a number from 0 to 1, one text at a time, larger for more toxic.

    Attributes:
        version: raised when the meaning of the scores changes; `identity` carries it.
        counts: what the last `score` had to cut or set aside, by name, where it did.
    """

    version: ClassVar[int] = 1
    counts: Mapping[str, int] = MappingProxyType({})

    @abstractmethod
    def check(self) -> None:
        """Refuses what cannot work before anything runs: a missing file, key or package, a wrong
        digest.

        Raises:
            ShortlistError: one of them.
        """

    @abstractmethod
    def identity(self) -> dict[str, str]:
        """Returns everything that decides its scores, as digests and plain words; where files lie
        is no part of it.
        """

    @abstractmethod
    def score(self, texts: Sequence[str], report: progress.Report) -> NDArray[np.float64]:
        """Returns the (n,) scores in [0, 1] in the order of the texts; NaN where a text could not be
        scored.

        Args:
            texts: any texts that UTF-8 can write, empty ones too.
            report: called with the number of texts just done.
        """


def rated(
    scorer: Scorer, texts: Sequence[str], report: progress.Report, name: str
) -> NDArray[np.float64]:
    """Returns the (n,) scores of the texts, after a look at whether they are scores; NaN where one
    failed.

    Args:
        scorer: who is asked.
        texts: as for `Scorer.score`.
        report: as for `Scorer.score`.
        name: of the scorer, in messages.

    Raises:
        InvalidInput: it gave another number of scores, or one outside [0, 1]: bounds that count a
            failed score as 0 and as 1 would not hold.
    """
    found = np.asarray(scorer.score(texts, report), dtype=np.float64)
    if found.shape != (len(texts),):
        raise InvalidInput(
            f"scorer {name}: expected one score a text, {len(texts):,} of them, found an array of "
            f"shape {found.shape}; correct the scorer"
        )
    outside = ~np.isnan(found) & ~((found >= 0) & (found <= 1))
    if outside.any():
        raise InvalidInput(
            f"scorer {name}: expected scores from 0 to 1, found {found[outside][0]:g} and "
            f"{outside.sum() - 1:,} more outside; correct the scorer, or let it give NaN"
        )
    return found
