"""Random documents from the domains that the picks of another method come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from shortlist.selectors.matched import Matched, documents_of
from shortlist.selectors.matching import by_stratum

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from shortlist.selectors.base import ScoredPool


class RandomDomain(Matched):
    """Random documents of exactly the same domains as the picks of the member `like`.

    A method that gains nothing over this control has found a domain; naming it (`dapt`) is cheaper.
    """

    def stand_ins(
        self, picks: NDArray[np.int64], scores: ScoredPool, noise: NDArray[np.float64]
    ) -> Iterator[int]:
        """Returns a row of the same domain for each pick, in order."""
        return by_stratum(picks, np.array(documents_of(scores).domains), noise)
