"""Records become comparison tables, one per task and pool, and tables over all tasks.

Values are averaged over seeds only. Records of equal axes whose configurations differ in more than
the seed are rows of their own, labelled with the settings that differ; metrics that were measured
in different ways are columns of their own.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, replace
from hashlib import sha256
from typing import Any

from shortlist.core import Record
from shortlist.leaderboard.agreement import agreement_table
from shortlist.leaderboard.columns import COSTS, Measurement, columns, fit_facts, measurements
from shortlist.leaderboard.cross_validation import join_folds
from shortlist.leaderboard.options import typed_values
from shortlist.leaderboard.significance import NoiseFloors, refusal, with_significance
from shortlist.leaderboard.table import (
    Aggregate,
    Column,
    ComparisonTable,
    Row,
    RowAxes,
    ValueStatus,
)

_AXES = ("task", "selector", "budget", "seed", "fold")  # axes, which are not settings of a row
SHOWN_SETTINGS = 3  # most settings shown of a row
UNSET = "unset"
_CLASS = re.compile(r'^(.+)\._target_="(?:\w+\.)*(\w+)"$')  # shown as PLACE=CLASS
ALL_TASKS = "all tasks"

Measured = Mapping[str, Mapping[Measurement, float]]  # by key of the record
TaskRow = tuple[ComparisonTable, Row]  # a row of an overview, in the table of one task


def build(records: Iterable[Record], floors: NoiseFloors | None = None) -> list[ComparisonTable]:
    """Returns one table per task and pool, sorted; the order of the records has no effect.

    Cells that stopped before the evaluation are in a table only if none of its cells went on, and
    if they have a primary metric: that of the probe after the warm-up.

    Args:
        records: the cells.
        floors: differences that count as noise, by task and metric.
    """
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in join_folds(records):
        groups[record.axes.task, record.axes.pool].append(record)
    return [_table(task, pool, groups[task, pool], floors or {}) for task, pool in sorted(groups)]


def _table(task: str, pool: str, records: Sequence[Record], floors: NoiseFloors) -> ComparisonTable:
    evaluated = [record for record in records if record.until == "evaluate"]
    probed = (record for record in records if any(metric.primary for metric in record.metrics))
    evaluated = sorted(evaluated or probed, key=lambda record: (record.axes.seed, record.key))
    shown = set(map(id, evaluated))
    measured = {record.key: measurements(record) for record in evaluated}
    described = columns(evaluated, measured.values())
    groups = _with_missing_rows(_group_by_row(evaluated))
    rows = [_row(axes, group, measured, list(described)) for axes, group in groups.items()]
    rows.sort(key=lambda row: (row.axes.budget_unit, row.axes.budget, astuple(row.axes)))
    caption = ""
    if evaluated:
        count = Counter(record.status for record in evaluated)
        statuses = [f"{count[s]:,} {s}" for s in ("done", "skipped", "failed") if count[s]]
        seeds = sorted({record.axes.seed for record in evaluated})
        caption = (
            f"{len(evaluated):,} cells ({', '.join(statuses)}), "
            f"seeds {', '.join(map(str, seeds))}. Mean ± standard deviation over seeds."
        )
    table = ComparisonTable(
        task=task,
        pool=pool,
        title=f"{task} · pool {pool}",
        caption=caption,
        columns=tuple(described.values()),
        rows=tuple(rows),
        notes=(
            *_stopped_early(r for r in records if id(r) not in shown),
            *_sensitivity_in_fit(evaluated),
        ),
    )
    by_key = {record.key: record for record in evaluated}
    judged = agreement_table(table, by_key)
    table = replace(table, further=() if judged is None else (judged,))
    return with_significance(table, by_key, floors)


def _stopped_early(records: Iterable[Record]) -> Iterator[str]:
    """Yields a sentence for each stage after which cells stopped."""
    stopped = Counter((record.until, record.status) for record in records)
    for until in sorted({until for until, _ in stopped}):
        parts = [
            f"{n:,} {status}" for (stage, status), n in sorted(stopped.items()) if stage == until
        ]
        yield f"not in the table: cells with until={until} ({', '.join(parts)})"


def _sensitivity_in_fit(records: Sequence[Record]) -> Iterator[str]:
    """Yields a sentence if records of schema 2 timed the sensitivity to epsilon inside `fit`."""
    selectors = {
        record.axes.selector
        for record in records
        if fit_facts(record, "overlap_at_half_epsilon")
        and all(stage.stage != "sensitivity" for stage in record.stages)
    }
    if selectors:
        yield (
            f"{COSTS['selection'].title} of {', '.join(sorted(selectors))} includes the second solve "
            "at half of epsilon, a diagnostic that these records did not time as a stage of its own"
        )


def _group_by_row(records: Sequence[Record]) -> dict[RowAxes, list[Record]]:
    """Returns the records of each row: equal axes and, seeds apart, equal configurations."""
    groups: dict[RowAxes, list[Record]] = defaultdict(list)
    for record in records:
        a = record.axes
        axes = RowAxes(a.selector, a.featurizer, a.model, a.budget, a.budget_unit)
        groups[axes].append(record)
    rows: dict[RowAxes, list[Record]] = defaultdict(list)
    for axes, group in groups.items():
        flat = [{**dict(_flat(record.config)), **record.reads} for record in group]
        followed = _paths_of_run_seed(group, flat)
        names = differing_settings(
            [{path: config[path] for path in config.keys() - followed} for config in flat]
        )
        settings = [
            tuple(f"{name}={config.get(path, UNSET)}" for path, name in names.items())
            for config in flat
        ]
        for record, labels in zip(group, _as_typed(group, settings), strict=True):
            rows[replace(axes, settings=labels)].append(record)
    return rows


def _as_typed(
    records: Sequence[Record], settings: Sequence[tuple[str, ...]]
) -> Sequence[tuple[str, ...]]:
    """Returns the typed overrides as labels where they distinguish the same rows as the settings
    (`practice=lora` in place of what it sets), else the settings.
    """
    typed = [typed_values(record) for record in records]
    varied = sorted(
        name
        for name in {name for one in typed for name in one} - set(_AXES)
        if len({one.get(name) for one in typed}) > 1
    )
    labels = [tuple(f"{name}={one.get(name, UNSET)}" for name in varied) for one in typed]
    pairs = set(zip(labels, settings, strict=True))
    same = len(pairs) == len(set(labels)) == len(set(settings))
    return labels if same and len(pairs) > 1 else settings


def _paths_of_run_seed(
    records: Sequence[Record], configs: Sequence[Mapping[str, str]]
) -> frozenset[str]:
    """Returns the paths of seeds that are the run's own in every record (`task.seed=${seed}`)."""
    return frozenset(
        path
        for path in configs[0]
        if path.endswith(".seed")
        and all(
            config.get(path) == json.dumps(record.axes.seed)
            for record, config in zip(records, configs, strict=True)
        )
    )


