"""The interface of heads, and the inputs that a model with one reads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import torch

from shortlist.models.frozen import FrozenLayers, state_batch
from shortlist.models.likelihood import IGNORED
from shortlist.models.tokens import Tokens, batch, by_length, pad, tokenize

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from shortlist.core import Corpus
    from shortlist.progress import Report
    from shortlist.runtime import Runtime

Labels: TypeAlias = "torch.Tensor | list[NDArray[np.int64]]"


@dataclass(frozen=True)
class Inputs:
    """Documents as a model reads them: token ids, or their states after its frozen layers.

    Attributes:
        tokens: the documents, or windows of them.
        pad_id: id of the padding.
        pairs: whether segment ids are given.
        states: (t, w) states of each document, or None where token ids are read.
        ids: whether token ids are read beside states.
        labels: (n, ...) labels of the rows, or n arrays of one label a token; None where they are
            predicted.
        places: what a head needs to turn outputs into predictions.
    """

    tokens: Tokens
    pad_id: int
    pairs: bool
    states: list[torch.Tensor] | None = None
    ids: bool = False
    labels: Labels | None = None
    places: Any = None

    @classmethod
    def of(cls, corpus: Corpus, model: Any, tokenizer: Any, max_length: int) -> Inputs:
        """Returns the tokenized documents for `model`."""
        tokens = tokenize(tokenizer, corpus.texts, corpus.texts_b, max_length)
        pairs = corpus.texts_b is not None and reads_pairs(model)
        return cls(tokens, tokenizer.pad_token_id, pairs)

    def after(self, frozen: FrozenLayers | None, runtime: Runtime) -> Inputs:
        """Returns the documents as their states after the frozen layers, or as they are."""
        if frozen is None:
            return self
        states = frozen.states(self.tokens, self.pad_id, self.pairs, runtime)
        return replace(self, states=states, ids=frozen.decoder)

    def batch(self, rows: list[int] | NDArray[Any]) -> dict[str, torch.Tensor]:
        """Returns the padded batch of these rows, without labels."""
        if self.states is not None:
            given = state_batch(self.states, rows)
            if self.ids:
                given["input_ids"] = batch(self.tokens, rows, self.pad_id, types=False)["input_ids"]
            return given
        return batch(self.tokens, rows, self.pad_id, types=self.pairs)

    def labelled(self, rows: list[int]) -> dict[str, torch.Tensor]:
        """Returns the padded batch of these rows with their `labels`."""
        labels = self.labels
        assert labels is not None
        own = (
            pad([labels[row] for row in rows], IGNORED)
            if isinstance(labels, list)
            else labels[rows]
        )
        return {**self.batch(rows), "labels": own}


def reads_pairs(model: Any) -> bool:
    """Returns whether the model has embeddings of segments."""
    return bool(getattr(model.config, "type_vocab_size", 0))


@dataclass(frozen=True)
class LossOptions:
    """Settings of a training that a loss may depend on.

    Attributes:
        smoothing: share of each target that is spread evenly over all classes.
        weights: (c,) weights of the classes, or None for 1.
    """

    smoothing: float = 0.0
    weights: torch.Tensor | None = None


class Head(ABC):
    """The final layer of a model for one kind of task, its loss and its predictions.

    Attributes:
        description: what the task is, for messages.
        allows: settings of the training, besides those of any loss, that it has a meaning for.
        whole_texts: whether there is one output a text, whatever tokens the model reads before it.
        model_class: class of transformers of a model with this layer.
        generates: whether predictions are written token by token, by a causal language model.
    """

    description: ClassVar[str]
    model_class: ClassVar[str] = "AutoModelForSequenceClassification"
    allows: ClassVar[frozenset[str]] = frozenset()
    whole_texts: ClassVar[bool] = False
    generates: ClassVar[bool] = False

    @property
    def settings(self) -> Mapping[str, Any]:
        """What decides training and predictions besides the class names; enters keys."""
        return {"kind": type(self).__name__}

    @abstractmethod
    def open(self, directory: Path, **config: Any) -> Any:
        """Returns the model in `directory` with this final layer, new where it has none."""

    def read(
        self, corpus: Corpus, model: Any, tokenizer: Any, max_length: int, *, labelled: bool
    ) -> Inputs:
        """Returns the documents for `model`, with their labels where these are trained on."""
        inputs = self.documents(corpus, model, tokenizer, max_length)
        return replace(inputs, labels=self.targets(corpus, inputs)) if labelled else inputs

    def documents(self, corpus: Corpus, model: Any, tokenizer: Any, max_length: int) -> Inputs:
        """Returns the documents for `model`, without labels."""
        return Inputs.of(corpus, model, tokenizer, max_length)

    @abstractmethod
    def targets(self, corpus: Corpus, inputs: Inputs) -> Labels:
        """Returns the labels of documents.

        Args:
            corpus: the labelled documents.
            inputs: what `documents` returns for them.
        """

    @abstractmethod
    def loss(self, outputs: Any, labels: torch.Tensor, options: LossOptions) -> torch.Tensor:
        """Returns the loss of a batch.

        Args:
            outputs: what the model returns.
            labels: labels of the batch, of `Inputs.labelled`.
            options: settings of the training; those that `allows` does not name are off.
        """

    def with_labels(
        self, corpus: Corpus, inputs: Inputs, model: Any, tokenizer: Any
    ) -> Inputs | None:
        """Returns documents for `model` with the labels that their loss is measured by; None where
        predictions tell it.

        Args:
            corpus: the documents with their labels.
            inputs: what `read` returns for them without labels, or their states.
            model: the model.
            tokenizer: its tokenizer.
        """
        if self.whole_texts:
            return None
        return replace(inputs, labels=self.targets(corpus, inputs))

    def loss_of(self, values: NDArray[Any], corpus: Corpus) -> float | None:
        """Returns the mean loss of predictions, without the options of a training; None where they
        do not tell it.

        Args:
            values: what `predict` returns.
            corpus: the documents with their labels; those of a class that the model does not know
                are left out.
        """
        return None

    @abstractmethod
    def predict(self, model: Any, inputs: Inputs, runtime: Runtime, report: Report) -> NDArray[Any]:
        """Returns one prediction a document: an array whose first axis are the documents, of
        numbers or of texts.

        Args:
            model: the model in evaluation mode.
            inputs: the documents, of `read` without labels.
            runtime: the machine.
            report: called with the number of rows just predicted.
        """


def mean_loss(
    head: Head, model: Any, inputs: Inputs, batch_size: int, device: torch.device
) -> float | None:
    """Returns the mean loss of labelled inputs over all that they have to predict, without the
    options of a training; None where there is nothing. `batch_size` are the rows of a batch.
    """
    total, count = 0.0, 0
    order = inputs.tokens.lengths.argsort(kind="stable").tolist()
    for start in range(0, len(order), batch_size):
        read = inputs.labelled(order[start : start + batch_size])
        read = {name: value.to(device) for name, value in read.items()}
        labels = read.pop("labels")
        if size := int((labels != IGNORED).sum()):
            total += size * float(head.loss(model(**read), labels, LossOptions()))
            count += size
    return total / count if count else None


def outputs_of(
    model: Any, inputs: Inputs, runtime: Runtime, report: Report
) -> Iterator[tuple[NDArray[np.int64], Any]]:
    """Yields the rows of a batch and what the model returns for them, longest rows first."""
    for rows in by_length(inputs.tokens.lengths, runtime.inference_tokens):
        read = {name: value.to(runtime.device) for name, value in inputs.batch(rows).items()}
        yield rows, model(**read)
        report(len(rows))
