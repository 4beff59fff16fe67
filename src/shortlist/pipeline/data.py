"""The pool, the task and the targets of a cell, as stages."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.core import Corpus
from shortlist.data import decontamination
from shortlist.data.files import file_digest
from shortlist.data.folds import CrossValidation, Resplit
from shortlist.data.readers import render
from shortlist.data.splits import PROTECTED, SPLITS, Split, TaskData
from shortlist.errors import InvalidInput
from shortlist.pipeline.compose import APART
from shortlist.pipeline.preparation import (
    VERDICTS,
    Preparation,
    prepare_pool,
    prepare_task,
    save_verdicts,
)
from shortlist.pipeline.stage import Cell, Notes, Stage
from shortlist.progress import forward
from shortlist.store import formats
from shortlist.store.atomic import write_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shortlist.data.readers import RejectedRow
    from shortlist.models.heads.base import Head
    from shortlist.store.cache import Compute
    from shortlist.tasks.base import Task

log = logging.getLogger(__name__)

CORPORA = (*SPLITS, "target")  # of a task in the store
CORPUS = "corpus.arrow"
QUARANTINE = "quarantine.txt"


@dataclass(frozen=True)
class Documents:
    """A corpus in the store: the pool, a part of it, or a task's own texts.

    Attributes:
        stage: the stage whose `corpus.arrow` holds it.
        notes: what the stage adds to the record.
    """

    stage: Stage
    notes: Notes

    @cached_property
    def corpus(self) -> Corpus:
        """The documents, sorted by id."""
        return formats.load_corpus(self.stage.path / CORPUS)

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the corpus."""
        return self.stage.facts["fingerprint"]


@dataclass(frozen=True)
class TaskSplits:
    """The data of a task in the store.

    Attributes:
        task: the task.
        stage: the stage whose `<split>.arrow` files hold it.
        notes: what the stage adds to the record.
    """

    task: Task
    stage: Stage
    notes: Notes

    @property
    def name(self) -> str:
        """The task's name."""
        return self.task.name

    @property
    def head(self) -> Head:
        """What the task's kind adds to a model."""
        return self.task.head(self.labels)

    @cached_property
    def data(self) -> TaskData:
        """All splits and the target."""
        splits: dict[str, Any] = {split: self._load(split) for split in CORPORA}
        labels = tuple(self.labels) if self.labels else None
        return TaskData(**splits, labels=labels, counts=self.stage.facts["counts"])

    @cached_property
    def target(self) -> Corpus:
        """The target: the training texts without labels."""
        return self._load("target")

    @property
    def labels(self) -> list[str] | None:
        """Class names in the order of the model's outputs, or None where there are no classes."""
        return self.stage.facts["labels"]

    def class_numbers(self, split: Split) -> NDArray[np.int64]:
        """Returns (n,) places of the items' classes in `labels`, -1 for a class that is not there."""
        numbers = {label: number for number, label in enumerate(self.labels or ())}
        found = [numbers.get(label, -1) for label in self.data.split(split).labels or ()]
        return np.array(found, dtype=np.int64)

    def fingerprint(self, split: str) -> str:
        """Returns the fingerprint of one of `CORPORA`."""
        return self.stage.facts[split]

    def _load(self, split: str) -> Corpus:
        return formats.load_corpus(self.stage.path / f"{split}.arrow")


def load_pool(cell: Cell) -> Documents:
    """Returns the pool, sorted by id: the order and the cut of its files change nothing.

    Raises:
        InvalidInput: it has no documents.
    """
    pool, source = cell.parts.pool, cell.parts.source

    def compute(directory: Path) -> dict[str, Any]:
        with forward(show=cell.parts.runtime.progress) as report:
            loaded = pool.load(source, report)
        if len(loaded.corpus) == 0:
            raise InvalidInput(
                "the pool has no documents; look at pool.paths, pool.domains and the rejected rows"
            )
        formats.save_corpus(directory / CORPUS, loaded.corpus)
        _save_quarantine(directory, loaded.quarantined)
        return {
            "documents": len(loaded.corpus),
            "fingerprint": loaded.corpus.fingerprint,
            "counts": dict(loaded.counts),
            "revision": loaded.revision,
            "warnings": list(loaded.warnings),
        }

    settings = {k: v for k, v in cell.settings["pool"].items() if k not in APART["pool"]}
    return _prepared_pool(cell, Documents(*_load(cell, "pool", pool, compute, "pool", settings)))


