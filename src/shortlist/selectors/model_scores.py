"""Target-free selectors by one number a document that the featurizer computed: loss or toxicity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from shortlist.core import Features
from shortlist.errors import InvalidInput
from shortlist.selectors.base import Selector, Traits


class Perplexity(Selector):
    """The documents that the model finds hardest (top), easiest (bottom) or middling (mid).

    A document whose loss is exactly 0 has no token to predict (`featurizer=model_loss`): it has no
    score, and the record counts it.

    Formula:
        score(x) = loss (top), -loss (bottom) or -|loss - median loss of the pool| (mid)

        The loss is in nats per token; the exponential that makes it a perplexity changes no order.

    Paper:
        Ivison et al. 2025 (arXiv 2503.01807), who found top worse than random and mid hardly
        better.

    Deviations:
        With an encoder the loss is that of masked tokens; see `featurizer=model_loss`.

    Cost:
        One forward pass a document, by the featurizer.
    """

    version = 2
    traits = Traits(target_aware=False)
    middle: torch.Tensor

    def __init__(self, part: str) -> None:
        """Stores the part of the pool that is selected.

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
        known = losses[losses != 0]
        self.keep("middle", torch.tensor(float(np.median(known)) if len(known) else 0.0))
        return {}

    def score(self, batch: torch.Tensor) -> torch.Tensor:
        """Returns larger numbers for the part that is selected."""
        loss = batch[:, 0].double()
        scores = {"top": loss, "bottom": -loss, "mid": -(loss - self.middle).abs()}[self.part]
        return scores.masked_fill(loss == 0, -torch.inf)


class LeastToxic(Selector):
    """The documents with the smallest toxicity score.

    Any featurizer that gives one number a document, larger for more toxic, can be used.

    Formula:
        score(x) = -toxicity(x)

    Paper:
        Kang et al., ICLR 2024 (arXiv 2405.02774), section 3.1, baseline RTP.

    Deviations:
        The paper scored texts by Perspective; here a scorer of `conf/scorer` does.

    Cost:
        One score a document, by the featurizer.
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
