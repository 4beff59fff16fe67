"""The lesson before the cell: a model is fine-tuned on another task's labels."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from shortlist.core import digest
from shortlist.errors import InvalidInput
from shortlist.models.pretrained import StoredModel
from shortlist.pipeline.inputs import check_leaks, load_lesson, task_texts
from shortlist.store import formats

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from shortlist.models.pretrained import IntermediateModel
    from shortlist.pipeline.context import Context


def taught(cell: Context, model: IntermediateModel, written: Mapping[str, Any]) -> StoredModel:
    """Returns the model after its lesson; `written` are its settings.

    Every cell shares it, but for those of tasks whose evaluation texts are among the lesson's
    training examples: these are left out of it.

    Raises:
        InvalidInput: no example is left.
    """
    lesson = load_lesson(cell, model.intermediate_task, written["intermediate_task"])
    texts = task_texts(cell, lesson)
    leaked = check_leaks(cell, texts, cell.made("task"), cell.targets, "lesson")
    excluded = json.loads((leaked.path / "leaks.json").read_text(encoding="utf-8"))
    train = formats.load_corpus(lesson.path / "train.arrow")
    found = formats.load_corpus(texts.path / "corpus.arrow")
    keys = dict(zip(found.texts, found.ids, strict=True))
    kept = [row for row, text in enumerate(train.joined()) if keys[text] not in excluded]
    if not kept:
        raise InvalidInput(
            f"all {len(train):,} examples of {model.intermediate_task.name} repeat evaluation texts; "
            "choose another model.intermediate_task"
        )
    trainer, runtime, labels = model.trainer, cell.parts.runtime, lesson.facts["labels"]

    def compute(directory: Path) -> dict[str, Any]:
        home = model.base.directory()
        return trainer.train_on(
            home, train.take(kept), None, labels, directory, model.seed, runtime
        )

    inputs = {"train": lesson.facts["train"], **model.identity(), **trainer.identity(runtime)}
    if len(kept) < len(train):
        inputs["left_out"] = digest(sorted(excluded))
    settings = {"teaching": written["trainer"], "seed": model.seed, "labels": labels}
    settings["trainer"] = trainer.version
    made = cell.stage("taught", model.version, settings, inputs, compute)
    cell.counts |= {"lesson_examples": len(kept), "lesson_left_out": len(train) - len(kept)}
    cell.counts["lesson_truncated"] = made.facts["truncated"]
    return StoredModel(made.path, made.key, model.head)
