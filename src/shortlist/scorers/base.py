"""What a scorer is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
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
