"""One cell from its configuration to its record: the file to read first.

Everything is instantiated before anything is computed. Each line of `run` then calls one stage and
binds its frozen result; later stages take those results as arguments. A stage has one key, a hash
of its settings and of the keys of what it reads, and is not computed again where the store has an
artifact under that key.
"""

from __future__ import annotations

import logging
import re
import shlex
import traceback
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from shortlist.config import HASHED
from shortlist.core import Axes, Record
from shortlist.errors import InvalidInput, ShortlistError
from shortlist.loggers import CellReport
from shortlist.pipeline.base_model import base_model
from shortlist.pipeline.calibration import calibrate, check_calibration
from shortlist.pipeline.candidates import choose_from
from shortlist.pipeline.compose import Components, absolute, build_components
from shortlist.pipeline.compression import check_compressions, compress
from shortlist.pipeline.diagnostics import (
    REPORT,
    check_assumption,
    describe_selection,
    diagnose,
    write_datasheet,
)
from shortlist.pipeline.distillation import distil_scores
from shortlist.pipeline.evaluation import (
    check_evaluators,
    compare_losses,
    evaluate_language_model,
    evaluate_predictions,
    measure_forgetting,
    measure_probe,
)
from shortlist.pipeline.identity import cell_key, hashed_settings, input_digests
from shortlist.pipeline.loading import load_data
from shortlist.pipeline.prefilter import prefilter
from shortlist.pipeline.preparation import with_preparation
from shortlist.pipeline.recorder import record_fields
from shortlist.pipeline.selection import SHORTLIST, check_documents, rank, select, write_shortlist
from shortlist.pipeline.signals import raised
from shortlist.pipeline.stage import Cell, Notes, Stage
from shortlist.pipeline.targets import with_targets
from shortlist.pipeline.training import check_steps, check_trainings, fine_tune, warm_up
from shortlist.pipeline.training_page import training_sections, trainings_of
from shortlist.store.atomic import make_directory, write_text
from shortlist.store.cache import Store
from shortlist.store.disk import room_for
from shortlist.store.provenance import code
from shortlist.store.records import read_record, record_path, report_path, write_record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from omegaconf import DictConfig

    from shortlist.diagnostics.datasheet.page import Datasheet
    from shortlist.diagnostics.training_sections import Training

log = logging.getLogger(__name__)
MAX_REASON = 2000  # characters of the reason of a failure in a record


def run(cell: Cell) -> tuple[dict[str, Any], Datasheet | None]:
    """Returns the fields of the record that the stages of the cell decide, and the datasheet of the
    selection where one is written.

    Each line calls one stage and binds its frozen result. What it computes is charged to the role
    of the `Cell` that it is given, hence to one cost column of a table.

    Raises:
        InvalidInput: the task has no labels to fine-tune on.
    """
    parts, until = cell.parts, cell.parts.until
    reason = parts.selector.applicable(parts.task.kind)
    if reason is not None:
        return {"status": "skipped", "reason": reason}, None
    check_labels(cell)
    check_trainings(cell)
    check_compressions(cell)
    checks = check_evaluators(cell) if until == "evaluate" else Notes()
    selection, diagnostics = cell.charged_to("selection"), cell.charged_to("diagnostics")
    training, evaluation = cell.charged_to("training"), cell.charged_to("evaluation")

    data = load_data(cell)
    check_calibration(cell, data.task)
    check_steps(cell, data.task)
    documents = prefilter(cell, data)
    candidates = choose_from(cell, data, documents)
    check_documents(candidates, parts.selector, parts.budget)
    assumption = check_assumption(diagnostics, documents, data.task)

    ranking = rank(selection, data, candidates, parts.selector, cell.settings["selector"])
    selected = select(selection, ranking)
    write_shortlist(cell.directory / SHORTLIST, selected)

    distilled = distil_scores(diagnostics, ranking)
    diagnosis = diagnose(diagnostics, data, ranking, selected)
    notes = checks + data.notes + candidates.notes + ranking.notes + selected.notes
    notes += assumption + distilled + diagnosis
    sheet = describe_selection(diagnostics, ranking, selected, notes)
    if until == "select":
        return record_fields(notes), sheet

    base = base_model(training, data)
    warm = warm_up(training, base, selected)
    notes += base.notes + warm.notes + compare_losses(evaluation, base, warm, data.task)
    notes += measure_probe(evaluation, warm, data.task)
    if until == "warmup" or parts.task.evaluators:
        notes += measure_forgetting(evaluation, base, warm, None)
    if until == "warmup":
        return record_fields(notes), sheet
    if parts.task.evaluators:
        found = evaluate_language_model(evaluation, base, warm, data.task)
        return record_fields(notes, found), sheet

    tuned = fine_tune(training, warm, data.task)
    notes += tuned.notes + measure_forgetting(evaluation, base, warm, tuned)
    if until == "finetune":
        return record_fields(notes), sheet
    evaluated = evaluate_predictions(evaluation, tuned, data.task)
    notes += calibrate(evaluation, tuned, data.task, evaluated)
    notes += compress(training, evaluation, tuned, data.task, evaluated)
    return record_fields(notes, evaluated.notes), sheet