def _prepared_pool(cell: Cell, pool: Documents) -> Documents:
    """Returns the pool after the operations of `pool.prepare`.

    Raises:
        InvalidInput: no document is left.
    """
    preparation = cell.parts.prepare["pool"]
    if not preparation.operations:
        return pool

    def compute(directory: Path) -> dict[str, Any]:
        loaded, prepared = prepare_pool(pool.corpus, preparation)
        if len(loaded.corpus) == 0:
            raise InvalidInput(
                f"pool.prepare: expected documents that pass its rules, found none of "
                f"{len(pool.corpus):,}; loosen its operations"
            )
        formats.save_corpus(directory / CORPUS, loaded.corpus)
        save_verdicts(directory / VERDICTS, pool.corpus.ids, prepared)
        return {
            "documents": len(loaded.corpus),
            "fingerprint": loaded.corpus.fingerprint,
            "counts": {**prepared.counts, "copies_joined": loaded.counts["exact_copies"]},
        }

    inputs = {"pool": pool.fingerprint, **preparation.identity}
    stage = cell.stage("prepare", 1, {"operations": preparation.settings}, inputs, compute)
    return Documents(stage, pool.notes + derived_notes(stage, "pool", "prepare"))


def derived_notes(stage: Stage, name: str, how: str) -> Notes:
    """Returns what a stage that changes documents adds to the record: counts, and the fingerprints
    in place of those of its input.
    """
    counts = {f"{name}_{how}_{fact}": count for fact, count in stage.facts["counts"].items()}
    inputs = {
        f"{name}_{fact}": stage.facts[fact]
        for fact in ("fingerprint", *CORPORA)
        if fact in stage.facts
    }
    return Notes(stages=(stage,), counts=counts, inputs=inputs)


def load_task(cell: Cell) -> TaskSplits:
    """Returns the task's splits and its target.

    Raises:
        InvalidInput: the target has no documents, or no text is held out to measure a loss on.
    """
    task = cell.parts.task
    splits = load_splits(cell, task, "task", cell.settings["task"], "task")
    if cell.parts.until != "select" and len(getattr(splits.data, task.held_out)) == 0:
        raise InvalidInput(
            f"task {task.name} keeps no texts to measure a loss on; set until=select, "
            "or give it more texts or task.test=FILE"
        )
    return splits


def load_targets(cell: Cell, task: TaskSplits) -> dict[str, TaskSplits]:
    """Returns the tasks that documents are chosen for, by name.

    Raises:
        InvalidInput: a target has no documents.
    """
    settings = {
        **(cell.settings.get("targets") or {}),
        **(cell.settings.get("negative_target") or {}),
    }
    targets = {
        name: task
        if target is cell.parts.task
        else load_splits(cell, target, name, settings[name], f"targets.{name}")
        for name, target in cell.parts.targets.items()
    }
    if all(target is not task for target in targets.values()):
        warning = (
            f"documents were chosen for {', '.join(targets)}; the task that is trained and measured "
            f"on, {cell.parts.task.name}, is not one of them"
        )
        log.warning("%s", warning)
        first, target = next(iter(targets.items()))
        targets[first] = replace(target, notes=target.notes + Notes(warnings=(warning,)))
    return targets


