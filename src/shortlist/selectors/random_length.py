"""Random documents as long as the picks of another method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from shortlist.errors import InvalidInput
from shortlist.selectors.matched import Matched, documents_of
from shortlist.selectors.matching import by_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from shortlist.selectors.base import Member, ScoredPool


class RandomLength(Matched):
    """Random documents of the same lengths in characters as the picks of the member `like`.

    Short documents win by many scores (p-lambda/dsir, pull request 3); a method that gains nothing
    over this control has found a length.
    """

    def __init__(self, members: Mapping[str, Member], neighbours: int) -> None:
        """Stores the member and the settings.

        Args:
            members: `like`, the method whose picks are matched.
            neighbours: a stand-in is drawn among so many documents nearest in length.

        Raises:
            InvalidInput: fewer than two neighbours, where the pick alone would be left.
        """
        super().__init__(members)
        if neighbours < 2:
            raise InvalidInput(f"selector.neighbours must be at least 2, found {neighbours}")
        self.neighbours = neighbours

    def sizes(self, scores: ScoredPool) -> NDArray[np.int64]:
        """Returns the (n,) lengths in characters."""
        compute: Any = pc  # its functions are made at run time
        return compute.utf8_length(documents_of(scores).table["text"]).to_numpy()

    def stand_ins(
        self, picks: NDArray[np.int64], scores: ScoredPool, noise: NDArray[np.float64]
    ) -> Iterator[int]:
        """Returns a row for each pick, in order, drawn among its neighbours in length."""
        return by_size(picks, self.sizes(scores), noise, scores.id_words, self.neighbours)
