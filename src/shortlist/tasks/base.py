"""The interface of tasks: their data, and the metrics of predictions on a split."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shortlist.core import Corpus, Metric, digest
from shortlist.data.readers import Progress, RejectedRow
from shortlist.data.sources import Source
from shortlist.data.splits import Split, TaskData
from shortlist.errors import InvalidInput, near
from shortlist.models.heads.base import Head
from shortlist.models.heads.labels import Regression, SingleLabel
from shortlist.tasks.metrics import (
    CLASSIFICATION,
    CORRELATIONS,
    REGRESSION,
    Values,
    bootstrap_rows,
    confusion_item_scores,
    confusions,
    f1_of,
    regression_item_scores,
)
from shortlist.tasks.sums import by_class

TaskKind: TypeAlias = Literal["classification", "regression", "structured", "unlabelled"]


UNITS = {**dict.fromkeys(CORRELATIONS, "correlation"), "rmse": "label_units"}


class Task(ABC):
    """A named task. Constructors store settings; files are touched in `identity` and `load`.

    Args:
        name: the task's name, as in tables.
        metrics: names of the metrics to report.
        primary: the one that ranks the task's table.
        kind: labels are classes, numbers, what a class of `tasks.structured` reads, or absent.
        positive: the class whose F1 is the metric `f1`.
        evaluators: the evaluators of the language model after the warm-up, by name. A task that has
            some is not fine-tuned on; their metrics are the task's.

    Attributes:
        held_out: the split on whose texts the loss before and after the warm-up is measured.
        own_splits: whether the user made the splits, so that examples of one may repeat another's;
            published splits are taken as they are.
        version: raised when the same settings and files would give other data or other metrics.

    Raises:
        InvalidInput: a metric is unknown, or the primary one is not among them.
    """

    version: ClassVar[int] = 1
    held_out: ClassVar[Split] = "test"
    own_splits: ClassVar[bool] = False

    def __init__(
        self,
        name: str,
        metrics: Sequence[str],
        primary: str | None,
        kind: TaskKind = "classification",
        positive: str | None = None,
        evaluators: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.metrics = tuple(metrics)
        self.primary = primary
        self.kind: TaskKind = kind
        self.positive = positive
        self.evaluators = dict(evaluators or {})
        known = self.known_metrics()
        for metric in self.metrics:
            if metric not in known:
                raise InvalidInput(
                    f"task {name!r} ({kind}): unknown metric {metric!r}; {near(metric, known)}"
                )
        if self.metrics and primary not in self.metrics:
            raise InvalidInput(
                f"task {name!r}: expected task.primary among {', '.join(self.metrics)}, found "
                f"{primary!r}"
            )

    def known_metrics(self) -> tuple[str, ...]:
        """Returns the names of the metrics that the task's kind has."""
        known = {"classification": (*CLASSIFICATION, "f1"), "regression": tuple(REGRESSION)}
        return known.get(self.kind, ())

    def higher_is_better(self, metric: str) -> bool:
        """Returns the direction of improvement of one of the task's metrics."""
        return metric != "rmse"

    def head(self, labels: Sequence[str] | None) -> Head:
        """Returns what the task's kind adds to a model: final layer, loss and predictions.

        Args:
            labels: the class names, in the order of the outputs; None where there are none.
        """
        return Regression() if self.kind == "regression" else SingleLabel(labels or ())

    @abstractmethod
    def identity(self, source: Source) -> dict[str, str]:
        """Returns digests of the files that `load` reads, by name; without paths and times."""

    @abstractmethod
    def load(self, source: Source, progress: Progress) -> TaskData:
        """Returns the splits and the target.

        Args:
            source: where tasks with a name are read from.
            progress: called with (done, total, what).
        """

    def column(
        self, source: Source, name: str, progress: Progress
    ) -> Mapping[Split, Mapping[str, str]]:
        """Returns the values of a column by split and id of the row; rows without one are left out.

        Raises:
            InvalidInput: the task's rows are not read from files, or a file has no such column.
        """
        raise InvalidInput(
            f"task {self.name!r}: its rows have no columns to split by, found {name!r}; set "
            "task.split.by=near_copies, or null"
        )

    def classes(self, labels: Iterable[Any]) -> tuple[str, ...] | None:
        """Returns the class names that labels hold, sorted; None for a kind without classes."""
        return tuple(sorted(set(labels))) if self.kind == "classification" else None

    def unknown_labels(self, labels: Iterable[Any], known: tuple[str, ...]) -> int:
        """Returns the number of labels that are not among the classes `known`."""
        return sum(label not in known for label in labels)

    def assemble(
        self,
        train: Corpus,
        validation: Corpus,
        test: Corpus,
        counts: Mapping[str, int],
        quarantined: tuple[RejectedRow, ...] = (),
        revision: str = "",
    ) -> TaskData:
        """Returns the task's data, sorted by id, with the target and the class names.

        The classes are those of train. Items of another split with another label stay and count as
        errors; `unknown_labels_<split>` is their number. An unlabelled task may have empty
        validation and test splits.

        Args:
            train: examples to train on.
            validation: examples to choose an epoch by.
            test: examples to measure on.
            counts: numbers of rows that were left out, by name.
            quarantined: rows that could not be read.
            revision: the commit of the data on the hub.

        Raises:
            InvalidInput: another split is empty, or train has a single class.
        """
        needed = {"train": train}
        if self.kind != "unlabelled":
            needed |= {"validation": validation, "test": test}
        for name, corpus in needed.items():
            if not len(corpus):
                raise InvalidInput(
                    f"task {self.name!r}: the {name} split is empty, expected at least one row; "
                    "check its file"
                )
        train, validation, test = train.canonical(), validation.canonical(), test.canonical()
        counted = Counter(counts)
        labels = self.classes(train.labels or ())
        if labels is not None:
            if len(labels) < 2:
                raise InvalidInput(
                    f"task {self.name!r}: expected 2 or more classes in train, found {labels}; "
                    "check the label column"
                )
            if "f1" in self.metrics and self.positive not in labels:
                raise InvalidInput(
                    f"task {self.name!r}: expected task.positive to be a class, found "
                    f"{self.positive!r}; {near(str(self.positive), labels)}"
                )
            for name, corpus in (("validation", validation), ("test", test)):
                counted[f"unknown_labels_{name}"] = self.unknown_labels(corpus.labels or (), labels)
        counted.update(train=len(train), validation=len(validation), test=len(test))
        return TaskData(
            train,
            validation,
            test,
            train.unlabelled(),
            labels,
            dict(sorted(counted.items())),
            quarantined,
            revision,
        )

    def evaluate(
        self, predictions: NDArray[Any], data: TaskData, split: Split = "test"
    ) -> tuple[Metric, ...]:
        """Returns the task's metrics of `predictions` on a split, with bootstrap standard errors.

        Args:
            predictions: (n, k) class probabilities, columns in the order of `data.labels`, or the
                (n,) values of a regression.
            data: the task's data.
            split: the split of the predictions.

        Raises:
            InvalidInput: the shape is not that of the split, or a prediction is not finite.
        """
        if self.kind == "unlabelled":
            return ()
        corpus = self._checked(predictions, data, split)
        rows = bootstrap_rows(len(corpus), corpus.fingerprint)
        resampled = self.resampled(predictions, corpus, data.labels, rows)
        return tuple(
            Metric(
                name=name,
                unit=UNITS.get(name, "fraction"),
                higher_is_better=self.higher_is_better(name),
                value=float(values[0]),
                n=len(corpus),
                stderr=float(values[1:].std(ddof=1)),
                split=split,
                protocol=self.protocol(name, corpus, data, split),
                primary=name == self.primary,
            )
            for name, values in resampled.items()
        )

    def item_scores(
        self, predictions: NDArray[Any], data: TaskData, split: Split = "test"
    ) -> dict[str, Values]:
        """Returns the (n,) item scores of each metric, whose mean is the metric (`tasks.metrics`).

        Arguments and errors as in `evaluate`.
        """
        if self.kind == "unlabelled":
            return {}
        corpus = self._checked(predictions, data, split)
        return self.scores_by_item(predictions, corpus, data.labels)

    def resampled(
        self,
        predictions: NDArray[Any],
        corpus: Corpus,
        labels: tuple[str, ...] | None,
        rows: NDArray[np.int64],
    ) -> dict[str, Values]:
        """Returns (r,) values of each metric over r resamples.

        Args:
            predictions: what `Head.predict` returns.
            corpus: the examples.
            labels: the class names, in the order of the outputs; None where there are none.
            rows: (r, n) numbers of the items of each resample.
        """
        if labels is None:
            truth, values = _numbers(corpus, predictions)
            return {name: REGRESSION[name](truth[rows], values[rows]) for name in self.metrics}
        truth, classes, known = self._classes(corpus, labels)
        tables = confusions(truth, predictions.argmax(1), classes, rows)
        return {name: known[name](tables) for name in self.metrics}

    def scores_by_item(
        self, predictions: NDArray[Any], corpus: Corpus, labels: tuple[str, ...] | None
    ) -> dict[str, Values]:
        """Returns the (n,) item scores of each metric; arguments as in `resampled`."""
        if labels is None:
            truth, values = _numbers(corpus, predictions)
            return {name: regression_item_scores(name, truth, values) for name in self.metrics}
        truth, classes, known = self._classes(corpus, labels)
        predicted = predictions.argmax(1)
        return {
            name: confusion_item_scores(known[name], truth, predicted, classes)
            for name in self.metrics
        }

    def details(
        self, predictions: NDArray[Any], data: TaskData, split: Split = "test"
    ) -> dict[str, Any]:
        """Returns what the metrics are made of, for the record: plain data by name.

        Of classes `per_class` (precision, recall, F1, and how often each is true and predicted),
        and `confusion`, rows the truth, over `classes`.
        """
        if data.labels is None:
            return {}
        corpus = data.split(split)
        truth, count, _ = self._classes(corpus, data.labels)
        classes = self.every_class(corpus, data.labels)
        table = confusions(truth, predictions.argmax(1), count, np.arange(len(truth))[None])[0]
        total = np.concatenate([np.diagonal(table), table.sum(0), table.sum(1)])
        counted = {"classes": list(classes), "confusion": table.astype(int).tolist()}
        return {"per_class": by_class(classes, total), **counted}

    def prediction_shape(self, n: int, labels: tuple[str, ...] | None) -> tuple[int, ...]:
        """Returns the shape of the predictions of n documents."""
        return (n,) if labels is None else (n, len(labels))

    def _checked(self, predictions: NDArray[Any], data: TaskData, split: Split) -> Corpus:
        """Returns the examples of a split after a check of their predictions."""
        corpus = data.split(split)
        shape = self.prediction_shape(len(corpus), data.labels)
        if predictions.shape != shape:
            raise InvalidInput(
                f"task {self.name!r}, {split}: expected predictions of shape {shape}, found "
                f"{predictions.shape}"
            )
        if predictions.dtype.kind == "f" and not np.isfinite(predictions).all():
            raise InvalidInput(
                f"task {self.name!r}, {split}: expected finite predictions, found "
                f"{int((~np.isfinite(predictions)).sum())} that are not"
            )
        return corpus

    def every_class(self, corpus: Corpus, labels: Sequence[str]) -> tuple[str, ...]:
        """Returns the class names of the outputs, then those that only the corpus has."""
        return (*labels, *sorted(set(self.classes(corpus.labels or ()) or ()) - set(labels)))

    def _classes(
        self, corpus: Corpus, labels: tuple[str, ...]
    ) -> tuple[NDArray[np.int64], int, dict[str, Callable[[Values], Values]]]:
        """Returns the (n,) true class numbers, the number of classes and the metrics by name."""
        classes = self.every_class(corpus, labels)
        index = {label: number for number, label in enumerate(classes)}
        known = dict(CLASSIFICATION)
        if self.positive in index:
            known["f1"] = f1_of(index[self.positive])
        truth = np.array([index[str(name)] for name in corpus.labels or ()], dtype=np.int64)
        return truth, len(classes), known

    def protocol(self, metric: str, corpus: Corpus, data: TaskData, split: Split) -> str:
        """Returns the hash of how a metric is measured: definition, classes, split, items, version.

        The items are part of it: another split of the same data is another measurement.
        """
        positive = self.positive or "" if metric == "f1" else ""
        parts = (self.name, str(self.version), metric, positive, split, corpus.fingerprint)
        return digest([*parts, *(data.labels or ())])


def _numbers(corpus: Corpus, predictions: NDArray[Any]) -> tuple[Values, Values]:
    """Returns (n,) true and predicted numbers."""
    return np.array(corpus.labels, dtype=np.float64), predictions.astype(np.float64)
