"""Heads of whole texts or pairs: one class, several classes, a number."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch.nn import functional

from shortlist.models import checkpoint
from shortlist.models.heads.base import Head, Inputs, outputs_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shortlist.core import Corpus
    from shortlist.progress import Report
    from shortlist.runtime import Runtime


def classification_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    smoothing: float = 0.0,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Returns the mean cross-entropy in nats.

    Args:
        logits: (b, c) logits.
        labels: (b,) classes.
        smoothing: share of each target that is spread evenly over all classes.
        weights: (c,) weights of the classes; the mean is weighted too.
    """
    return functional.cross_entropy(logits, labels, weights, label_smoothing=smoothing)


def named(model: Any, labels: Sequence[str]) -> Any:
    """Returns the model, whose configuration then names the classes."""
    model.config.id2label = dict(enumerate(labels))
    model.config.label2id = {label: index for index, label in enumerate(labels)}
    return model


class SingleLabel(Head):
    """One class a text or pair: softmax over all classes, cross-entropy."""

    words = "a task of one class a text"
    whole_texts = True
    allows = frozenset({"label_smoothing", "class_weights", "r_drop"})

    def __init__(self, labels: Sequence[str]) -> None:
        """Stores the class names, in the order of the outputs."""
        self.labels = tuple(labels)

    @property
    def settings(self) -> Mapping[str, Any]:
        """Nothing: class names enter keys by themselves."""
        return {}

    def open(self, directory: Path, **config: Any) -> Any:
        """Returns the model with one output a class."""
        return named(checkpoint.classifier(directory, len(self.labels), **config), self.labels)

    def read(
        self, corpus: Corpus, model: Any, tokenizer: Any, max_length: int, *, labelled: bool
    ) -> Inputs:
        """Returns the documents, and (n,) class numbers."""
        inputs = Inputs.of(corpus, model, tokenizer, max_length)
        if not labelled:
            return inputs
        index = {label: number for number, label in enumerate(self.labels)}
        return replace(inputs, labels=torch.tensor([index[name] for name in corpus.labels or ()]))

    def loss(
        self,
        outputs: Any,
        labels: torch.Tensor,
        smoothing: float = 0.0,
        weights: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Returns the mean cross-entropy in nats."""
        weights = None if weights is None else weights.to(labels.device)
        return classification_loss(outputs.logits.float(), labels, smoothing, weights)

    def predict(self, model: Any, inputs: Inputs, runtime: Runtime, report: Report) -> NDArray[Any]:
        """Returns (n, classes) probabilities."""
        values = np.zeros((len(inputs.tokens), len(self.labels)))
        for rows, outputs in outputs_of(model, inputs, runtime, report):
            values[rows] = outputs.logits.double().softmax(-1).cpu().numpy()
        return values


class Regression(Head):
    """A number a text or pair: one output, squared error."""

    words = "a regression"
    whole_texts = True

    @property
    def settings(self) -> Mapping[str, Any]:
        """Nothing."""
        return {}

    def open(self, directory: Path, **config: Any) -> Any:
        """Returns the model with one output."""
        return checkpoint.classifier(directory, 1, regression=True, **config)

    def read(
        self, corpus: Corpus, model: Any, tokenizer: Any, max_length: int, *, labelled: bool
    ) -> Inputs:
        """Returns the documents, and (n,) numbers."""
        inputs = Inputs.of(corpus, model, tokenizer, max_length)
        if not labelled:
            return inputs
        return replace(inputs, labels=torch.tensor([float(one) for one in corpus.labels or ()]))

    def loss(
        self,
        outputs: Any,
        labels: torch.Tensor,
        smoothing: float = 0.0,
        weights: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Returns the mean squared error."""
        return functional.mse_loss(outputs.logits.float().squeeze(-1), labels)

    def predict(self, model: Any, inputs: Inputs, runtime: Runtime, report: Report) -> NDArray[Any]:
        """Returns (n,) numbers."""
        values = np.zeros(len(inputs.tokens))
        for rows, outputs in outputs_of(model, inputs, runtime, report):
            values[rows] = outputs.logits.double()[:, 0].cpu().numpy()
        return values


class MultiLabel(Head):
    """Any number of classes a text or pair: a sigmoid a class, the mean of the binary
    cross-entropies.

    Labels are JSON lists of class names.
    """

    words = "a multi-label task"
    whole_texts = True
    problem: ClassVar[str] = "multi_label_classification"

    def __init__(self, labels: Sequence[str]) -> None:
        """Stores the class names, in the order of the outputs."""
        self.labels = tuple(labels)

    def open(self, directory: Path, **config: Any) -> Any:
        """Returns the model with one output a class."""
        model = named(checkpoint.classifier(directory, len(self.labels), **config), self.labels)
        model.config.problem_type = self.problem
        return model

    def read(
        self, corpus: Corpus, model: Any, tokenizer: Any, max_length: int, *, labelled: bool
    ) -> Inputs:
        """Returns the documents, and (n, classes) numbers: 1 for a class of the text, else 0."""
        inputs = Inputs.of(corpus, model, tokenizer, max_length)
        if not labelled:
            return inputs
        index = {label: number for number, label in enumerate(self.labels)}
        truth = torch.zeros(len(corpus), len(index))
        for row, names in enumerate(corpus.labels or ()):
            truth[row, [index[name] for name in json.loads(names)]] = 1
        return replace(inputs, labels=truth)

    def loss(
        self,
        outputs: Any,
        labels: torch.Tensor,
        smoothing: float = 0.0,
        weights: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Returns the mean over texts and classes of the binary cross-entropy in nats."""
        return functional.binary_cross_entropy_with_logits(outputs.logits.float(), labels)

    def predict(self, model: Any, inputs: Inputs, runtime: Runtime, report: Report) -> NDArray[Any]:
        """Returns (n, classes) probabilities, each of one class."""
        values = np.zeros((len(inputs.tokens), len(self.labels)))
        for rows, outputs in outputs_of(model, inputs, runtime, report):
            values[rows] = outputs.logits.double().sigmoid().cpu().numpy()
        return values
