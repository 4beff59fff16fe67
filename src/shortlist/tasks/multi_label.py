"""Multi-label classification: any number of classes a text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from shortlist.core import Corpus
from shortlist.data.splits import Split, TaskData
from shortlist.errors import InvalidInput, near
from shortlist.models.heads.labels import MultiLabel as Outputs
from shortlist.settings import Share
from shortlist.tasks import sums
from shortlist.tasks.metrics import Metric, Values
from shortlist.tasks.structured import Structured, strings


class MultiLabel(Structured):
    """A task of the user's files with any number of classes a text, none included.

    The label column holds lists of class names. A class is predicted where its probability reaches
    `threshold`. Metrics are those of scikit-learn on indicator matrices; `macro_f1` is the mean
    over the classes that occur in the truth or in the predictions (`zero_division=nan`), and
    `accuracy` the share of texts all of whose classes are right.

    Args:
        threshold: smallest probability of a predicted class.
        classes: the class names, others are refused row by row; None for those of train.
        settings: those of `FromFiles`.
    """

    default_metrics = ("macro_f1", "micro_f1", "accuracy")
    definitions: ClassVar[Mapping[str, Metric]] = {
        "micro_f1": sums.micro_f1,
        "macro_f1": sums.macro_f1,
        "micro_precision": sums.micro_precision,
        "micro_recall": sums.micro_recall,
        "accuracy": sums.mean,
    }

    def __init__(
        self, threshold: Share, classes: Sequence[str] | None = None, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self.threshold, self.names = threshold, None if classes is None else tuple(classes)

    def parse(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns the row with its label as a sorted JSON list."""
        column = str(self.columns.label)
        names = strings(row.get(column), f"label {column!r}")
        for name in names:
            if self.names is not None and name not in self.names:
                raise InvalidInput(
                    f"label {column!r}: unknown class {name!r}; {near(name, self.names)}"
                )
        return {**row, column: json.dumps(sorted(set(names)), ensure_ascii=False)}

    def classes(self, labels: Iterable[Any]) -> tuple[str, ...]:
        """Returns the class names in labels."""
        return tuple(sorted({name for label in labels for name in json.loads(label)}))

    def head(self, labels: Sequence[str] | None) -> Outputs:
        """Returns a sigmoid a class."""
        return Outputs(labels or ())

    def measured_by(self, metric: str) -> tuple[str, ...]:
        """Returns the threshold."""
        return (f"threshold {self.threshold!r}",)

    def statistics(
        self, metric: str, predictions: NDArray[Any], corpus: Corpus, labels: Sequence[str]
    ) -> Values:
        """Returns (n, 3 c) hits, predictions and truths of each class, or for the accuracy (n, 2)
        whether all are right, and 1.
        """
        true, predicted = self._indicators(predictions, corpus, labels)
        if metric == "accuracy":
            return np.stack([(true == predicted).all(1), np.ones(len(true))], 1).astype(np.float64)
        return np.concatenate([true * predicted, predicted, true], 1)

    def _indicators(
        self, predictions: NDArray[Any], corpus: Corpus, labels: Sequence[str]
    ) -> tuple[Values, Values]:
        """Returns the (n, c) true and predicted classes; those that train lacks follow the others
        and are never predicted.
        """
        classes = self.every_class(corpus, labels)
        index = {label: number for number, label in enumerate(classes)}
        true = np.zeros((len(corpus), len(classes)))
        predicted = np.zeros_like(true)
        for row, names in enumerate(corpus.labels or ()):
            true[row, [index[name] for name in json.loads(names)]] = 1
        predicted[:, : len(labels)] = predictions >= self.threshold
        return true, predicted

    def details(
        self, predictions: NDArray[Any], data: TaskData, split: Split = "test"
    ) -> dict[str, Any]:
        """Returns precision, recall and F1 by class, and the threshold."""
        corpus, labels = data.split(split), data.labels or ()
        counted = self.statistics("micro_f1", predictions, corpus, labels).sum(0)
        rows = sums.by_class(self.every_class(corpus, labels), counted)
        return {"threshold": self.threshold, "per_class": rows}
