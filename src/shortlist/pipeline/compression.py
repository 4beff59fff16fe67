"""Smaller models of the fine-tuned one: made one of the other, each measured once on the test
items.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.compression.base import Given
from shortlist.compression.size import size_of
from shortlist.core import Metric, pack_item_scores
from shortlist.diagnostics.compression_page import CompressedModel, compression_page
from shortlist.diagnostics.datasheet.page import html
from shortlist.errors import InvalidInput
from shortlist.models.checkpoint import outline
from shortlist.pipeline.base_model import CellModel
from shortlist.pipeline.calibration import calibrate
from shortlist.pipeline.evaluation import evaluate_predictions
from shortlist.pipeline.stage import Cell, Notes
from shortlist.pipeline.training import validation_of
from shortlist.store.atomic import write_text
from shortlist.trainers.base import TrainingModule

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shortlist.compression.base import Compression
    from shortlist.core import Record
    from shortlist.pipeline.data import TaskSplits
    from shortlist.pipeline.evaluation import Evaluated

log = logging.getLogger(__name__)

PAGE = "compression.html"
STAGE = "compress_"  # before the name of a compression: its stage
ORIGINAL = "finetune"  # the model that is made smaller


def check_compressions(cell: Cell) -> None:
    """Refuses, before anything is computed, architectures and machines that a compression does not
    allow. A model that has to be trained first is checked when it is there.

    Raises:
        InvalidInput: there is one.
    """
    parts = cell.parts
    steps = parts.compressions
    for name, step in steps.items():
        if step.last and parts.runtime.device.type != "cpu":
            raise InvalidInput(
                f"compress.{name} predicts on the CPU, found {parts.runtime.device}; set "
                "runtime.accelerator=cpu"
            )
    if steps and not parts.model.requires_training:
        model = outline(parts.model.directory())
        for step in steps.values():
            model = step.outline(model)


def compress(
    training: Cell, evaluation: Cell, tuned: CellModel, task: TaskSplits, evaluated: Evaluated
) -> Notes:
    """Returns the stages, sizes and metrics of the smaller models that `compress` names; nothing
    where it is off. A page with the table is written into the directory of the run.

    The first is made of the fine-tuned model, every other one of the model before it. For the
    primary metric M and a model NAME the metrics are M_NAME and M_gain_of_NAME: its item scores
    less those of the fine-tuned model, hence paired by item.
    """
    steps, before, notes = training.parts.compressions, tuned, Notes()
    if not steps:
        return notes
    original = size_of(tuned.notes.stages[-1].path)
    notes += _counts(ORIGINAL, original)
    for name, step in steps.items():
        after = _smaller(training, name, step, before, task)
        notes += after.notes + _measured(evaluation, name, after, task, evaluated)
        before = after
    primary = next(metric for metric in evaluated.notes.metrics if metric.primary)
    rows = compressed_models(tuple(steps), primary, notes)
    write_text(
        training.directory / PAGE, html(compression_page(training.parts.task.name, rows, None))
    )
    log.info("compression: sizes and metrics in %s", training.directory / PAGE)
    return notes


def _smaller(
    cell: Cell, name: str, step: Compression, before: CellModel, task: TaskSplits
) -> CellModel:
    """Returns the model that a compression makes of the one before."""
    parts, seed = cell.parts, cell.parts.seed
    own = step if isinstance(step, TrainingModule) else None

    def compute(directory: Path) -> dict[str, Any]:
        validation = validation_of(parts.task, task, getattr(step, "metric", None))
        given = Given(task.data.train, validation, task.head, parts.finetune, seed, parts.runtime)
        facts = step.compress(before.model.directory(), directory, given)
        return {**facts, **size_of(directory)}

    inputs = {"model": before.model.key, "train": task.fingerprint("train"), **step.reads()}
    inputs["validation"] = task.fingerprint("validation")
    inputs |= {f"read_{name}": one for name, one in parts.finetune.identity(parts.runtime).items()}
    inputs |= own.identity(parts.runtime) if own else {}
    own_settings = next(one for one in cell.settings["compress"] if one["name"] == name)
    settings = {**own_settings, "seed": seed, "labels": task.labels}
    settings |= {"read_length": parts.finetune.max_length, "primary": parts.task.primary}
    stage, model = cell.model(f"{STAGE}{name}", step.version, settings, inputs, compute)
    facts = {fact: value for fact, value in stage.facts.items() if isinstance(value, int)}
    return CellModel(model, Notes(stages=(stage,)) + _counts(name, facts))


def _counts(name: str, facts: dict[str, int]) -> Notes:
    return Notes(counts={f"{STAGE}{name}_{fact}": count for fact, count in facts.items()})


def _measured(
    cell: Cell, name: str, model: CellModel, task: TaskSplits, original: Evaluated
) -> Notes:
    """Returns the primary metric of a model on the test items, and its difference from the
    original.
    """
    spec = cell.parts.task
    own = evaluate_predictions(cell, model, task, f"evaluate_{name}")
    metric = next(one for one in own.notes.metrics if one.primary)
    items, known = (
        spec.item_scores(np.load(one.stage.path / "predictions.npy"), task.data)[metric.name]
        for one in (own, original)
    )
    value = replace(metric, name=f"{metric.name}_{name}", primary=False)
    gain = items - known
    gained = replace(gain_of(metric, gain), name=f"{metric.name}_gain_of_{name}")
    of = ((value, items), (gained, gain))
    scores = {one.name: pack_item_scores(values) for one, values in of}
    notes = Notes(own.notes.stages, own.notes.counts, metrics=(value, gained), item_scores=scores)
    return notes + calibrate(cell, model, task, own, name)


def gain_of(metric: Metric, gain: NDArray[np.float64]) -> Metric:
    """Returns the mean of the (n,) differences of a metric's item scores between two models, whose
    standard error is hence paired by item.
    """
    error = float(gain.std(ddof=1)) / len(gain) ** 0.5 if len(gain) > 1 else None
    return replace(
        metric, unit="fraction_gained", value=float(gain.mean()), stderr=error, primary=False
    )


def compressed_models(
    names: tuple[str, ...], primary: Metric, found: Notes | Record
) -> tuple[CompressedModel, ...]:
    """Returns the rows of the table: the fine-tuned model, then those made of it.

    Args:
        names: names of the compressions, in order.
        primary: the metric of the fine-tuned model.
        found: notes or a record with their counts and metrics.
    """
    metrics = {metric.name: metric for metric in found.metrics}

    def row(name: str, metric: Metric, gain: Metric | None) -> CompressedModel:
        size = {one: found.counts[f"{STAGE}{name}_{one}"] for one in ("parameters", "bytes")}
        return CompressedModel(name, size["parameters"], size["bytes"], metric, gain)

    rows = [row(ORIGINAL, primary, None)]
    for name in names:
        own, gain = (f"{primary.name}_{part}{name}" for part in ("", "gain_of_"))
        rows.append(row(name, metrics[own], metrics[gain]))
    return tuple(rows)


def names_of(record: Record) -> tuple[str, ...]:
    """Returns the names of a run's compressions, in their order."""
    stages = (stage.stage for stage in record.stages if stage.stage.startswith(STAGE))
    return tuple(name.removeprefix(STAGE) for name in stages)
