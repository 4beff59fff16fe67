"""How well a language model predicts each document: one number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from shortlist.featurizers.base import Requirements
from shortlist.featurizers.shards import Sharded
from shortlist.models.checkpoint import fast_products
from shortlist.models.likelihood import LanguageModel, language_model

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.core import Corpus
    from shortlist.featurizers.shards import Reader
    from shortlist.models.pretrained import Pretrained
    from shortlist.progress import Report
    from shortlist.runtime import Runtime


class ModelLoss(Sharded):
    """The mean loss in nats per predicted token, in float32: its exponential is the perplexity.

    A decoder predicts every token from those before it. An encoder with a masked-LM head predicts
    the 15 % that a hash of id and position hides. The pseudo-log-likelihood of Salazar et al. (ACL
    2020) hides every token, one at a time; deviation: a sample, hidden at once, which takes one pass
    in place of one a token and gives larger losses.
    """

    model: Pretrained
    doing = "losses"

    def __init__(self, model: Pretrained, max_length: int) -> None:
        """Stores the model, causal or masked, and the tokens read of a document (what is cut is
        counted).
        """
        self.model = model
        self.max_length = max_length

    def requirements(self) -> Requirements:
        """Returns the model with a token head."""
        return Requirements(self.model, token_head=True)

    def identity(self, runtime: Runtime) -> dict[str, str]:
        """Returns the identity of the model."""
        return self.model.identity()

    def reader(self, runtime: Runtime) -> Reader:
        """Returns the open model.

        Raises:
            InvalidInput: it has no trained head, or fewer positions.
        """
        return self.opened(self.model.directory(), runtime)

    def opened(self, home: Path, runtime: Runtime) -> Losses:
        """Returns the model in the directory `home`, open; raises as `reader`."""
        model = language_model(home, self.max_length, "featurizer.max_length", runtime.device)
        return Losses(model, runtime)


@dataclass(frozen=True)
class Losses:
    """A language model that is open for reading."""

    model: LanguageModel
    runtime: Runtime
    columns: int = 1

    def rows(self, documents: Corpus, report: Report) -> tuple[NDArray[np.float32], dict[str, int]]:
        """Returns (n, 1) nats per token; 0 for a document without a token to predict, counted."""
        asked = self.model.predictions(documents)
        with fast_products(self.runtime.device, int(self.model.model.config.hidden_size)):
            sums = self.model.loss_sums(asked, self.runtime.inference_tokens, report)
        empty = int((asked.counts == 0).sum())
        counts = {"truncated": asked.tokens.truncated} | ({"without_words": empty} if empty else {})
        return (sums / np.maximum(asked.counts, 1))[:, None].astype(np.float32), counts
