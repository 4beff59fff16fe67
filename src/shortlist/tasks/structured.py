"""Tasks of the user's files whose labels are lists, tags, spans or texts: what all of them share.

A kind is a class with a YAML of its name in `conf/task`: it says what a row must hold, what is
added to a model (`shortlist.models.heads`) and how predictions are measured. Labels are kept in a
corpus as canonical JSON texts, so that ids, splits and fingerprints work as for class names.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from shortlist.core import Corpus, digest
from shortlist.data.splits import Split, TaskData
from shortlist.errors import InvalidInput
from shortlist.models.heads.base import Head
from shortlist.tasks import sums
from shortlist.tasks.files import FromFiles
from shortlist.tasks.metrics import Metric, Values


class Structured(FromFiles):
    """A task of the user's files with labels of a kind of its own.

    Attributes:
        definitions: the metrics by name, functions of (..., s) sums of `statistics` over items.

    Raises:
        InvalidInput: there is no label column, or a setting belongs to another kind.
    """

    structured = "structured"
    definitions: ClassVar[Mapping[str, Metric]]

    def __init__(self, **settings: Any) -> None:
        """Stores the settings, those of `FromFiles`."""
        super().__init__(**settings)
        for setting, off in (("numeric", "false"), ("positive", "null")):
            if settings.get(setting):
                raise InvalidInput(
                    f"task.{setting} belongs to a task of classes or numbers a text, this one is a "
                    f"{type(self).__name__}; set task.{setting}={off} or task=own"
                )
        if self.columns.label is None:
            raise InvalidInput(
                f"task {self.name!r}: expected a column of labels, found none; set "
                "task.label=COLUMN, or task=own for a task without labels"
            )
        self.columns = replace(self.columns, parse=self.parse)

    def known_metrics(self) -> tuple[str, ...]:
        """Returns the names of the kind's metrics."""
        return tuple(self.definitions)

    @abstractmethod
    def parse(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns a row with texts and label as strings.

        Raises:
            InvalidInput: it is malformed; the message is the reason.
        """

    @abstractmethod
    def head(self, labels: Sequence[str] | None) -> Head:
        """Returns what the kind adds to a model."""

    @abstractmethod
    def statistics(
        self, metric: str, predictions: NDArray[Any], corpus: Corpus, labels: Sequence[str]
    ) -> Values:
        """Returns the (n, s) statistics by item whose sums the metric is a function of.

        Args:
            metric: name of the metric.
            predictions: what `Head.predict` returns.
            corpus: the examples.
            labels: the class names, in the order of the outputs.
        """

    def details(
        self, predictions: NDArray[Any], data: TaskData, split: Split = "test"
    ) -> dict[str, Any]:
        """Returns what else is worth a look, for the record: plain data by name."""
        return {}

    def unknown_labels(self, labels: Iterable[Any], known: tuple[str, ...]) -> int:
        """Returns the number of classes in labels that are not among `known`."""
        return len(set(self.classes(labels) or ()) - set(known))

    def resampled(
        self,
        predictions: NDArray[Any],
        corpus: Corpus,
        labels: tuple[str, ...] | None,
        rows: NDArray[np.int64],
    ) -> dict[str, Values]:
        """Returns (r,) values of each metric over r resamples."""
        return {
            name: sums.resampled(
                self.definitions[name],
                self.statistics(name, predictions, corpus, labels or ()),
                rows,
            )
            for name in self.metrics
        }

    def scores_by_item(
        self, predictions: NDArray[Any], corpus: Corpus, labels: tuple[str, ...] | None
    ) -> dict[str, Values]:
        """Returns the (n,) item scores of each metric, which is their mean (`tasks.metrics`)."""
        return {
            name: sums.item_scores(
                self.definitions[name], self.statistics(name, predictions, corpus, labels or ())
            )
            for name in self.metrics
        }

    def protocol(self, metric: str, corpus: Corpus, data: TaskData, split: Split) -> str:
        """Returns the hash of how a metric is measured, with `measured_by`."""
        return digest([super().protocol(metric, corpus, data, split), *self.measured_by(metric)])

    def measured_by(self, metric: str) -> tuple[str, ...]:
        """Returns the settings and versions that decide the value of a metric."""
        return ()


def strings(value: Any, what: str) -> list[str]:
    """Returns a column's value as a list of strings.

    Raises:
        InvalidInput: it is none; the message is the reason for which a row is quarantined.
    """
    if not isinstance(value, list | tuple | np.ndarray):
        raise InvalidInput(f"{what}: expected a list of strings, found {shown(value)}")
    for place, item in enumerate(value):
        if not isinstance(item, str) or not item:
            raise InvalidInput(f"{what}: expected strings, found {shown(item)} at place {place}")
    return [str(item) for item in value]


def shown(value: Any) -> str:
    """Returns a value as messages show it."""
    return "none" if value is None else repr(value)[:40]
