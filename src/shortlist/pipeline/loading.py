"""What a cell reads: pool, task, targets, leaks, and the copies of its training rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from shortlist.models.masked_words import MaskedWords
from shortlist.pipeline.base_model import with_head
from shortlist.pipeline.candidates import CellData
from shortlist.pipeline.data import (
    CORPORA,
    TaskSplits,
    derived_notes,
    load_pool,
    load_targets,
    load_task,
    save_task,
)
from shortlist.pipeline.leaks import check_leaks
from shortlist.pipeline.preparation import augment_task
from shortlist.pipeline.stage import Cell, Notes
from shortlist.prepare.augment import Augmenter


def load_data(cell: Cell) -> CellData:
    """Returns pool, task and targets, and the pool's documents that repeat evaluation texts.

    Raises:
        InvalidInput: pool or target has no documents, no text is held out to measure a loss on, or
            there are leaks and `leaks.action` is `refuse`.
    """
    pool, task = load_pool(cell), load_task(cell)
    targets = load_targets(cell, task)
    leaks = check_leaks(cell, pool, task, targets, against_targets=cell.parts.leaks.targets)
    data = CellData(pool, task, targets, leaks)
    how = cell.parts.augmentation
    return data if how is None else _augmented(cell, data, how)


def _augmented(cell: Cell, data: CellData, how: Augmenter) -> CellData:
    """Returns the same data; the task has changed copies of its training rows.

    A masked LM without a head gets it from the pool, by the stage that gives it to a base model.
    """
    task, settings = data.task, cell.settings["task"]["augment"]
    inputs = {split: task.fingerprint(split) for split in CORPORA}
    headed = None
    if how.masked_lm is not None:
        headed = with_head(cell, how.masked_lm, settings["model"].get("head"), data)
        inputs["model"] = headed.model.key

    def compute(directory: Path) -> dict[str, Any]:
        words = None
        if headed is not None:
            length, runtime = settings["max_length"], cell.parts.runtime
            words = MaskedWords(headed.model.directory(), length, runtime)
        augmented, counts = augment_task(task.data, how, words)
        return {**save_task(directory, task, augmented), "augmented": counts}

    stage = cell.stage("augment", how.version, settings, inputs, compute)
    made = Notes() if headed is None else headed.notes
    notes = task.notes + made + derived_notes(stage, "task", "augment")
    grown = TaskSplits(task.task, stage, notes)
    targets = {name: grown if one is task else one for name, one in data.targets.items()}
    return replace(data, task=grown, targets=targets)
