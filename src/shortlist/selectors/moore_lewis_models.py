"""Cross-entropy difference, Moore and Lewis, ACL 2010, with the model that is going to be trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from shortlist.errors import InvalidInput
from shortlist.selectors.base import Selector, Traits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shortlist.core import Features


class MooreLewisModels(Selector):
    """Nats per token that the model saves on a document once it has read the target.

    score(x) = H_base(x) - H_tuned(x): the base model stands for the pool's language and the same
    model after it has read the target's texts for the target's. Deviation from Moore and Lewis: one
    model continued in place of two trained apart. A document without a token to predict, whose two
    losses are 0, has no score and is counted. Texts of the target that the pool repeats were read,
    and come first.
    """

    traits = Traits(additive=True)  # a log-ratio of probabilities, per token

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Learns nothing; reports what reading the target saved on both sides, in nats per token.

        Raises:
            InvalidInput: the vectors are not two losses a document.
        """
        if not isinstance(pool.values, np.ndarray) or pool.dimension != 2:
            raise InvalidInput(
                "selector=moore_lewis_models needs two losses a document, found vectors of "
                f"{pool.dimension}; set featurizer=two_losses"
            )
        facts: dict[str, float] = {}
        for name, features in (("target", target), ("pool", pool)):
            values = np.asarray(features.values, dtype=np.float64)
            facts[f"saved_on_{name}"] = float((values[:, 0] - values[:, 1]).mean())
        return facts

    def score(self, batch: torch.Tensor) -> torch.Tensor:
        """Returns the difference of the losses."""
        losses = batch.double()
        empty = (losses == 0).all(1)
        return (losses[:, 0] - losses[:, 1]).masked_fill(empty, -torch.inf)
