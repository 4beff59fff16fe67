"""What goes in: the pool, the task, and the pool documents that must never be chosen."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from shortlist.core import Corpus
from shortlist.data.contamination import leaks
from shortlist.data.quarantine import render
from shortlist.errors import InvalidInput
from shortlist.progress import forward
from shortlist.store import formats
from shortlist.store.atomic import write_text
from shortlist.tasks.base import TaskData

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from shortlist.data.quarantine import BadRow
    from shortlist.stages.context import Compute, Context
    from shortlist.store.cache import Artifact

log = logging.getLogger(__name__)

QUARANTINE = "quarantine.txt"
SPLITS = ("train", "validation", "test", "target")


def load_pool(cell: Context) -> Artifact:
    """Returns the pool, sorted by id: how its files were ordered or cut leaves no trace.

    Raises:
        InvalidInput: it has no documents.
    """
    part, source = cell.parts.pool, cell.parts.source

    def compute(directory: Path) -> dict[str, Any]:
        with forward(show=cell.parts.runtime.progress) as report:
            loaded = part.load(source, report)
        if len(loaded.corpus) == 0:
            raise InvalidInput(
                "the pool has no documents; look at pool.paths, pool.domains and what was set aside"
            )
        formats.save_corpus(directory / "corpus.arrow", loaded.corpus)
        _save_quarantine(directory, loaded.quarantined)
        return {
            "documents": len(loaded.corpus),
            "fingerprint": loaded.corpus.fingerprint,
            "counts": dict(loaded.counts),
            "revision": loaded.revision,
        }

    settings = {name: value for name, value in cell.config["pool"].items() if name != "prefilter"}
    return _note(cell, "pool", part, compute, "pool", settings)


def load_task(cell: Context) -> Artifact:
    """Returns the task's splits and its target: the training texts without labels.

    Raises:
        InvalidInput: the target has no documents, or no text is kept to measure a loss on.
    """
    part = cell.parts.task
    made = _load_splits(cell, part, "task", cell.config["task"])
    if cell.parts.until != "select" and len(formats.load_corpus(made.path / "test.arrow")) == 0:
        raise InvalidInput(
            f"task {part.name} keeps no texts to measure a loss on; set until=select, "
            "or give it more texts or task.test=FILE"
        )
    return made


def load_targets(cell: Context, task: Artifact) -> dict[str, Artifact]:
    """Returns the tasks that documents are chosen for, by name: `task` alone where none are named.

    Raises:
        InvalidInput: a target has no documents.
    """
    named = {**(cell.config.get("targets") or {}), **(cell.config.get("negative_target") or {})}
    targets = {
        name: task if part is cell.parts.task else _load_splits(cell, part, name, named[name])
        for name, part in cell.parts.targets.items()
    }
    if task not in targets.values():
        told = (
            f"documents were chosen for {', '.join(targets)}; the task that is trained and measured "
            f"on, {cell.parts.task.name}, is not one of them"
        )
        cell.warnings.append(told)
        log.warning("%s", told)
    return targets


def _load_splits(cell: Context, part: Any, name: str, settings: Mapping[str, Any]) -> Artifact:
    """Returns the splits of the task `part`; `name` is what its counts are called."""
    source = cell.parts.source

    def compute(directory: Path) -> dict[str, Any]:
        with forward(show=cell.parts.runtime.progress) as report:
            data = part.load(source, report)
        if len(data.target) == 0:
            raise InvalidInput(
                f"target of task {part.name} has no documents; give it training texts"
            )
        _save_quarantine(directory, data.quarantined)
        facts: dict[str, Any] = {
            "labels": data.labels,
            "counts": dict(data.counts),
            "revision": data.revision,
        }
        for split in SPLITS:
            corpus: Corpus = getattr(data, split)
            formats.save_corpus(directory / f"{split}.arrow", corpus)
            facts[split] = corpus.fingerprint
        return facts

    return _note(cell, "task", part, compute, name, settings)


def task_data(task: Artifact) -> TaskData:
    """Returns the task's data out of its artifact."""
    splits: dict[str, Any] = {
        split: formats.load_corpus(task.path / f"{split}.arrow") for split in SPLITS
    }
    labels = task.facts["labels"]
    return TaskData(**splits, labels=tuple(labels) if labels else None, counts=task.facts["counts"])


def check_leaks(cell: Context, pool: Artifact, task: Artifact) -> Artifact:
    """Returns the pool documents that repeat a validation or test text: they are never selected."""

    def compute(directory: Path) -> dict[str, Any]:
        documents = formats.load_corpus(pool.path / "corpus.arrow")
        found = {
            leak.id: f"{leak.kind} {split}"
            for split in ("validation", "test")
            for leak in leaks(documents, formats.load_corpus(task.path / f"{split}.arrow"))
        }
        text = json.dumps(found, sort_keys=True, indent=1)
        (directory / "leaks.json").write_text(text + "\n", encoding="utf-8")
        return {"leaked": len(found)}

    protected = {split: task.facts[split] for split in ("validation", "test")}
    inputs = {"pool": pool.facts["fingerprint"], **protected}
    made = cell.stage("leaks", 1, {}, inputs, compute)
    cell.counts["leaked"] = made.facts["leaked"]
    return made


def candidates(
    cell: Context, pool: Artifact, task: Artifact, leaked: Artifact
) -> tuple[Artifact, Artifact]:
    """Returns what is chosen from, and which of it must never be: the pool, or the task's own texts
    where the selector chooses among those.
    """
    if not cell.parts.selector.chooses_target:
        return pool, leaked

    def compute(directory: Path) -> dict[str, Any]:
        texts = formats.load_corpus(task.path / "target.arrow")
        formats.save_corpus(directory / "corpus.arrow", texts)
        return {"documents": len(texts), "fingerprint": texts.fingerprint}

    made = cell.stage("candidates", 1, {}, {"target": task.facts["target"]}, compute)
    return made, check_leaks(cell, made, task)


def _note(
    cell: Context, stage: str, part: Any, compute: Compute, name: str, settings: Mapping[str, Any]
) -> Artifact:
    settings = {**settings, "source": cell.config["source"]}
    made = cell.stage(stage, part.version, settings, part.identity(cell.parts.source), compute)
    _show_quarantine(cell, name, made)
    cell.counts |= {f"{name}_{fact}": count for fact, count in made.facts["counts"].items()}
    prints = {fact: made.facts[fact] for fact in ("fingerprint", *SPLITS) if fact in made.facts}
    cell.inputs |= {f"{name}_{fact}": value for fact, value in prints.items()}
    if made.facts["revision"]:
        cell.inputs[f"{name}_revision"] = made.facts["revision"]
    return made


def _save_quarantine(directory: Path, rows: Sequence[BadRow]) -> None:
    if rows:
        (directory / QUARANTINE).write_text(render(rows), encoding="utf-8")


def _show_quarantine(cell: Context, name: str, made: Artifact) -> None:
    """Puts the list of unreadable rows where the user looks, computed now or earlier."""
    listed = made.path / QUARANTINE
    if listed.is_file():
        text = listed.read_text(encoding="utf-8")
        shown = write_text(cell.directory / f"{name}_{QUARANTINE}", text)
        rows = text.splitlines()
        log.warning(
            "%s: %d rows were set aside, listed in %s; first: %s", name, len(rows), shown, rows[0]
        )
