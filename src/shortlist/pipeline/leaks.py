"""Leaks of a cell: documents that repeat a text that must not be selected."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.core import Corpus
from shortlist.data.decontamination import KINDS, find_leaks, find_semantic_leaks
from shortlist.data.splits import PROTECTED
from shortlist.errors import InvalidInput
from shortlist.featurizers.base import embed
from shortlist.pipeline.stage import Cell, Notes, Stage
from shortlist.store import formats
from shortlist.store.atomic import write_jsonl, write_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shortlist.featurizers.base import Featurizer
    from shortlist.pipeline.data import Documents, TaskSplits
    from shortlist.runtime import Runtime

log = logging.getLogger(__name__)

LEAKS = "leaks.jsonl"  # every leak, with both texts
EXCLUDED = "excluded.json"  # the documents that may not be selected, with the kind of leak

_CONSEQUENCE = {"drop": "they are never selected", "report": "they stay", "refuse": ""}


@dataclass(frozen=True)
class LeakCheck:
    """Documents that repeat an evaluation text, and which of them may not be selected.

    Attributes:
        stage: the stage that compared the texts.
        notes: what it adds to the record.
    """

    stage: Stage
    notes: Notes

    @cached_property
    def excluded(self) -> Mapping[str, str]:
        """The kind of leak by id of the documents that may not be selected; under
        `leaks.action=report` there is none.
        """
        return json.loads((self.stage.path / EXCLUDED).read_text(encoding="utf-8"))


def check_leaks(
    cell: Cell,
    documents: Documents,
    task: TaskSplits,
    targets: Mapping[str, TaskSplits],
    name: str = "pool",
    against_targets: bool = False,
) -> LeakCheck:
    """Returns which documents repeat a validation or test text, and which may not be selected.

    Evaluation texts are those of the task, those that its evaluators measure on beside them, and
    those of every other target that documents are chosen toward, since a model may be evaluated on
    it as well. `leaks.jsonl`, in the artifact and in the run's directory, lists every leak with
    both texts; `excluded.json` holds what may not be selected: nothing under `leaks.action=report`.

    Args:
        cell: the cell.
        documents: the documents that are compared with the evaluation texts.
        task: the task.
        targets: the targets by name.
        name: what the documents are called in counts, messages and file names.
        against_targets: whether the texts to select toward (`leaks.targets`) count as well.

    Raises:
        InvalidInput: there are leaks, and `leaks.action` is `refuse`.
    """
    action, semantic = cell.parts.leaks.action, cell.parts.leaks.semantic
    protected, evaluator_stages = evaluation_texts(cell, task, targets)
    if against_targets:
        protected |= protected_targets(cell, targets)

    def compute(directory: Path) -> dict[str, Any]:
        corpus, runtime = documents.corpus, cell.parts.runtime
        own = None if semantic is None else _embedded(semantic.vectors, corpus, runtime)
        rows: list[dict[str, Any]] = []
        for split, (stage, file) in protected.items():
            texts = formats.load_corpus(stage.path / f"{file}.arrow")
            found = find_leaks(corpus, texts)
            if semantic is not None and own is not None and len(texts):
                said = {leak.id for leak in found}
                ids = texts.ids if texts.texts_b is None else [*texts.ids, *texts.ids]
                theirs = _embedded(semantic.vectors, texts, runtime)
                near = find_semantic_leaks(corpus, own, ids, theirs, semantic.threshold)
                found += [leak for leak in near if leak.id not in said]
            leaked = _texts_of(corpus, {leak.id for leak in found})
            repeated = _texts_of(texts, {leak.where for leak in found})
            rows += [
                {
                    **asdict(leak),
                    "split": split,
                    "text": leaked[leak.id],
                    "repeats": repeated[leak.where],
                }
                for leak in found
            ]
        write_jsonl(directory / LEAKS, rows)
        strongest: dict[str, str] = {}
        for row in sorted(rows, key=lambda row: KINDS.index(row["kind"])):
            strongest.setdefault(row["id"], row["kind"])
        excluded = {} if action == "report" else strongest
        text = json.dumps(excluded, sort_keys=True, indent=1) + "\n"
        (directory / EXCLUDED).write_text(text, encoding="utf-8")
        kinds = Counter(strongest.values())
        return {
            "leaked": len(strongest),
            "first": min(strongest, default=""),
            "kinds": {kind: kinds[kind] for kind in KINDS if semantic or kind != "semantic"},
        }

    inputs = {
        "pool": documents.fingerprint,
        **{split: stage.facts[file] for split, (stage, file) in protected.items()},
    }
    # `refuse` finds what `drop` finds: the two share an artifact.
    settings: dict[str, Any] = {"keep": action == "report"}
    if semantic is not None:
        settings |= {"semantic": semantic.threshold, "vectors": cell.settings["leaks"]["vectors"]}
        inputs |= semantic.vectors.identity(cell.parts.runtime)
    stage = cell.stage("leaks", 3, settings, inputs, compute)
    kinds = stage.facts["kinds"]
    prefix = "" if name == "pool" else f"{name}_"
    notes = Notes(
        stages=(*evaluator_stages, stage),
        counts={f"{prefix}leaked": stage.facts["leaked"]},
        selection={f"{prefix}leaks": {"action": action, **kinds}},
    )
    if not stage.facts["leaked"]:
        return LeakCheck(stage, notes)
    listed = write_text(
        cell.directory / f"{prefix}{LEAKS}", (stage.path / LEAKS).read_text(encoding="utf-8")
    )
    of = "target, validation" if against_targets else "validation"
    summary = (
        f"{stage.facts['leaked']:,} documents of the {name} repeat {of} or test texts "
        f"({', '.join(f'{kind} {count:,}' for kind, count in kinds.items() if count)})"
    )
    if action == "refuse":
        raise InvalidInput(
            f"expected a {name} without evaluation texts (leaks.action=refuse), found: {summary}; "
            f"first: {stage.facts['first']}; listed in {listed}; remove them or set "
            "leaks.action=drop"
        )
    log.warning("leaks: %s; %s; listed in %s", summary, _CONSEQUENCE[action], listed)
    if action == "report":
        notes += Notes(warnings=(f"{summary} and stay (leaks.action=report)",))
    return LeakCheck(stage, notes)


def _embedded(vectors: Featurizer, documents: Corpus, runtime: Runtime) -> NDArray[np.float32]:
    """Returns (n, d) embeddings of documents; of a pair, of its first texts, then of its second.

    Raises:
        InvalidInput: `leaks.vectors` gives sparse vectors, or such that are not finite.
    """
    parts: list[NDArray[np.float32]] = []
    for texts in (documents.texts, documents.texts_b):
        if texts is not None:
            parts.append(embed(vectors, Corpus.build(texts), runtime, "featurizer@leaks.vectors"))
    return np.concatenate(parts)


def protected_targets(
    cell: Cell, targets: Mapping[str, TaskSplits]
) -> dict[str, tuple[Stage, str]]:
    """Returns stage and file of the training texts of the targets to select toward (a pair's two
    texts each by itself) and of the texts that stand for them.
    """
    empty = Corpus.build([]).fingerprint
    return {
        f"{name}.{file}": (targets[name].stage, file)
        for name, weight in cell.parts.target_spec.weights.items()
        for file in ("train", "target")
        if weight > 0 and targets[name].stage.facts[file] != empty
    }


def evaluation_texts(
    cell: Cell, task: TaskSplits, targets: Mapping[str, TaskSplits]
) -> tuple[dict[str, tuple[Stage, str]], list[Stage]]:
    """Returns stage and file of every evaluation text by the name of its split, and the stages of
    the evaluators among them.
    """
    empty = Corpus.build([]).fingerprint
    texts = {split: (task.stage, split) for split in PROTECTED}
    for name, weight in cell.parts.target_spec.weights.items():
        target = targets.get(name)
        if target is None or target is task or weight < 0:
            continue
        texts |= {
            f"{name}.{split}": (target.stage, split)
            for split in PROTECTED
            if target.fingerprint(split) != empty
        }
    stages: list[Stage] = []
    for name, evaluator in cell.parts.task.evaluators.items():
        stage = evaluator.texts(cell.parts.source, cell.stage)
        if stage is not None:
            texts[f"{name}.texts"] = (stage, "texts")
            stages.append(stage)
    return texts, stages


def _texts_of(corpus: Corpus, ids: set[str]) -> dict[str, str]:
    """Returns the texts of these documents by id; those of a pair are joined by a line break."""
    named = zip(corpus.ids, corpus.joined(), strict=True)
    return {key: text for key, text in named if key in ids}