def tune(cell: Cell, watch: Callable[[Sequence[float]], None]) -> Stage:
    """Returns the fine-tuning of a cell; nothing is measured on its test split.

    Args:
        cell: the cell.
        watch: see `trainers.classify.Validation`; not called where the model is stored.

    Raises:
        Pruned: `watch` ends the training.
        ShortlistError: an input or a setting does not allow the cell.
    """
    check_labels(cell)
    check_trainings(cell)
    parts, selection = cell.parts, cell.charged_to("selection")
    data = load_data(cell)
    check_steps(cell, data.task)
    candidates = choose_from(cell, data, prefilter(cell, data))
    check_documents(candidates, parts.selector, parts.budget)
    ranking = rank(selection, data, candidates, parts.selector, cell.settings["selector"])
    base = base_model(cell, data)
    warm = warm_up(cell, base, select(selection, ranking))
    return fine_tune(cell, warm, data.task, watch).notes.stages[0]


def check_labels(cell: Cell) -> None:
    """Refuses to fine-tune on a task without labels, before anything is computed.

    Raises:
        InvalidInput: the task has no labels, and `until` asks for fine-tuning.
    """
    task, until = cell.parts.task, cell.parts.until
    if task.kind != "unlabelled" or until in ("select", "warmup"):
        return
    if until == "finetune" or not task.evaluators:
        alternative = "warmup or evaluate" if task.evaluators else "warmup"
        raise InvalidInput(
            f"task {task.name} has no labels to fine-tune on; set until={alternative}, or "
            "task.label=COLUMN where there are some"
        )


