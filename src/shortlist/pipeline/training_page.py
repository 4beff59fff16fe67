"""The trainings of a cell and their sections of its page, from the store and the record."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from shortlist.diagnostics.training_sections import Training, evaluation_section, training_section
from shortlist.pipeline.compression import STAGE
from shortlist.trainers.base import RANGE_TEST
from shortlist.trainers.curves import Curve

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shortlist.core import Record
    from shortlist.diagnostics.datasheet.page import Section
    from shortlist.pipeline.stage import Cell

NAMES = {"warmup": "warm-up", "finetune": "fine-tuning"}


def trainings_of(cell: Cell, record: Record) -> dict[str, Training]:
    """Returns the trainings of a cell by the name of their stage; one that was stored by a version
    without curves is left out.
    """
    parts, found = cell.parts, dict[str, Training]()
    names = NAMES | {f"{STAGE}{step}": f"training of {step}" for step in parts.compressions}
    trainers = {f"{STAGE}{step}": one for step, one in parts.compressions.items()}
    trainers["finetune"] = parts.finetune
    for stage in record.stages:
        if stage.stage not in names:
            continue
        directory = cell.store.root / stage.stage / stage.key
        curve = Curve.read(directory)
        if curve is None:
            continue
        path = directory / RANGE_TEST
        test: Any = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        one = Training(names[stage.stage], curve, range_test=test)
        if stage.stage in trainers:
            metric = str(getattr(trainers[stage.stage], "metric", None) or parts.task.primary)
            sign = 1 if parts.task.higher_is_better(metric) else -1
            one = replace(one, metric=metric, sign=sign)
        else:
            ends = [
                record.metric(f"{parts.warmup.objective}_loss_{end}") for end in ("before", "after")
            ]
            if ends[0] and ends[1]:
                one = replace(one, held_out=(ends[0].value, ends[1].value))
        found[stage.stage] = one
    return found


def training_sections(record: Record, trainings: Iterable[Training]) -> tuple[Section, ...]:
    """Returns the sections of the page on the trainings, where there are any, and on what the
    evaluation found for each class, where it did.
    """
    sections: list[Section] = []
    if curves := list(trainings):
        sections.append(training_section(curves))
    details: Any = record.selection.get("evaluation") or {}
    if details.get("per_class") or details.get("confusion"):
        sections.append(evaluation_section(details))
    return tuple(sections)
