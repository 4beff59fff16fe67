"""What a cell has read, and the documents of it that a selector chooses from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.core import Corpus
from shortlist.pipeline.data import CORPUS, Documents, TaskSplits
from shortlist.pipeline.leaks import LeakCheck, check_leaks
from shortlist.pipeline.stage import Cell, Notes
from shortlist.store import formats

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class CellData:
    """What a cell reads: the whole pool, its task, the targets, and the leaks of the pool.

    Attributes:
        pool: the whole pool, before a prefilter.
        task: what is trained and measured on.
        targets: the tasks that documents are chosen for, by name; `task` alone where none are
            named.
        leaks: documents of the pool that repeat an evaluation text.
    """

    pool: Documents
    task: TaskSplits
    targets: Mapping[str, TaskSplits]
    leaks: LeakCheck

    @property
    def notes(self) -> Notes:
        """What loading and checking add to the record."""
        named = [target.notes for target in self.targets.values() if target is not self.task]
        return sum([self.task.notes, *named, self.leaks.notes], self.pool.notes)


@dataclass(frozen=True)
class Candidates:
    """The documents that a selector chooses from: the pool, its nearest domains, or the task's
    texts.

    Attributes:
        documents: the documents.
        leaks: which of them may not be selected.
        notes: what making the candidates adds to the record.
    """

    documents: Documents
    leaks: LeakCheck
    notes: Notes = field(default_factory=Notes)

    @property
    def corpus(self) -> Corpus:
        """The documents, sorted by id."""
        return self.documents.corpus

    @cached_property
    def row_of(self) -> Mapping[str, int]:
        """The row of each document by its id."""
        return {key: row for row, key in enumerate(self.corpus.ids)}

    def rows(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Returns the (k,) rows of documents by their ids."""
        return np.array([self.row_of[key] for key in ids], dtype=np.int64)

    @cached_property
    def selectable(self) -> NDArray[np.bool_]:
        """(n,) whether a document may be selected."""
        excluded = self.leaks.excluded
        return np.array([key not in excluded for key in self.corpus.ids], dtype=bool)


def choose_from(cell: Cell, data: CellData, documents: Documents) -> Candidates:
    """Returns the candidates: `documents` of the pool, or the task's own texts where the selector
    chooses among those.
    """
    if not cell.parts.selector.traits.chooses_target:
        return Candidates(documents, data.leaks, documents.notes)
    texts = task_texts(cell, data.task)
    leaks = check_leaks(cell, texts, data.task, data.targets, "target")
    return Candidates(texts, leaks, documents.notes + texts.notes + leaks.notes)


def task_texts(cell: Cell, task: TaskSplits) -> Documents:
    """Returns the task's training texts as documents to choose from."""

    def compute(directory: Path) -> dict[str, Any]:
        formats.save_corpus(directory / CORPUS, task.target)
        return {"documents": len(task.target), "fingerprint": task.target.fingerprint}

    stage = cell.stage("candidates", 1, {}, {"target": task.fingerprint("target")}, compute)
    return Documents(stage, Notes(stages=(stage,)))
