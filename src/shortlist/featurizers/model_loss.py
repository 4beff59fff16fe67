"""Losses of a language model on each document, before and after it has read the target."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shortlist.core import Corpus
from shortlist.errors import InvalidInput
from shortlist.featurizers.base import Reader, Requirements, ShardedFeaturizer
from shortlist.models.checkpoint import fast_products
from shortlist.models.likelihood import LanguageModel, language_model
from shortlist.models.pretrained import Pretrained
from shortlist.progress import Report
from shortlist.runtime import Runtime
from shortlist.settings import Count, Seed


class ModelLoss(ShardedFeaturizer):
    """The mean loss in nats per predicted token, (n, 1) float32; its exponential is the perplexity.

    A decoder predicts every token from those before it. An encoder with a masked-LM head predicts
    the 15 % of tokens that a hash of id and position masks.

    Formula:
        v(x) = -mean_t log p(x_t | context of t) over the predicted tokens t

    Paper:
        Salazar et al., ACL 2020 (pseudo-log-likelihood), for encoders.

    Deviations:
        A sample of tokens, masked at once, in place of every token, one at a time: one pass in
        place of one a token, and larger losses.

    Cost:
        One forward pass a document.
    """

    model: Pretrained
    doing = "losses"
    passes, predicts = 1, True

    def __init__(self, model: Pretrained, max_length: Count) -> None:
        """Stores the settings.

        Args:
            model: a causal or masked language model.
            max_length: tokens read of a document; truncated documents are counted.
        """
        self.model, self.max_length = model, max_length

    def requirements(self) -> Requirements:
        """Returns the model with a token head."""
        return Requirements(self.model, token_head=True)

    def reader(self, runtime: Runtime) -> Reader:
        """Returns the open model.

        Raises:
            InvalidInput: it has no trained head, or fewer positions.
        """
        return self._open(self.model.directory(), runtime)

    def _open(self, home: Path, runtime: Runtime) -> _Losses:
        model = language_model(home, self.max_length, "featurizer.max_length", runtime.device)
        return _Losses(model, runtime)


class TwoLosses(ModelLoss):
    """The losses of `ModelLoss` before and after the model has read the target's texts, (n, 2).

    Both models predict the same tokens; the labels of the target are not used.

    Formula:
        v(x) = (loss of the base model, loss of the model trained on the target's texts)

    Paper:
        Moore and Lewis, ACL 2010, whose score is the difference.

    Deviations:
        One model trained further in place of two trained apart.

    Cost:
        Two forward passes a document, and the training on the target.
    """

    version = 2  # 1 read the target without the last tokens, which fill no block
    passes = 2

    def __init__(self, model: Pretrained, max_length: Count, reading: Any, seed: Seed) -> None:
        """Stores the settings.

        Args:
            model: a causal or masked language model.
            max_length: tokens read of a document; truncated documents are counted.
            reading: the trainer by which the model reads the target (`conf/trainer`: mlm, clm).
            seed: of that training.
        """
        super().__init__(model, max_length)
        self.reading, self.seed = reading, seed

    def requirements(self) -> Requirements:
        """Returns the model with a token head, and the target to learn from."""
        return Requirements(self.model, token_head=True, learns_from="target")

    def identity(self, runtime: Runtime) -> dict[str, str]:
        """Returns the identities of model and trainer, and the key of the trained model."""
        learned = {"reading": self.learned[1]} if self.learned else {}
        return {**self.model.identity(), **self.reading.identity(runtime), **learned}

    def learn(self, corpus: Corpus, directory: Path, runtime: Runtime) -> dict[str, Any]:
        """Returns facts of the training; the model that has read `corpus` is in `directory`."""
        home, what = self.model.directory(), "reading the target"
        return self.reading.train_on(home, corpus, directory, self.seed, runtime, what)

    def reader(self, runtime: Runtime) -> Reader:
        """Returns both open models.

        Raises:
            InvalidInput: the model has no trained head, fewer positions, or has not read the
                target.
        """
        if self.learned is None:
            raise InvalidInput(
                "losses after reading the target were asked for before the reading; let the pipeline "
                "run it"
            )
        return _Pair(
            super()._open(self.model.directory(), runtime), self._open(self.learned[0], runtime)
        )


@dataclass(frozen=True)
class _Losses:
    """An open language model."""

    model: LanguageModel
    runtime: Runtime
    columns: int = 1

    def rows(self, documents: Corpus, report: Report) -> tuple[NDArray[np.float32], dict[str, int]]:
        """Returns (n, 1) nats per token; 0 for a document without a token to predict, counted."""
        predictions = self.model.predictions(documents)
        with fast_products(self.runtime.device, int(self.model.model.config.hidden_size)):
            sums = self.model.loss_sums(predictions, self.runtime.inference_tokens, report)
        empty = int((predictions.counts == 0).sum())
        counts = {"truncated": predictions.tokens.truncated}
        means = (sums / np.maximum(predictions.counts, 1))[:, None].astype(np.float32)
        return means, counts | ({"without_words": empty} if empty else {})


@dataclass(frozen=True)
class _Pair:
    """A language model before and after reading the target."""

    before: _Losses
    after: _Losses
    columns: int = 2

    def rows(self, documents: Corpus, report: Report) -> tuple[NDArray[np.float32], dict[str, int]]:
        """Returns (n, 2) nats per token; 0 for a document without a token to predict, counted."""
        first, counts = self.before.rows(documents, report)
        second, _ = self.after.rows(documents, lambda done: None)
        return np.hstack([first, second]), counts
