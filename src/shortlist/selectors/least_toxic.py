"""The least toxic documents of the pool: the RTP baseline of GOT-D."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shortlist.selectors.base import Selector, Traits
from shortlist.selectors.perplexity import one_number

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from shortlist.core import Features


class LeastToxic(Selector):
    """The documents that a toxicity scorer finds the least toxic (GOT-D, section 3.1, baseline RTP).

    score(x) = -toxicity. The paper used the Perspective API; here any featurizer that gives one number a
    document serves, larger for more toxic. Target-free.
    """

    traits = Traits(target_aware=False)

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Learns nothing.

        Raises:
            InvalidInput: the vectors are not one number a document.
        """
        one_number(pool, "selector=least_toxic")
        return {}

    def score(self, batch: torch.Tensor) -> torch.Tensor:
        """Returns minus the toxicity."""
        return -batch[:, 0].double()
