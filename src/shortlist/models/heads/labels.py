"""Heads of whole texts or pairs: one class, several classes, a number."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch.nn import functional

from shortlist.models import checkpoint
from shortlist.models.heads.base import Head, Inputs, LossOptions, outputs_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shortlist.core import Corpus
    from shortlist.progress import Report
    from shortlist.runtime import Runtime


_SMALLEST = float(np.finfo(np.float64).tiny)  # a probability whose logarithm is finite


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


class WholeTexts(Head):
    """One output a text or pair, whatever tokens it has.

    Attributes:
        shape: shape of the prediction of a document.
    """

    whole_texts = True
    shape: tuple[int, ...] = ()

    @abstractmethod
    def activation(self, logits: torch.Tensor) -> torch.Tensor:
        """Returns the (b, *shape) predictions of a batch from its (b, outputs) logits."""

    def predict(self, model: Any, inputs: Inputs, runtime: Runtime, report: Report) -> NDArray[Any]:
        """Returns the (n, *shape) predictions."""
        values = np.zeros((len(inputs.tokens), *self.shape))
        for rows, outputs in outputs_of(model, inputs, runtime, report):
            values[rows] = self.activation(outputs.logits.double()).cpu().numpy()
        return values


class Classes(WholeTexts):
    """One output a class.

    Args:
        labels: the class names, in the order of the outputs.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self.shape = (len(self.labels),)
        self.index = {label: number for number, label in enumerate(self.labels)}

    def open(self, directory: Path, **config: Any) -> Any:
        """Returns the model with one output a class."""
        return named(checkpoint.classifier(directory, len(self.labels), **config), self.labels)


class SingleLabel(Classes):
    """One class a text or pair: softmax over all classes, cross-entropy."""

    description = "a task of one class a text"
    allows = frozenset({"label_smoothing", "class_weights", "r_drop"})

    @property
    def settings(self) -> Mapping[str, Any]:
        """Nothing: class names enter keys by themselves."""
        return {}

    def targets(self, corpus: Corpus, inputs: Inputs) -> torch.Tensor:
        """Returns (n,) class numbers."""
        return torch.tensor([self.index[name] for name in corpus.labels or ()])

    def loss(self, outputs: Any, labels: torch.Tensor, options: LossOptions) -> torch.Tensor:
        """Returns the mean cross-entropy in nats."""
        weights = None if options.weights is None else options.weights.to(labels.device)
        return classification_loss(outputs.logits.float(), labels, options.smoothing, weights)

    def loss_of(self, values: NDArray[Any], corpus: Corpus) -> float | None:
        """Returns the mean cross-entropy in nats."""
        known = [(row, self.index.get(name)) for row, name in enumerate(corpus.labels or ())]
        likely = [values[row, number] for row, number in known if number is not None]
        return float(-np.log(np.maximum(likely, _SMALLEST)).mean()) if likely else None

    def activation(self, logits: torch.Tensor) -> torch.Tensor:
        """Returns (b, classes) probabilities."""
        return logits.softmax(-1)


class Regression(WholeTexts):
    """A number a text or pair: one output, squared error."""

    description = "a regression"

    @property
    def settings(self) -> Mapping[str, Any]:
        """Nothing."""
        return {}

    def open(self, directory: Path, **config: Any) -> Any:
        """Returns the model with one output."""
        return checkpoint.classifier(directory, 1, regression=True, **config)

    def targets(self, corpus: Corpus, inputs: Inputs) -> torch.Tensor:
        """Returns (n,) numbers."""
        return torch.tensor([float(one) for one in corpus.labels or ()])

    def loss(self, outputs: Any, labels: torch.Tensor, options: LossOptions) -> torch.Tensor:
        """Returns the mean squared error."""
        return functional.mse_loss(outputs.logits.float().squeeze(-1), labels)

    def loss_of(self, values: NDArray[Any], corpus: Corpus) -> float | None:
        """Returns the mean squared error."""
        return float(np.mean((values - np.array(corpus.labels, dtype=np.float64)) ** 2))

    def activation(self, logits: torch.Tensor) -> torch.Tensor:
        """Returns (b,) numbers."""
        return logits[:, 0]


class MultiLabel(Classes):
    """Any number of classes a text or pair: a sigmoid a class, the mean of the binary
    cross-entropies.

    Labels are JSON lists of class names.
    """

    description = "a multi-label task"
    problem: ClassVar[str] = "multi_label_classification"

    def open(self, directory: Path, **config: Any) -> Any:
        """Returns the model with one output a class."""
        model = super().open(directory, **config)
        model.config.problem_type = self.problem
        return model

    def targets(self, corpus: Corpus, inputs: Inputs) -> torch.Tensor:
        """Returns (n, classes) numbers: 1 for a class of the text, else 0."""
        truth = torch.zeros(len(corpus), len(self.labels))
        for row, names in enumerate(corpus.labels or ()):
            truth[row, [self.index[name] for name in json.loads(names)]] = 1
        return truth

    def loss(self, outputs: Any, labels: torch.Tensor, options: LossOptions) -> torch.Tensor:
        """Returns the mean over texts and classes of the binary cross-entropy in nats."""
        return functional.binary_cross_entropy_with_logits(outputs.logits.float(), labels)

    def loss_of(self, values: NDArray[Any], corpus: Corpus) -> float | None:
        """Returns the mean over texts and known classes of the binary cross-entropy in nats."""
        truth = np.zeros_like(values)
        for row, names in enumerate(corpus.labels or ()):
            truth[row, [self.index[name] for name in json.loads(names) if name in self.index]] = 1
        likely = np.where(truth == 1, values, 1 - values)
        return float(-np.log(np.maximum(likely, _SMALLEST)).mean())

    def activation(self, logits: torch.Tensor) -> torch.Tensor:
        """Returns (b, classes) probabilities, each of one class."""
        return logits.sigmoid()