def load_splits(
    cell: Cell, task: Any, name: str, settings: Mapping[str, Any], place: str
) -> TaskSplits:
    """Returns the splits of `task`, which the configuration has at `place`; its counts and inputs
    are noted under `name`.

    Raises:
        InvalidInput: the target has no documents.
    """

    def compute(directory: Path) -> dict[str, Any]:
        with forward(show=cell.parts.runtime.progress) as report:
            data = task.load(cell.parts.source, report)
        if len(data.target) == 0:
            raise InvalidInput(
                f"target of task {task.name} has no documents; give it training texts"
            )
        _save_quarantine(directory, data.quarantined)
        for split in CORPORA:
            formats.save_corpus(directory / f"{split}.arrow", getattr(data, split))
        return {
            "labels": data.labels,
            "counts": dict(data.counts),
            "revision": data.revision,
            "warnings": list(data.warnings),
            **{split: getattr(data, split).fingerprint for split in CORPORA},
        }

    # Evaluators decide how a model is measured, not what the data are.
    apart = ("evaluators", *APART["task"])
    data_settings = {key: value for key, value in settings.items() if key not in apart}
    loaded = TaskSplits(task, *_load(cell, "task", task, compute, name, data_settings))
    cut = cell.parts.cut if name == "task" else None
    splits = loaded if cut is None else _cut_task(cell, loaded, name, cut)
    splits = _fed_task(cell, splits, name)
    splits = _prepared_task(cell, splits, name, cell.parts.prepare[place])
    cut_anew = isinstance(cut, Resplit)
    return _compared_splits(cell, splits, name) if task.own_splits or cut_anew else splits


def _compared_splits(cell: Cell, task: TaskSplits, name: str) -> TaskSplits:
    """Returns the task with counts of the examples of a split that repeat another split's, and a
    warning where there are some.
    """

    def compute(directory: Path) -> dict[str, Any]:
        return {"overlaps": [asdict(one) for one in decontamination.find_overlaps(task.data)]}

    inputs = {split: task.fingerprint(split) for split in ("train", *PROTECTED)}
    stage = cell.stage("overlaps", 1, {}, inputs, compute)
    notes = task.notes + Notes(stages=(stage,))
    found: list[str] = []
    for one in stage.facts["overlaps"]:
        split, of, exact, near = (one[key] for key in ("split", "of", "exact", "near"))
        counted = {f"{name}_{split}_repeats_{of}_{how}": one[how] for how in ("exact", "near")}
        notes += Notes(counts=counted)
        found.append(
            f"{exact + near:,} of {one['examples']:,} {split} examples repeat {of} examples "
            f"({exact:,} exactly, {near:,} nearly)"
        )
    if found:
        warning = f"task {task.name}: {'; '.join(found)}: metrics say little about new texts"
        log.warning("%s", warning)
        notes += Notes(warnings=(warning,))
    return replace(task, notes=notes)


def _fed_task(cell: Cell, task: TaskSplits, name: str) -> TaskSplits:
    """Returns the task with the corrections of `task.feedback` in its training split and target."""
    feedback = cell.parts.feedback
    if feedback is None or name != "task":
        return task

    def compute(directory: Path) -> dict[str, Any]:
        data, facts = feedback.join(task.name, task.data)
        return {**save_task(directory, task, data), "feedback": facts}

    inputs = {split: task.fingerprint(split) for split in CORPORA}
    inputs["file"] = file_digest(feedback.path)
    stage = cell.stage("feedback", 2, {"weight": feedback.weight}, inputs, compute)
    facts = stage.facts["feedback"]
    notes = task.notes + derived_notes(stage, name, "feedback")
    notes += Notes(
        selection={"feedback": facts}, inputs={"feedback_fingerprint": facts["fingerprint"]}
    )
    return TaskSplits(task.task, stage, notes)


