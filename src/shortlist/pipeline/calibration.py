"""Calibration of a fine-tuned classifier: fitted on validation items, measured on test items."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.core import Metric, digest, pack_item_scores
from shortlist.diagnostics.calibration_page import calibration_page
from shortlist.diagnostics.datasheet.page import html
from shortlist.pipeline.stage import Notes
from shortlist.stats.calibration import MEASURES, measure
from shortlist.store.atomic import write_text

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.data.splits import Split
    from shortlist.pipeline.base_model import CellModel
    from shortlist.pipeline.data import TaskSplits
    from shortlist.pipeline.evaluation import Evaluated
    from shortlist.pipeline.stage import Cell

log = logging.getLogger(__name__)

PAGE = "calibration{}.html"
PARAMETERS = "calibration.json"  # what the map has learned
PROBABILITIES = "calibrated.npy"  # (n, k), of the test items
_SEED = 0  # of the bootstrap: equal predictions have equal errors


def check_calibration(cell: Cell, task: TaskSplits) -> None:
    """Refuses, before anything is trained, validation items that the map cannot be fitted on.

    Raises:
        InvalidInput: they are too few, or lack a class.
    """
    calibrator, labels = cell.parts.calibration, task.labels or []
    if calibrator is not None and cell.parts.until == "evaluate":
        calibrator.check(task.data.validation.labels or (), labels, f"task {task.name}")


def calibrate(
    cell: Cell, tuned: CellModel, task: TaskSplits, evaluated: Evaluated, of: str = ""
) -> Notes:
    """Returns log loss, Brier score and calibration errors on the test split, before and after the
    map that `calibration` names; nothing where it is null. A page with the reliability diagrams is
    written into the directory of the run.

    `of` names the model where it is not the fine-tuned one; it ends the names of metrics and page.
    Test items of a class that the model does not know have no probability; they are left out and
    counted. The map is fitted on validation items alone.
    """
    calibrator, trainer, runtime = cell.parts.calibration, cell.parts.finetune, cell.parts.runtime
    if calibrator is None:
        return Notes()
    labels = task.labels or []
    before = np.load(evaluated.stage.path / "predictions.npy")

    def truth_of(split: Split) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns rows with a known class, and the numbers of their classes."""
        numbers = task.class_numbers(split)
        known = np.flatnonzero(numbers >= 0)
        return known, numbers[known]

    def compute(directory: Path) -> dict[str, Any]:
        predicted = trainer.predict(
            tuned.model.directory(), task.data.validation, task.head, runtime
        )
        rows, classes = truth_of("validation")
        parameters = calibrator.fit(predicted.values[rows], classes)
        np.save(directory / PROBABILITIES, calibrator.apply(parameters, before))
        write_text(directory / PARAMETERS, json.dumps(parameters, sort_keys=True) + "\n")
        return {"validation": len(rows), "truncated": predicted.truncated}

    inputs = {
        "model": tuned.model.key,
        "evaluate": evaluated.stage.key,
        "validation": task.fingerprint("validation"),
    }
    inputs |= trainer.identity(runtime)
    settings = {**cell.settings["calibration"], "max_length": trainer.max_length, "labels": labels}
    end = f"_{of}" if of else ""
    stage = cell.stage(f"calibrate{end}", calibrator.version, settings, inputs, compute)

    rows, classes = truth_of("test")
    after = np.load(stage.path / PROBABILITIES)
    metrics: list[Metric] = []
    item_scores: dict[str, str] = {}
    measured = {}
    for side, values in (("uncalibrated", before[rows]), ("calibrated", after[rows])):
        generator = np.random.default_rng(_SEED)
        found = measure(values, classes, calibrator.bins, calibrator.resamples, generator)
        measured[side], suffix = (values, found), side + end
        for name, items in found.items.items():
            item_scores[f"{name}_{suffix}"] = pack_item_scores(items)
        for name in MEASURES:
            metrics.append(
                Metric(
                    name=f"{name}_{suffix}",
                    unit="nats" if name == "log_loss" else "fraction",
                    higher_is_better=False,
                    value=found.values[name],
                    n=len(rows),
                    stderr=found.stderrs[name],
                    protocol=digest(
                        [name, task.fingerprint("test"), str(calibrator.bins), *labels]
                    ),
                )
            )
    sheet = calibration_page(f"{task.name} {of}".strip(), calibrator, measured, classes)
    page = cell.directory / PAGE.format(end)
    write_text(page, html(sheet))
    log.info("calibration: reliability diagrams in %s", page)
    unknown = len(before) - len(rows)
    return Notes(
        stages=(stage,),
        metrics=tuple(metrics),
        item_scores=item_scores,
        counts={"calibrate_unknown_labels": unknown} if unknown else {},
    )
