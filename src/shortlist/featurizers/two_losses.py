"""How well a language model predicts each document before and after it has read the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.errors import InvalidInput
from shortlist.featurizers.base import Requirements
from shortlist.featurizers.model_loss import ModelLoss

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.core import Corpus
    from shortlist.featurizers.model_loss import Losses
    from shortlist.models.pretrained import Pretrained
    from shortlist.progress import Report
    from shortlist.runtime import Runtime


class TwoLosses(ModelLoss):
    """The losses of `ModelLoss` under the model as it is and under the same model after it has read
    the target's texts: (n, 2), nats per token.

    Both models are asked for the same tokens. The labels of the target are not looked at. Cost: two
    forward passes a document, and the training on the target.
    """

    version = 2  # 1 read the target without the last tokens that fill no block

    def __init__(self, model: Pretrained, max_length: int, reading: Any, seed: int) -> None:
        """Stores the settings.

        Args:
            model: a causal or masked language model.
            max_length: tokens read of a document; what is cut is counted.
            reading: the trainer that lets the model read the target (`conf/trainer`: mlm, clm).
            seed: of that training.
        """
        super().__init__(model, max_length)
        self.reading, self.seed = reading, seed

    def requirements(self) -> Requirements:
        """Returns the model with a token head, and the target to learn from."""
        return Requirements(self.model, token_head=True, learns_from="target")

    def identity(self, runtime: Runtime) -> dict[str, str]:
        """Returns the identity of the model, the key of what was read, and the precision."""
        learned = {"reading": self.learned[1]} if self.learned else {}
        return {**self.model.identity(), **self.reading.identity(runtime), **learned}

    def learn(self, corpus: Corpus, directory: Path, runtime: Runtime) -> dict[str, Any]:
        """Returns facts of the training; the model that has read `corpus` is in `directory`."""
        home, what = self.model.directory(), "reading the target"
        return self.reading.train_on(home, corpus, directory, self.seed, runtime, what)

    def reader(self, runtime: Runtime) -> Pair:
        """Returns both open models.

        Raises:
            InvalidInput: the model has no trained head, fewer positions, or has not read the target.
        """
        if self.learned is None:
            raise InvalidInput(
                "losses after reading the target were asked for before the reading; let the pipeline "
                "run it"
            )
        before = self.opened(self.model.directory(), runtime)
        return Pair(before, self.opened(self.learned[0], runtime))


@dataclass(frozen=True)
class Pair:
    """A language model before and after."""

    before: Losses
    after: Losses
    columns: int = 2

    def rows(self, documents: Corpus, report: Report) -> tuple[NDArray[np.float32], dict[str, int]]:
        """Returns (n, 2) nats per token; 0 for a document without a token to predict, counted."""
        first, counts = self.before.rows(documents, report)
        second, _ = self.after.rows(documents, lambda done: None)
        return np.hstack([first, second]), counts
