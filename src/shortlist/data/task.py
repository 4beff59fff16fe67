"""The data of a task: its labelled splits and its target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from shortlist.core import Corpus
from shortlist.data.quarantine import BadRow

Split: TypeAlias = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class TaskData:
    """The splits of a task.

    Attributes:
        train: labelled examples to fine-tune on (unlabelled texts for an unlabelled task).
        validation: labelled examples set apart from train: they decide which epoch is kept, and
            pool documents that repeat one are never selected.
        test: labelled examples to measure on; an unlabelled task: texts to measure the loss on,
            none where none are held out.
        target: the training inputs without labels: what a selection should help with.
        labels: class names in the order of the model's outputs; None where there are no classes.
        counts: what was left out or needs to be known, by name.
        quarantined: rows that were set aside.
        revision: the commit the data come from, where they come from a hub.
    """

    train: Corpus
    validation: Corpus
    test: Corpus
    target: Corpus
    labels: tuple[str, ...] | None
    counts: Mapping[str, int]
    quarantined: tuple[BadRow, ...] = ()
    revision: str = ""

    def split(self, name: Split) -> Corpus:
        """Returns the split called `name`."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[name]