def differing_settings(configs: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Returns path and short name of each setting that differs between flat configurations.

    Settings that always change together and have the same last name (`featurizer.model.epochs` interpolates
    `model.epochs`) are listed once, by the shortest path. The short name is the shortest end of the
    path that no other listed path has.
    """
    paths: dict[tuple[str, ...], str] = {}
    for path in sorted({path for config in configs for path in config}, key=lambda p: (len(p), p)):
        values = tuple(config.get(path, UNSET) for config in configs)
        if len(set(values)) > 1:
            paths.setdefault((path.rpartition(".")[2], *values), path)
    tails = {path: _tails(path) for path in sorted(paths.values())}
    count = Counter(tail for options in tails.values() for tail in options)
    return {
        path: next((tail for tail in options if count[tail] == 1), path)
        for path, options in tails.items()
    }


def _tails(path: str) -> list[str]:
    """Returns `c`, `b.c` and `a.b.c` for `a.b.c`; a class is named with its place, `b._target_`."""
    parts = path.split(".")
    least = 2 if len(parts) > 1 and parts[-1] == "_target_" else 1
    return [".".join(parts[start:]) for start in reversed(range(len(parts) - least + 1))]


def _flat(config: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yields (`a.b.c`, value as JSON) of every setting but the seed of the run; of a list of
    operations their names and a digest of their settings.
    """
    if isinstance(config, Mapping) and config:
        for name, value in config.items():
            if path or name != "seed":  # other seeds are settings: they sample other data
                yield from _flat(value, f"{path}.{name}" if path else str(name))
    elif isinstance(config, Sequence) and config and all(_is_named(entry) for entry in config):
        names = ", ".join(entry["name"] for entry in config)
        digest = sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest()
        yield path, f"[{names}] {digest[:6]}"  # equal names may have other settings
    elif path:
        yield path, json.dumps(config, sort_keys=True, ensure_ascii=False, default=str)


def _is_named(entry: Any) -> bool:
    return isinstance(entry, Mapping) and "name" in entry


def _with_missing_rows(groups: Mapping[RowAxes, list[Record]]) -> dict[RowAxes, list[Record]]:
    """Returns the rows, and an empty one where a method lacks a budget that others were run at."""
    ran = {replace(axes, settings=()) for axes in groups}
    budgets = {(axes.budget, axes.budget_unit) for axes in groups}
    every = {replace(a, budget=n, budget_unit=unit) for a in ran for n, unit in budgets}
    return {**groups, **{axes: [] for axes in every - ran}}


def _row(
    axes: RowAxes, records: Sequence[Record], measured: Measured, columns: Sequence[Measurement]
) -> Row:
    warnings = Counter(text for record in records for text in sorted(set(record.warnings)))
    shown = tuple(_CLASS.sub(r"\1=\2", setting) for setting in axes.settings[:SHOWN_SETTINGS])
    if more := len(axes.settings) - len(shown):
        shown += (f"and {more} more",)
    devices = {
        " + ".join(dict.fromkeys(stage.device for stage in record.stages))
        for record in records
        if record.stages
    }
    return Row(
        axes=replace(axes, settings=shown),
        cells=tuple(_aggregate(column, records, measured) for column in columns),
        seeds=tuple(record.axes.seed for record in records),
        record_keys=tuple(record.key for record in records),
        warnings=tuple(sorted(warnings.items())),
        device="; ".join(sorted(devices)),
    )


def _aggregate(column: Measurement, records: Sequence[Record], measured: Measured) -> Aggregate:
    numbers = [(r.axes.seed, measured[r.key][column]) for r in records if column in measured[r.key]]
    values = tuple(value for _, value in numbers)
    complete = bool(records) and len(values) == len(records)
    status, reason = ("done", "") if complete else _why_missing(column, records, measured)
    has_sd = complete and len(values) > 1 and all(map(math.isfinite, values))
    return Aggregate(
        mean=statistics.fmean(values) if complete else None,
        sd=statistics.stdev(values) if has_sd else None,
        n=len(values),
        values=values,
        seeds=tuple(seed for seed, _ in numbers),
        status=status,
        reason=reason,
        record_keys=tuple(record.key for record in records),
    )


def _why_missing(
    column: Measurement, records: Sequence[Record], measured: Measured
) -> tuple[ValueStatus, str]:
    """Returns the status of the records without a value, and its reason with the seeds.

    Of several statuses `failed` is returned before `skipped`, and that before the others.
    """
    seeds_of: dict[ValueStatus, dict[str, list[int]]] = {
        status: {} for status in ("failed", "skipped", "not measured", "not applicable")
    }
    for record in records:
        if column in measured[record.key]:
            continue
        if record.status == "done" and column.kind == "certificate":
            status, reason = "not applicable", "no solve"
        elif record.status == "done":
            others = {m.name for m in measured[record.key]}
            status, reason = (
                "not measured",
                ("measured in another way" if column.name in others else ""),
            )
        else:
            status, reason = record.status, " ".join(record.reason.split())
        seeds_of[status].setdefault(reason, []).append(record.axes.seed)
    for status, reasons in seeds_of.items():
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


def overview(tables: Sequence[ComparisonTable]) -> list[ComparisonTable]:
    """Returns a table of methods by tasks for each model and budget that several tasks share.

    A column is the primary metric of a task and pool. The rank of a method on a task is its place
    by the mean; methods of equal means share the mean of their places. The mean rank is missing if
    any task is. Ranks show neither the size nor the significance of differences; the tables of the
    tasks do. A task whose predictions are not compared is named in a note alone.
    """
    blocks: dict[tuple[str, int, str], list[ComparisonTable]] = defaultdict(list)
    left_out: dict[tuple[str, int, str], list[str]] = defaultdict(list)
    for table in tables:
        if table.headline is None:
            continue
        primary = table.columns[table.headline].name
        for block in dict.fromkeys(_block(row) for row in table.rows if row.record_keys):
            reason = refusal(table.refused, block[-1], primary)
            if reason is None:
                blocks[block].append(table)
            else:
                left_out[block].append(f"left out: {table.task}, {reason}")
    return [
        replace(_overview(block, held), notes=tuple(left_out[block]))
        for block, held in sorted(blocks.items())
        if len({table.task for table in held}) > 1
    ]


def _block(row: Row) -> tuple[str, int, str]:
    return row.axes.budget_unit, row.axes.budget, row.axes.model


def _overview(block: tuple[str, int, str], tables: Sequence[ComparisonTable]) -> ComparisonTable:
    unit, budget, model = block
    rows: dict[RowAxes, dict[str, TaskRow]] = defaultdict(dict)
    for table in tables:
        for row in table.rows:
            if row.record_keys and _block(row) == block:
                rows[row.axes][table.name] = table, row
    shared = {
        column.key: column
        for kind in ("cost", "certificate", "count")
        for table in tables
        for column in table.columns
        if column.kind == kind
    }
    ranks = {table.name: _ranks(table, block) for table in tables}
    tasks = [table.task for table in tables]
    return ComparisonTable(
        task=ALL_TASKS,
        pool=f"{budget:,} {unit}, {model}",
        title=f"{ALL_TASKS} · {budget:,} {unit}, {model}",
        caption=(
            f"The primary metric of {len(tables)} tasks, mean ± standard deviation over seeds. "
            "Rank 1 is the best mean of a task. Costs are means over the tasks."
        ),
        columns=(
            Column("mean_rank", "mean rank", "rank", higher_is_better=False, kind="rank"),
            *(_task_column(table, tasks) for table in tables),
            *shared.values(),
        ),
        rows=tuple(
            _overview_row(axes, rows[axes], tables, ranks, list(shared.values()))
            for axes in sorted(rows, key=lambda axes: axes.method)
        ),
    )


def _overview_row(
    axes: RowAxes,
    task_rows: Mapping[str, TaskRow],
    tables: Sequence[ComparisonTable],
    ranks: Mapping[str, Mapping[RowAxes, float]],
    shared: Sequence[Column],
) -> Row:
    own = [row for _, row in task_rows.values()]
    warnings: Counter[str] = Counter()
    for table, row in task_rows.values():
        warnings.update({f"{table.task}: {text}": count for text, count in row.warnings})
    return Row(
        axes=axes,
        cells=(
            _mean_rank([(table.task, ranks[table.name].get(axes)) for table in tables]),
            *(_task_cell(table, task_rows) for table in tables),
            *(_cost_cell(column, task_rows) for column in shared),
        ),
        seeds=tuple(sorted(set.intersection(*(set(row.seeds) for row in own)))),
        record_keys=tuple(key for row in own for key in row.record_keys),
        warnings=tuple(sorted(warnings.items())),
        device="; ".join(dict.fromkeys(row.device for row in own if row.device)),
    )


def _task_column(table: ComparisonTable, tasks: Sequence[str]) -> Column:
    assert table.headline is not None
    metric = table.columns[table.headline]
    name = table.task if tasks.count(table.task) == 1 else f"{table.task} ({table.pool})"
    return Column(
        key=table.name,
        title=f"{name} [{metric.name}]".replace("_", " "),
        unit=metric.unit,
        higher_is_better=metric.higher_is_better,
        protocol=metric.protocol,
        split=metric.split,
        kind="metric",
        name=metric.name,
    )


def _ranks(table: ComparisonTable, block: tuple[str, int, str]) -> dict[RowAxes, float]:
    """Returns the rank of each row of a block."""
    assert table.headline is not None
    sign = -1 if table.columns[table.headline].higher_is_better else 1
    means = {
        row.axes: sign * mean
        for row in table.rows
        if _block(row) == block and (mean := row.cells[table.headline].mean) is not None
    }
    values = list(means.values())
    return {
        axes: sum(other < value for other in values) + (values.count(value) + 1) / 2
        for axes, value in means.items()
    }


def _over_tasks(means: Sequence[float | None], status: ValueStatus, reason: str = "") -> Aggregate:
    """Returns the mean over tasks; with this status and reason if any task has none."""
    values = tuple(mean for mean in means if mean is not None)
    if not values or len(values) < len(means):
        return Aggregate(n=len(values), values=values, status=status, reason=reason)
    return Aggregate(statistics.fmean(values), n=len(values), values=values)


def _mean_rank(ranks: Sequence[tuple[str, float | None]]) -> Aggregate:
    missing = ", ".join(task for task, rank in ranks if rank is None)
    return _over_tasks([rank for _, rank in ranks], "not measured", f"no value on {missing}")


def _task_cell(table: ComparisonTable, task_rows: Mapping[str, TaskRow]) -> Aggregate:
    if table.name not in task_rows or table.headline is None:
        return Aggregate(status="not run")
    return task_rows[table.name][1].cells[table.headline]


def _cost_cell(column: Column, task_rows: Mapping[str, TaskRow]) -> Aggregate:
    cells = [
        row.cells[index]
        for table, row in task_rows.values()
        for index, other in enumerate(table.columns)
        if other.key == column.key
    ]
    empty = next((cell for cell in cells if cell.mean is None), Aggregate(status="not run"))
    return _over_tasks([cell.mean for cell in cells], empty.status, empty.reason)