def execute(
    config: DictConfig,
    choices: dict[str, str],
    overrides: tuple[str, ...],
    directory: Path,
    group: Path | None = None,
    command: str = "",
    search: Mapping[str, Any] | None = None,
) -> Record:
    """Returns the record of one cell, also where the cell fails.

    This is the one place where any exception is caught: a failing cell becomes a `failed` record
    with its one-line reason, the traceback stays in `directory`, and the sweep goes on.

    Args:
        config: the composed configuration.
        choices: which option of each group was chosen.
        overrides: the arguments as typed.
        directory: the run's directory.
        group: the sweep's directory, which loggers share; of a single run, its own.
        command: the command that repeats the cell; by default that of `run.py`.
        search: facts of the search that chose the settings, for `Record.selection`.

    Raises:
        InvalidInput: a directory cannot be written to, so that not even a failure could be kept.
        DoesNotFit: a directory has no room for the record.
    """
    directory = make_directory(directory, "paths.runs")
    results = make_directory(absolute(config.paths.results), "paths.results")
    config = with_preparation(with_targets(config))
    record = Record(
        key=cell_key(config, {}),  # of a cell that fails before it is known what it reads
        status="failed",
        axes=_axes(config, choices),
        until=config.until.name,
        code=code(),
        config=hashed_settings(config),
        overrides=tuple(override for override in overrides if _is_hashed(override)),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    loggers: list[Any] = []
    trainings: dict[str, Training] = {}
    try:
        parts = build_components(config)
        parts.runtime.settle()
        loggers = parts.loggers
        reads = input_digests(parts)
        record = replace(record, key=cell_key(config, reads), inputs=reads)
        command = command or shlex.join(["python", "run.py", *overrides])
        cell = _cell(config, parts, record.axes, directory, command)
        with raised(), room_for("the cell", directory, "paths.runs"):
            fields, sheet = run(cell)
        inputs = {**reads, **fields.pop("inputs", {})}
        if search is not None:
            fields["selection"] = {**fields.get("selection", {}), "search": dict(search)}
        record = replace(record, **fields, inputs=inputs)
        trainings = trainings_of(cell, record)
        sections = training_sections(record, trainings.values())
        if sheet is not None and sections:
            write_datasheet(directory, replace(sheet, sections=(*sheet.sections, *sections)))
    except Exception as error:
        record = replace(record, reason=_keep(error, directory))
    record = record.sealed()
    with room_for("the record of the cell", directory, "paths.runs"):
        write_text(directory / "record.json", record.to_json())
    with room_for("the record of the cell", results, "paths.results"):
        _publish(results, record, directory / REPORT)
    picks = (
        directory / SHORTLIST if record.status == "done" and record.selection.get("size") else None
    )
    place = group or directory
    curves = {name: one.reported for name, one in trainings.items()}
    report = CellReport(record, place.name, place, picks, command, curves)
    for logger in loggers:
        try:
            logger.log_cell(report)
        except Exception as error:  # the record stands; a tracker that is away must not end a sweep
            kind = type(logger).__name__
            log.error("%s could not log the cell: %s", kind, " ".join(str(error).split()))
    return record


def open_cell(config: DictConfig, choices: Mapping[str, str], directory: Path) -> Cell:
    """Returns a cell of which nothing is computed yet.

    Args:
        config: the composed configuration.
        choices: which option of each group was chosen.
        directory: the run's directory.

    Raises:
        ShortlistError: a setting cannot be used, or an input is not there.
    """
    config = with_preparation(with_targets(config))
    parts = build_components(config)
    parts.runtime.settle()
    input_digests(parts)
    return _cell(config, parts, _axes(config, choices), directory, "")


def _axes(config: DictConfig, choices: Mapping[str, str]) -> Axes:
    groups = ("task", "pool", "selector", "featurizer", "model")
    return Axes(
        **{group: choices.get(group, "") for group in groups},
        budget=config.budget,
        budget_unit=config.budget_unit.name,
        seed=config.seed,
    )


def _cell(config: DictConfig, parts: Components, axes: Axes, directory: Path, command: str) -> Cell:
    runtime = config.runtime
    store = Store(absolute(config.paths.cache), runtime.cache.name, parts.runtime.device_name)
    return Cell(parts, hashed_settings(config), store, directory, axes, command)


# Groups whose options set values of hashed groups.
_INTO_HASHED = (
    "augment", "evaluator", "experiment", "peft", "practice", "protocol", "scorer", "trainer",
)  # fmt: skip


def _is_hashed(override: str) -> bool:
    """Returns whether an override sets what is hashed: settings of the machine stay out of records."""
    name = re.split(r"[.=@]", override.lstrip("+~"), maxsplit=1)[0]
    return name in HASHED or name in _INTO_HASHED


def _keep(error: Exception, directory: Path) -> str:
    """Returns the reason in one line, after putting the traceback into the run's directory."""
    path = directory / "traceback.txt"
    reason = " ".join(str(error).split())
    if len(reason) > MAX_REASON:
        reason = f"{reason[:MAX_REASON]}… ({len(reason):,} characters: {path})"
    if not isinstance(error, ShortlistError):
        reason = f"{type(error).__name__}: {reason} (traceback: {path})"
    log.error("error: %s", reason)
    with room_for("the traceback", directory, "paths.runs"):
        write_text(path, traceback.format_exc())
    return reason


def _publish(results: Path, record: Record, page: Path) -> None:
    """Writes the record among the results, and the page on its selection where there is one, unless
    that would lose something.

    A failure never replaces a result; and a cell that was reused from the store, stage for stage,
    leaves the record of its computation as it is. A file that is not a record is replaced with a
    warning.
    """
    path = record_path(results, record)
    if page.is_file() and record.status == "done":
        kept = report_path(results, record)
        make_directory(kept.parent, "paths.results")
        write_text(kept, page.read_text(encoding="utf-8"))
    if path.exists():
        try:
            earlier = read_record(results, path)
        except InvalidInput as error:
            log.warning("replaced by the record of this cell: %s", error)
        else:
            found = record.selection.get("search", earlier.selection.get("search"))
            same = _outcome(earlier) == _outcome(record)
            same = record.status == "failed" or (same and earlier.selection.get("search") == found)
            if earlier.status == "done" and same:
                return
    write_record(results, record)


def _outcome(record: Record) -> tuple[Any, ...]:
    return record.status, [stage.key for stage in record.stages], record.metrics
