"""What a task gives to the pipeline: its data, and the judgement of predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shortlist.core import Corpus, Metric, digest
from shortlist.data.readers import Progress, RejectedRow
from shortlist.data.sources import Source
from shortlist.data.splits import Split, TaskData
from shortlist.errors import InvalidInput, near
from shortlist.tasks import metrics as formulas

TaskKind: TypeAlias = Literal["classification", "regression", "unlabelled"]


class Task(ABC):
    """A named task. Constructors store settings; files are touched in `identity` and `load`.

    Args:
        name: the task's name, as in tables.
        metrics: names of the metrics to report.
        primary: the one that ranks the task's table.
        kind: classes, numbers, or no labels at all.
        positive: the class whose F1 the metric `f1` is.
        evaluators: by name, how a language model is questioned on the task as the warm-up left
            it; a task that has some is not fine-tuned on, and their metrics are the task's.

    Attributes:
        held_out: the split on whose texts the loss before and after the warm-up is measured.
        version: raised when the same settings and files would give other data or other metrics.

    Raises:
        InvalidInput: an unknown metric, or a primary one that is not among the metrics.
    """

    version: ClassVar[int] = 1
    held_out: ClassVar[Split] = "test"

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
        known = {
            "classification": (*formulas.CLASSIFICATION, "f1"),
            "regression": tuple(formulas.REGRESSION),
        }
        for metric in self.metrics:
            if metric not in known.get(kind, ()):
                raise InvalidInput(
                    f"task {name!r} ({kind}): unknown metric {metric!r}; "
                    f"{near(metric, known.get(kind, ()))}"
                )
        if self.metrics and primary not in self.metrics:
            raise InvalidInput(
                f"task {name!r}: expected task.primary among {', '.join(self.metrics)}, found "
                f"{primary!r}"
            )

    @abstractmethod
    def identity(self, source: Source) -> dict[str, str]:
        """Returns what would be read, as digests by name; cheap, and free of paths and times."""

    @abstractmethod
    def load(self, source: Source, progress: Progress) -> TaskData:
        """Returns the splits and the target."""

    def assemble(
        self,
        train: Corpus,
        validation: Corpus,
        test: Corpus,
        counts: Mapping[str, int],
        quarantined: tuple[RejectedRow, ...] = (),
        revision: str = "",
    ) -> TaskData:
        """Returns the task's data, sorted by id, with target, labels and what follows from them.

        The labels are those of train: a model cannot learn others. Items of another split with
        other labels stay and count as errors; `unknown_labels_<split>` says how many there are.

        An unlabelled task may have an empty validation and an empty test split.

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
        labels: tuple[str, ...] | None = None
        counted = Counter(counts)
        if self.kind == "classification":
            labels = tuple(sorted(set(train.labels or ())))
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
                counted[f"unknown_labels_{name}"] = sum(
                    label not in labels for label in corpus.labels or ()
                )
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
        self, predictions: NDArray[np.floating], data: TaskData, split: Split = "test"
    ) -> tuple[Metric, ...]:
        """Returns the task's metrics of `predictions` on a split, with bootstrap standard errors.

        Args:
            predictions: class probabilities (n, k), columns in the order of `data.labels`; a
                regression: values (n,).
            data: the task's data.
            split: the split the predictions are for.

        Raises:
            InvalidInput: the shape is not that of the split, or a prediction is not finite.
        """
        if self.kind == "unlabelled":
            return ()
        corpus = data.split(split)
        n = len(corpus)
        shape = (n,) if data.labels is None else (n, len(data.labels))
        if predictions.shape != shape:
            raise InvalidInput(
                f"task {self.name!r}, {split}: expected predictions of shape {shape}, found "
                f"{predictions.shape}"
            )
        if not np.isfinite(predictions).all():
            raise InvalidInput(
                f"task {self.name!r}, {split}: expected finite predictions, found "
                f"{int((~np.isfinite(predictions)).sum())} that are not"
            )
        draws = formulas.draws_of(n, corpus.fingerprint)
        values = (
            self._regression(predictions, corpus, draws)
            if data.labels is None
            else self._classification(predictions, corpus, data.labels, draws)
        )
        return tuple(
            self._metric(name, drawn, corpus, data, split) for name, drawn in values.items()
        )

    def _classification(
        self,
        predictions: NDArray[np.floating],
        corpus: Corpus,
        labels: tuple[str, ...],
        draws: NDArray[np.int64],
    ) -> dict[str, formulas.Values]:
        truth_names = [str(label) for label in corpus.labels or ()]
        classes = (*labels, *sorted(set(truth_names) - set(labels)))
        index = {label: number for number, label in enumerate(classes)}
        truth = np.array([index[label] for label in truth_names], dtype=np.int64)
        tables = formulas.confusions(truth, predictions.argmax(1), len(classes), draws)
        known = dict(formulas.CLASSIFICATION)
        if "f1" in self.metrics and self.positive is not None:
            known["f1"] = formulas.f1_of(index[self.positive])
        return {name: known[name](tables) for name in self.metrics}

    def _regression(
        self, predictions: NDArray[np.floating], corpus: Corpus, draws: NDArray[np.int64]
    ) -> dict[str, formulas.Values]:
        truth = np.array(corpus.labels, dtype=np.float64)
        drawn = truth[draws], predictions.astype(np.float64)[draws]
        return {name: formulas.REGRESSION[name](*drawn) for name in self.metrics}

    def _metric(
        self, name: str, drawn: formulas.Values, corpus: Corpus, data: TaskData, split: Split
    ) -> Metric:
        return Metric(
            name=name,
            unit="correlation" if name in formulas.CORRELATIONS else "fraction",
            higher_is_better=True,
            value=float(drawn[0]),
            n=len(corpus),
            stderr=float(drawn[1:].std(ddof=1)),
            split=split,
            protocol=self.protocol(name, corpus, data, split),
            primary=name == self.primary,
        )

    def protocol(self, metric: str, corpus: Corpus, data: TaskData, split: Split) -> str:
        """Returns the hash of how a metric is measured: definition, classes, split, items, version.

        The items are part of it: the same task cut in another way is another measurement.
        """
        positive = self.positive or "" if metric == "f1" else ""
        return digest(
            [
                self.name,
                str(self.version),
                metric,
                positive,
                split,
                corpus.fingerprint,
                *(data.labels or ()),
            ]
        )
