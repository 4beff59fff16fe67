"""What goes in: the pool, the task, and the pool documents that must never be chosen."""

from __future__ import annotations

import json
import logging
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from shortlist.core import Corpus
from shortlist.data.contamination import KINDS, leaks
from shortlist.data.quarantine import render
from shortlist.data.task import TaskData
from shortlist.errors import InvalidInput
from shortlist.progress import forward
from shortlist.store import formats
from shortlist.store.atomic import write_jsonl, write_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from shortlist.data.quarantine import BadRow
    from shortlist.pipeline.context import Compute, Context
    from shortlist.store.cache import Artifact

log = logging.getLogger(__name__)

QUARANTINE = "quarantine.txt"
LEAKS = "leaks.jsonl"
PROTECTED = ("validation", "test")
SPLITS = ("train", "validation", "test", "target")

_FATE = {"drop": "they are never chosen", "report": "they stay", "refuse": ""}


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
    if (
        cell.parts.until != "select"
        and len(formats.load_corpus(made.path / f"{part.held_out}.arrow")) == 0
    ):
        raise InvalidInput(
            f"task {part.name} keeps no texts to measure a loss on; set until=select, "
            "or give it more texts or task.test=FILE"
        )
    return made


def load_lesson(cell: Context, part: Any, settings: Mapping[str, Any]) -> Artifact:
    """Returns the splits of the task that the model is taught before anything else."""
    return _load_splits(cell, part, "lesson", settings)


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
    cell.targets = targets
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

    # How a model is questioned decides nothing about the data.
    data = {key: value for key, value in settings.items() if key != "evaluators"}
    return _note(cell, "task", part, compute, name, data)


def task_data(task: Artifact) -> TaskData:
    """Returns the task's data out of its artifact."""
    splits: dict[str, Any] = {
        split: formats.load_corpus(task.path / f"{split}.arrow") for split in SPLITS
    }
    labels = task.facts["labels"]
    return TaskData(**splits, labels=tuple(labels) if labels else None, counts=task.facts["counts"])


def check_leaks(
    cell: Context, pool: Artifact, task: Artifact, targets: Mapping[str, Artifact], of: str = "pool"
) -> Artifact:
    """Returns the pool documents that repeat a validation or test text, and which are excluded.

    The texts are the task's, those that its evaluators measure on beside them, and those of every
    other target that documents are chosen toward: whoever is served by the selection may be measured
    after it. `of` is what `pool` is called.

    `leaks.json` in it holds what is never selected: under `leaks.action=report` nothing. The list
    of all, with the texts side by side, is `leaks.jsonl`, here and in the run's directory.

    Raises:
        InvalidInput: there are such documents, and `leaks.action` is `refuse`.
    """
    action, nothing = cell.parts.leaks, Corpus.build([]).fingerprint
    toward = [name for name, weight in cell.parts.aims.weights.items() if weight >= 0]
    others = {name: made for name, made in targets.items() if name in toward and made is not task}
    texts_of = [("", task, split) for split in PROTECTED]
    texts_of += [
        (f"{name}.", other, split)
        for name, other in others.items()
        for split in PROTECTED
        if other.facts[split] != nothing
    ]
    for name, evaluator in cell.parts.task.evaluators.items():
        measured = evaluator.texts(cell.parts.source, cell.stage)
        if measured is not None:
            texts_of.append((f"{name}.", measured, "texts"))

    def compute(directory: Path) -> dict[str, Any]:
        documents = formats.load_corpus(pool.path / "corpus.arrow")
        rows: list[dict[str, Any]] = []
        for owner, source, split in texts_of:
            protected = formats.load_corpus(source.path / f"{split}.arrow")
            found = leaks(documents, protected)
            texts = _texts_of(documents, {leak.id for leak in found})
            repeated = _texts_of(protected, {leak.where for leak in found})
            rows += [
                {
                    **asdict(leak),
                    "split": f"{owner}{split}",
                    "text": texts[leak.id],
                    "repeats": repeated[leak.where],
                }
                for leak in found
            ]
        write_jsonl(directory / LEAKS, rows)
        strongest: dict[str, str] = {}
        for row in sorted(rows, key=lambda row: KINDS.index(row["kind"])):
            strongest.setdefault(row["id"], row["kind"])
        excluded = {} if action == "report" else strongest
        excluded_text = json.dumps(excluded, sort_keys=True, indent=1)
        (directory / "leaks.json").write_text(excluded_text + "\n", encoding="utf-8")
        kinds = Counter(strongest.values())
        first = min(strongest) if strongest else ""
        return {
            "leaked": len(strongest),
            "first": first,
            "kinds": {kind: kinds[kind] for kind in KINDS},
        }

    inputs = {
        "pool": pool.facts["fingerprint"],
        **{f"{owner}{split}": source.facts[split] for owner, source, split in texts_of},
    }
    # `refuse` finds what `drop` finds: the two share what is stored.
    made = cell.stage("leaks", 2, {"keep": action == "report"}, inputs, compute)
    found, kinds = made.facts["leaked"], made.facts["kinds"]
    prefix = "" if of == "pool" else f"{of}_"
    cell.counts[f"{prefix}leaked"] = found
    cell.selected[f"{prefix}leaks"] = {"action": action, **kinds}
    if not found:
        return made
    listed = (made.path / LEAKS).read_text(encoding="utf-8")
    shown = write_text(cell.directory / f"{prefix}{LEAKS}", listed)
    what = f"{found:,} documents of the {of} repeat validation or test texts " + (
        f"({', '.join(f'{kind} {n:,}' for kind, n in kinds.items() if n)})"
    )
    if action == "refuse":
        raise InvalidInput(
            f"expected a {of} without evaluation texts (leaks.action=refuse), found: {what}; first: "
            f"{made.facts['first']}; listed in {shown}; remove them or set leaks.action=drop"
        )
    if action == "report":
        cell.warnings.append(f"{what} and stay (leaks.action=report)")
    log.warning("leaks: %s; %s; listed in %s", what, _FATE[action], shown)
    return made


def candidates(
    cell: Context,
    pool: Artifact,
    task: Artifact,
    targets: Mapping[str, Artifact],
    leaked: Artifact,
) -> tuple[Artifact, Artifact]:
    """Returns what is chosen from, and which of it must never be: the pool, or the task's own texts
    where the selector chooses among those.
    """
    if not cell.parts.selector.traits.chooses_target:
        return pool, leaked
    made = task_texts(cell, task)
    return made, check_leaks(cell, made, task, targets, "target")


def task_texts(cell: Context, task: Artifact) -> Artifact:
    """Returns the task's training texts as a pool: `corpus.arrow`."""

    def compute(directory: Path) -> dict[str, Any]:
        texts = formats.load_corpus(task.path / "target.arrow")
        formats.save_corpus(directory / "corpus.arrow", texts)
        return {"documents": len(texts), "fingerprint": texts.fingerprint}

    return cell.stage("candidates", 1, {}, {"target": task.facts["target"]}, compute)


def _texts_of(corpus: Corpus, ids: set[str]) -> dict[str, str]:
    """Returns the texts of these documents by id; those of a pair are joined by a line break."""
    named = zip(corpus.ids, corpus.joined(), strict=True)
    return {key: text for key, text in named if key in ids}


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
