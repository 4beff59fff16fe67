"""One cell, top to bottom: the file to read first.

Everything is instantiated before anything is computed. Then each line of `run` is one stage, and
each stage has one key: a hash of its settings and of what it reads. What the store has under that
key is not computed again.
"""

from __future__ import annotations

import logging
import re
import traceback
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from shortlist.config import HASHED
from shortlist.core import Axes, Record
from shortlist.errors import InvalidInput, ShortlistError
from shortlist.pipeline.advice import advise
from shortlist.pipeline.assumption import check_assumption
from shortlist.pipeline.comparison import compare_picks
from shortlist.pipeline.compose import (
    absolute,
    build_components,
    cell_key,
    hashed_settings,
    input_digests,
    with_targets,
)
from shortlist.pipeline.context import Context
from shortlist.pipeline.evaluation import evaluate_model, prepare_evaluators
from shortlist.pipeline.front import trace_front
from shortlist.pipeline.inputs import candidates, check_leaks, load_pool, load_targets, load_task
from shortlist.pipeline.prefilter import prefilter
from shortlist.pipeline.report import REPORT, report
from shortlist.pipeline.scoring import methods, rate
from shortlist.pipeline.selection import select
from shortlist.pipeline.starting import base_model
from shortlist.pipeline.training import compare_losses, evaluate, fine_tune, warm_up
from shortlist.store.atomic import make_directory, write_text
from shortlist.store.cache import Store
from shortlist.store.provenance import code
from shortlist.store.records import read_record, record_path, report_path, write_record

if TYPE_CHECKING:
    from pathlib import Path

    from omegaconf import DictConfig

log = logging.getLogger(__name__)


def run(cell: Context) -> dict[str, Any]:
    """Returns the fields of the record that the cell decides, stage after stage."""
    parts, until = cell.parts, cell.parts.until
    reason = parts.selector.applicable(parts.task.kind)
    if reason is not None:
        return {"status": "skipped", "reason": reason}
    evaluated = bool(parts.task.evaluators)
    if parts.task.kind == "unlabelled" and (
        until == "finetune" or (until == "evaluate" and not evaluated)
    ):
        raise InvalidInput(
            f"task {parts.task.name} has no labels to fine-tune on; "
            f"set until=warmup{' or evaluate' if evaluated else ''}, or task.label=COLUMN where "
            "there are some"
        )
    if until == "evaluate":
        prepare_evaluators(cell)

    whole, task = load_pool(cell), load_task(cell)
    targets = load_targets(cell, task)
    leaked = check_leaks(cell, whole, task, targets)
    near = prefilter(cell, whole, targets)
    pool, forbidden = candidates(cell, near, task, targets, leaked)
    check_assumption(cell, near, task)

    scores = rate(cell, targets, pool, methods(cell))
    selection = select(cell, scores, pool, forbidden)
    trace_front(cell, scores, selection, pool, forbidden)
    compare_picks(cell, selection, targets, pool, forbidden)
    advise(cell, scores, targets, pool, forbidden)
    report(cell, scores, pool, forbidden, selection)
    if until == "select":
        return cell.outcome()

    base = base_model(cell, whole, leaked)
    warm = warm_up(cell, base, selection, pool)
    compare_losses(cell, base, warm, task)
    if until == "warmup":
        return cell.outcome()
    if evaluated:
        evaluate_model(cell, base, warm, task)
        return cell.outcome()

    tuned = fine_tune(cell, warm, task)
    if until == "evaluate":
        evaluate(cell, tuned, task)
    return cell.outcome()


def execute(
    config: DictConfig,
    choices: dict[str, str],
    overrides: tuple[str, ...],
    directory: Path,
    group: Path | None = None,
) -> Record:
    """Returns the record of one cell, whatever happens to it.

    This is the one place where any exception is caught: a failing cell becomes a `failed` record
    with its one-line reason, the traceback stays in `directory`, and the sweep goes on.

    Args:
        config: the composed configuration.
        choices: which option of each group was chosen.
        overrides: what was typed.
        directory: the run's directory.
        group: the sweep's directory, which loggers share; of a single run, its own.

    Raises:
        InvalidInput: a directory cannot be written to, so that not even a failure could be kept.
    """
    directory = make_directory(directory, "paths.runs")
    results = make_directory(absolute(config.paths.results), "paths.results")
    config = with_targets(config)
    groups = ("task", "pool", "selector", "featurizer", "model")
    known: dict[str, Any] = {
        "key": cell_key(config, {}),  # of a cell that fails before it is known what it reads
        "axes": Axes(
            **{group: choices.get(group, "") for group in groups},
            budget=config.budget,
            budget_unit=config.budget_unit.name,
            seed=config.seed,
        ),
        "until": config.until.name,
        "code": code(),
        "config": hashed_settings(config),
        "overrides": tuple(typed for typed in overrides if _hashed_root(typed)),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    loggers: list[Any] = []
    try:
        parts = build_components(config)
        parts.runtime.settle()
        loggers = parts.loggers
        reads = input_digests(parts)
        known |= {"key": cell_key(config, reads), "inputs": reads}
        cache = absolute(config.paths.cache)
        store = Store(cache, config.runtime.cache.name, parts.runtime.device_name)
        cell = Context(
            parts,
            known["config"],
            store,
            directory,
            inputs=dict(reads),
            axes=known["axes"],
            typed=overrides,
        )
        record = Record(**{**known, **run(cell)})
        hits = sum(stage.hit for stage in cell.stages)
        log.info("cell: %d stages computed, %d reused", len(cell.stages) - hits, hits)
    except Exception as error:
        record = Record(**known, status="failed", reason=_keep(error, directory))
    write_text(directory / "record.json", record.to_json())
    _publish(results, record, directory / REPORT)
    for logger in loggers:
        try:
            logger.log_cell(record, (group or directory).name, group or directory)
        except Exception as error:  # the record stands; a tracker that is away must not end a sweep
            kind = type(logger).__name__
            log.error("%s could not log the cell: %s", kind, " ".join(str(error).split()))
    return record


def _hashed_root(typed: str) -> bool:
    """Returns whether an override decides what is computed; where it ran is nobody's business."""
    return re.split(r"[.=@]", typed.lstrip("+~"), maxsplit=1)[0] in {
        *HASHED,
        "trainer",
        "experiment",
    }


def _keep(error: Exception, directory: Path) -> str:
    """Returns the reason in one line, after putting the traceback into the run's directory."""
    path = write_text(directory / "traceback.txt", traceback.format_exc())
    reason = " ".join(str(error).split())
    if not isinstance(error, ShortlistError):
        reason = f"{type(error).__name__}: {reason} (traceback: {path})"
    log.error("error: %s", reason)
    return reason


def _publish(results: Path, record: Record, page: Path) -> None:
    """Writes the record among the results, and the page on its selection where there is one, unless
    that would lose something.

    A failure never replaces a result; and a cell that was reused from the store, stage for stage,
    leaves the record of its computation as it is.
    """
    path = record_path(results, record)
    if page.is_file() and record.status == "done":
        kept = report_path(results, record)
        make_directory(kept.parent, "paths.results")
        write_text(kept, page.read_text(encoding="utf-8"))
    if path.exists():
        earlier = read_record(results, path)
        if earlier.status == "done" and (
            record.status == "failed" or _outcome(earlier) == _outcome(record)
        ):
            return
    write_record(results, record)


def _outcome(record: Record) -> tuple[Any, ...]:
    return record.status, [stage.key for stage in record.stages], record.metrics
