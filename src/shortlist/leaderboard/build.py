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
from typing import Any, NamedTuple, get_args

from shortlist.core import Metric, Record
from shortlist.leaderboard.settings import UNSET, differing, flatten
from shortlist.leaderboard.table import Cell, CellStatus, Column, Kind, Row, RowAxes, Table

SELECTION_ENDS = "selection"  # every stage up to this one is what choosing the documents took
TRAINING = frozenset({"warmup", "finetune"})
SHOWN_SETTINGS = 3

Axes = tuple[str, str, str, int, str]  # selector, featurizer, model, budget, budget unit


class Measurement(NamedTuple):
    """What makes two numbers comparable; the fields of a column that records decide."""

    kind: Kind
    name: str
    unit: str
    higher_is_better: bool | None
    split: str
    protocol: str


SELECTION_SECONDS = Measurement("cost", "selection_seconds", "seconds", False, "", "")
TRAINING_SECONDS = Measurement("cost", "training_seconds", "seconds", False, "", "")
DOCUMENTS = Measurement("count", "documents", "count", None, "", "")


def build(records: Iterable[Record]) -> list[Table]:
    """Returns one table per task and pool, sorted; the order of the records changes nothing."""
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        groups[record.axes.task, record.axes.pool].append(record)
    return [_table(task, pool, groups[task, pool]) for task, pool in sorted(groups)]


def _table(task: str, pool: str, records: Sequence[Record]) -> Table:
    evaluated = sorted(
        (record for record in records if record.until == "evaluate"),
        key=lambda record: (record.axes.seed, record.key),
    )
    measured = {record.key: _measurements(record) for record in evaluated}
    columns = _columns(evaluated, measured.values())
    groups = _rows(evaluated)
    rows = [_row(axes, group, measured, list(columns)) for axes, group in _complete(groups).items()]
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
            f"seeds {', '.join(map(str, seeds))}. Mean ± standard deviation over seeds; "
            "the mark is the highest mean (the lowest where lower is better), nothing more."
        )
    return Table(
        task=task,
        pool=pool,
        title=f"{task} · pool {pool}",
        caption=caption,
        columns=tuple(columns.values()),
        rows=tuple(rows),
        notes=tuple(_stopped(records)),
    )


def _stopped(records: Sequence[Record]) -> Iterator[str]:
    """Yields a sentence for each stage that cells were asked to stop after."""
    stopped = Counter((r.until, r.status) for r in records if r.until != "evaluate")
    for until in sorted({until for until, _ in stopped}):
        parts = [
            f"{n:,} {status}" for (stage, status), n in sorted(stopped.items()) if stage == until
        ]
        yield f"not in the table: cells that were asked to stop after {until} ({', '.join(parts)})"


def _measurements(record: Record) -> dict[Measurement, float]:
    """Returns every number of a cell that is done; nothing of one that is not."""
    if record.status != "done":
        return {}
    numbers = {_measurement(metric): metric.value for metric in record.metrics}
    if record.stages:
        names = [stage.stage for stage in record.stages]
        end = names.index(SELECTION_ENDS) + 1 if SELECTION_ENDS in names else 0
        numbers[SELECTION_SECONDS] = math.fsum(stage.seconds for stage in record.stages[:end])
        numbers[TRAINING_SECONDS] = math.fsum(
            stage.seconds for stage in record.stages if stage.stage in TRAINING
        )
    if "unique" in record.selection:
        numbers[DOCUMENTS] = float(record.selection["unique"])
    return numbers


def _measurement(metric: Metric) -> Measurement:
    return Measurement(
        "metric", metric.name, metric.unit, metric.higher_is_better, metric.split, metric.protocol
    )


def _columns(
    records: Sequence[Record], measured: Iterable[Mapping[Measurement, float]]
) -> dict[Measurement, Column]:
    """Returns a column for everything that was measured, in reading order."""
    primary: set[Measurement] = set()
    place: dict[Measurement, int] = {SELECTION_SECONDS: 0, TRAINING_SECONDS: 1, DOCUMENTS: 2}
    for record in records:
        for index, metric in enumerate(record.metrics):
            found = _measurement(metric)
            place[found] = min(index, place.get(found, index))
            if metric.primary:
                primary.add(found)
    kinds = get_args(Kind)
    present = sorted(
        # The costs are there even if nothing was measured: what failed needs a cell to say why.
        {SELECTION_SECONDS, TRAINING_SECONDS, *(key for numbers in measured for key in numbers)},
        key=lambda m: (kinds.index(m.kind), m not in primary, place[m], *map(str, m)),
    )
    headings = _headings(present)
    return {
        found: Column(
            key=headings[found].replace(" ", "_"),
            heading=headings[found],
            unit=found.unit,
            higher_is_better=found.higher_is_better,
            primary=found in primary,
            protocol=found.protocol,
            split=found.split,
            kind=found.kind,
        )
        for found in present
    }


def _headings(measurements: Sequence[Measurement]) -> dict[Measurement, str]:
    """Returns distinct headings: the name, and as much of how it was measured as tells it apart."""

    def spellings(found: Measurement) -> Iterator[str]:
        yield found.name
        yield f"{found.name} [{found.split}]"
        for length in (6, 64):
            yield f"{found.name} [{found.protocol[:length] or 'no protocol'}]"
        yield f"{found.name} [{', '.join(map(str, found[2:]))}]"

    chosen: dict[Measurement, str] = {}
    for found in measurements:
        rivals = [other for other in measurements if other.name == found.name and other != found]
        options = zip(spellings(found), *map(spellings, rivals), strict=True)
        chosen[found] = next((mine for mine, *others in options if mine not in others), str(found))
    return chosen


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
    why: dict[CellStatus, dict[str, list[int]]] = {"failed": {}, "skipped": {}, "not measured": {}}
    for record in records:
        if column in measured[record.key]:
            continue
        if record.status == "done":
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
