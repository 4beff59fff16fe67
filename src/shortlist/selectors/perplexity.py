"""Documents by how well the model predicts them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from shortlist.errors import InvalidInput
from shortlist.selectors.base import Selector, Traits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shortlist.core import Features


class Perplexity(Selector):
    """The documents that the model finds hardest (top), easiest (bottom) or middling (mid).

    score(x) = loss, -loss, or -|loss - median loss of the pool|, loss in nats per token; the
    exponential that makes it a perplexity changes no order. Target-free. Ivison et al. 2025 found
    top worse than random and mid hardly better. A loss of exactly 0 is that of a document without a
    token to predict (`featurizer=model_loss`): it has no score, and the record counts it.
    """

    version = 2
    traits = Traits(target_aware=False)
    middle: torch.Tensor

    def __init__(self, part: str) -> None:
        """Stores the part of the pool that is wanted.

        Raises:
            InvalidInput: there is no such part.
        """
        super().__init__()
        if part not in {"top", "mid", "bottom"}:
            raise InvalidInput(f"selector.part must be top, mid or bottom, found {part!r}")
        self.part = part

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps the pool's median loss.

        Raises:
            InvalidInput: the vectors are not one loss a document.
        """
        losses = one_number(pool, "selector=perplexity")
        some = losses[losses != 0]
        self.keep("middle", torch.tensor(float(np.median(some)) if len(some) else 0.0))
        return {}

    def score(self, batch: torch.Tensor) -> torch.Tensor:
        """Returns larger numbers for the part that is wanted."""
        loss = batch[:, 0].double()
        wanted = {"top": loss, "bottom": -loss, "mid": -(loss - self.middle).abs()}[self.part]
        return wanted.masked_fill(loss == 0, -torch.inf)


def one_number(features: Features, method: str) -> np.ndarray:
    """Returns the (n,) numbers of a featurizer that gives one a document.

    Raises:
        InvalidInput: it gives another number of them.
    """
    if not isinstance(features.values, np.ndarray) or features.dimension != 1:
        raise InvalidInput(
            f"{method} needs one number a document, found vectors of {features.dimension}; "
            "choose a featurizer that rates documents"
        )
    return features.values[:, 0]