def _cut_task(
    cell: Cell, loaded: TaskSplits, name: str, cut: CrossValidation | Resplit
) -> TaskSplits:
    """Returns the task with splits cut out of all of its rows: one fold as its test split
    (`task.folds`), or all splits anew (`task.split.by`).

    Raises:
        InvalidInput: there is no such fold, or the rows cannot be dealt.
    """
    task, source = loaded.task, cell.parts.source

    def compute(directory: Path) -> dict[str, Any]:
        values = None
        if cut.column is not None:
            with forward(show=cell.parts.runtime.progress) as report:
                values = task.column(source, cut.column, report)
        return save_task(directory, loaded, cut.split(loaded.name, loaded.data, values))

    what, settings = "split", asdict(cut)
    inputs = {split: loaded.fingerprint(split) for split in CORPORA}
    if cut.column is not None:  # fingerprints do not say what the column holds
        inputs |= {f"files.{k}": v for k, v in task.identity(source).items()}
    if isinstance(cut, CrossValidation):
        what = "fold"
        if cut.column is None:  # folds had no such setting once
            settings.pop("column")
        if cut.test == "fold":
            settings.pop("test")
    stage = cell.stage(what, 1, settings, inputs, compute)
    return TaskSplits(task, stage, loaded.notes + derived_notes(stage, name, what))


def save_task(directory: Path, task: TaskSplits, data: TaskData) -> dict[str, Any]:
    """Writes the splits of a task that is made of another one and returns the stage's facts."""
    for split in CORPORA:
        formats.save_corpus(directory / f"{split}.arrow", getattr(data, split))
    return {
        "labels": data.labels,
        "counts": dict(data.counts),
        "revision": task.stage.facts["revision"],
        **{split: getattr(data, split).fingerprint for split in CORPORA},
    }


def _prepared_task(cell: Cell, task: TaskSplits, name: str, preparation: Preparation) -> TaskSplits:
    """Returns the task after the operations of its `prepare`; its counts are noted under `name`."""
    if not preparation.operations:
        return task

    def compute(directory: Path) -> dict[str, Any]:
        data, verdicts = prepare_task(task.name, task.data, preparation)
        for split, prepared in verdicts.items():
            ids = task.data.split(split).ids
            save_verdicts(directory / f"{split}.{VERDICTS}", ids, prepared)
        return save_task(directory, task, data)

    inputs = {split: task.fingerprint(split) for split in CORPORA} | preparation.identity
    stage = cell.stage("prepare_task", 1, {"operations": preparation.settings}, inputs, compute)
    return TaskSplits(task.task, stage, task.notes + derived_notes(stage, name, "prepare"))


def _load(
    cell: Cell, stage: str, part: Any, compute: Compute, name: str, settings: Mapping[str, Any]
) -> tuple[Stage, Notes]:
    """Returns the stage that loads a pool or a task, and its notes under `name`."""
    settings = {**settings, "source": cell.settings["source"]}
    loaded = cell.stage(stage, part.version, settings, part.identity(cell.parts.source), compute)
    _show_quarantine(cell, name, loaded)
    facts = loaded.facts
    inputs = {f"{name}_{fact}": facts[fact] for fact in ("fingerprint", *CORPORA) if fact in facts}
    if facts["revision"]:
        inputs[f"{name}_revision"] = facts["revision"]
    counts = {f"{name}_{fact}": count for fact, count in facts["counts"].items()}
    warnings = tuple(facts.get("warnings", ()))  # artifacts before 0.2.0 have none
    for warning in warnings:
        log.warning("%s: %s", name, warning)
    return loaded, Notes(stages=(loaded,), counts=counts, inputs=inputs, warnings=warnings)


def _save_quarantine(directory: Path, rows: Sequence[RejectedRow]) -> None:
    if rows:
        (directory / QUARANTINE).write_text(render(rows), encoding="utf-8")


def _show_quarantine(cell: Cell, name: str, stage: Stage) -> None:
    """Copies the list of rejected rows into the run's directory, computed now or earlier."""
    listed = stage.path / QUARANTINE
    if listed.is_file():
        text = listed.read_text(encoding="utf-8")
        shown = write_text(cell.directory / f"{name}_{QUARANTINE}", text)
        rows = text.splitlines()
        log.warning(
            "%s: %d rows rejected, listed in %s; first: %s", name, len(rows), shown, rows[0]
        )
