"""Random documents of as many tokens as the picks of another method."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from shortlist.errors import InvalidInput
from shortlist.selectors.random_length import RandomLength

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from shortlist.selectors.base import ScoredPool


class RandomTokens(RandomLength):
    """Random documents of the same numbers of tokens as the picks of the member `like`.

    Tokens are those of the model that is going to be trained.
    """

    traits = replace(RandomLength.traits, reads_tokens=True)

    def sizes(self, scores: ScoredPool) -> NDArray[np.int64]:
        """Returns the (n,) numbers of tokens.

        Raises:
            InvalidInput: the scores came without them.
        """
        if scores.tokens is None:
            raise InvalidInput("the pool's tokens were expected beside its scores, found none")
        return scores.tokens
