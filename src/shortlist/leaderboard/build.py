"""Records become tables: what is grouped, what is averaged, and what is left empty and why.

Nothing is averaged over anything but seeds. Rows of equal axes whose configurations differ in more
than a seed stay apart and are labelled with the settings that differ; metrics that were measured in
different ways get a column each.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from shortlist.core import Record
from shortlist.leaderboard.judging import judged
from shortlist.leaderboard.measurements import Measurement, columns, device, measurements
from shortlist.leaderboard.noise import Floor
from shortlist.leaderboard.settings import UNSET, differing, flatten
from shortlist.leaderboard.table import Cell, CellStatus, Row, RowAxes, Table

SHOWN_SETTINGS = 3

Axes = tuple[str, str, str, int, str]  # selector, featurizer, model, budget, budget unit


def build(records: Iterable[Record], floors: Sequence[Floor] = ()) -> list[Table]:
    """Returns one table per task and pool, sorted; the order of the records changes nothing.

    Args:
        records: the cells.
        floors: differences that are noise, by task and metric.
    """
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        groups[record.axes.task, record.axes.pool].append(record)
    return [_table(task, pool, groups[task, pool], floors) for task, pool in sorted(groups)]


def _table(task: str, pool: str, records: Sequence[Record], floors: Sequence[Floor]) -> Table:
    evaluated = sorted(
        (record for record in records if record.until == "evaluate"),
        key=lambda record: (record.axes.seed, record.key),
    )
    measured = {record.key: measurements(record) for record in evaluated}
    found = columns(evaluated, measured.values())
    groups = _rows(evaluated)
    rows = [_row(axes, group, measured, list(found)) for axes, group in _complete(groups).items()]
    rows.sort(key=lambda row: _order(row.axes))
    count = Counter(record.status for record in evaluated)
    seeds = sorted({record.axes.seed for record in evaluated})
    statuses = [
        f"{count[status]:,} {status}" for status in ("done", "skipped", "failed") if count[status]
    ]
    caption = ""
    if evaluated:
        caption = (
            f"{len(evaluated):,} cells ({', '.join(statuses)}), "
            f"seeds {', '.join(map(str, seeds))}. Mean ± standard deviation over seeds."
        )
    table = Table(
        task=task,
        pool=pool,
        title=f"{task} · pool {pool}",
        caption=caption,
        columns=tuple(found.values()),
        rows=tuple(rows),
        notes=tuple(_stopped(records)),
    )
    return judged(table, {record.key: record for record in evaluated}, floors)


def _stopped(records: Sequence[Record]) -> Iterator[str]:
    """Yields a sentence for each stage that cells were asked to stop after."""
    stopped = Counter((r.until, r.status) for r in records if r.until != "evaluate")
    for until in sorted({until for until, _ in stopped}):
        parts = [
            f"{n:,} {status}" for (stage, status), n in sorted(stopped.items()) if stage == until
        ]
        yield f"not in the table: cells that were asked to stop after {until} ({', '.join(parts)})"


def _rows(records: Sequence[Record]) -> dict[RowAxes, list[Record]]:
    """Returns the records of each row: equal axes and, seeds apart, an equal configuration."""
    groups: dict[Axes, list[Record]] = defaultdict(list)
    for record in records:
        axes = record.axes
        groups[axes.selector, axes.featurizer, axes.model, axes.budget, axes.budget_unit].append(
            record
        )
    rows: dict[RowAxes, list[Record]] = defaultdict(list)
    for axes, group in groups.items():
        flat = [{**dict(flatten(record.config)), **record.reads} for record in group]
        names = differing(flat)
        for record, config in zip(group, flat, strict=True):
            settings = tuple(f"{name}={config.get(path, UNSET)}" for path, name in names.items())
            rows[RowAxes(*axes, settings)].append(record)
    return rows


def _complete(groups: Mapping[RowAxes, list[Record]]) -> dict[RowAxes, list[Record]]:
    """Returns the rows, and an empty one where a method was not run at a budget others ran at."""
    methods = {(axes.selector, axes.featurizer, axes.model) for axes in groups}
    budgets = {(axes.budget, axes.budget_unit) for axes in groups}
    ran = {(a.selector, a.featurizer, a.model, a.budget, a.budget_unit) for a in groups}
    missing = {(*method, *budget) for method in methods for budget in budgets} - ran
    return {**groups, **{RowAxes(*axes): [] for axes in missing}}


def _order(axes: RowAxes) -> tuple[Any, ...]:
    return (
        axes.budget_unit,
        axes.budget,
        axes.selector,
        axes.featurizer,
        axes.model,
        axes.settings,
    )


def _row(
    axes: RowAxes,
    records: Sequence[Record],
    measured: Mapping[str, Mapping[Measurement, float]],
    columns: Sequence[Measurement],
) -> Row:
    warnings = Counter(text for record in records for text in sorted(set(record.warnings)))
    shown = axes.settings[:SHOWN_SETTINGS]
    if more := len(axes.settings) - len(shown):
        shown += (f"and {more} more",)
    return Row(
        axes=RowAxes(
            axes.selector, axes.featurizer, axes.model, axes.budget, axes.budget_unit, shown
        ),
        cells=tuple(_cell(column, records, measured) for column in columns),
        seeds=tuple(record.axes.seed for record in records),
        record_keys=tuple(record.key for record in records),
        warnings=tuple(sorted(warnings.items())),
        device="; ".join(sorted({device(record) for record in records if record.stages})),
    )


def _cell(
    column: Measurement,
    records: Sequence[Record],
    measured: Mapping[str, Mapping[Measurement, float]],
) -> Cell:
    found = [(r.axes.seed, measured[r.key][column]) for r in records if column in measured[r.key]]
    values = tuple(value for _, value in found)
    complete = bool(records) and len(values) == len(records)
    status, reason = ("done", "") if complete else _why_empty(column, records, measured)
    spread = complete and len(values) > 1 and all(map(math.isfinite, values))
    return Cell(
        mean=statistics.fmean(values) if complete else None,
        sd=statistics.stdev(values) if spread else None,
        n=len(values),
        values=values,
        seeds=tuple(seed for seed, _ in found),
        status=status,
        reason=reason,
        record_keys=tuple(record.key for record in records),
    )


def _why_empty(
    column: Measurement,
    records: Sequence[Record],
    measured: Mapping[str, Mapping[Measurement, float]],
) -> tuple[CellStatus, str]:
    """Returns the gravest status of the records without a value, and what it is true of."""
    why: dict[CellStatus, dict[str, list[int]]] = {
        status: {} for status in ("failed", "skipped", "not measured", "not applicable")
    }
    for record in records:
        if column in measured[record.key]:
            continue
        if record.status == "done" and column.kind == "certificate":
            why["not applicable"].setdefault("no solve", []).append(record.axes.seed)
        elif record.status == "done":
            others = {m.name for m in measured[record.key]}
            reason = "measured in another way" if column.name in others else ""
            why["not measured"].setdefault(reason, []).append(record.axes.seed)
        else:
            reasons = why[record.status]
            reasons.setdefault(" ".join(record.reason.split()), []).append(record.axes.seed)
    for status, reasons in why.items():
        if not reasons:
            continue
        if len(reasons) == 1 and sum(map(len, reasons.values())) == len(records):
            return status, next(iter(reasons))
        parts = (
            f"seed {', '.join(map(str, seeds))}" + (f": {reason}" if reason else "")
            for reason, seeds in sorted(reasons.items())
        )
        return status, "; ".join(parts)
    return "not run", ""
