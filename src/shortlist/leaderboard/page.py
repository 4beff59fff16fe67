"""The leaderboard as one HTML file: opens from disk, needs no network, shows the records."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from shortlist.core import Metric, Record
from shortlist.leaderboard.render import budget, direction, heading, number, spread
from shortlist.leaderboard.table import Cell, Column, Row, Table


def page(tables: Sequence[Table], records: Iterable[Record]) -> str:
    """Returns the HTML page of these tables and of the records their cells stand on.

    Everything that comes from a record is escaped: text by the template, the records as JSON in
    which angle brackets and ampersands are Unicode escapes.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("shortlist.leaderboard", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = {key for table in tables for row in table.rows for key in row.record_keys}
    details = {record.key: _details(record) for record in records if record.key in shown}
    return environment.get_template("page.html.j2").render(
        tables=[_table(index, table) for index, table in enumerate(tables)],
        rows=sum(len(table.rows) for table in tables),
        cells=len(details),
        records=_json(dict(sorted(details.items()))),
    )


def _json(value: Any) -> str:
    """Returns JSON that can stand inside a script element whatever its strings hold."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _table(index: int, table: Table) -> Mapping[str, Any]:
    best = [table.best(column) for column in range(len(table.columns))]
    return {
        "id": f"table-{index + 1}",
        "title": table.title,
        "task": table.task,
        "pool": table.pool,
        "caption": table.caption,
        "remarks": table.remarks(),
        "columns": [_column(column) for column in table.columns],
        "rows": [_row(table, place, row, best) for place, row in enumerate(table.rows)],
    }


def _column(column: Column) -> Mapping[str, Any]:
    arrow = direction(column) if column.kind == "metric" else ""
    title = f"{column.heading}, {column.unit}"
    title += f", {column.split} split" if column.split else ""
    title += f", protocol {column.protocol}" if column.protocol else ""
    return {
        "heading": heading(column),
        "better": f"{arrow} better" if arrow else "",
        "title": title,
        "primary": column.primary,
        "descending": column.higher_is_better is True,
    }


def _row(table: Table, place: int, row: Row, best: Sequence[frozenset[int]]) -> Mapping[str, Any]:
    axes = row.axes
    cells = [
        _cell(cell, column, place in marked)
        for cell, column, marked in zip(row.cells, table.columns, best, strict=True)
    ]
    means = [_finite(cell.mean) for cell in row.cells]
    whole = row.gaps[0] if len(row.gaps) == 1 and all(cell.why for cell in row.cells) else ""
    searched = (table.task, table.pool, axes.label, axes.featurizer, axes.model, *row.gaps)
    return {
        "selector": axes.selector,
        "settings": axes.settings,
        "about": f"{axes.featurizer} · {axes.model}",
        "budget": budget(row),
        "n": len(row.seeds),
        "warnings": len(row.warnings),
        "label": axes.label,
        "cells": [] if whole else cells,
        "whole": whole,
        "status": row.cells[0].status.replace(" ", "-") if whole else "",
        "records": " ".join(row.record_keys),
        "sortable": _json([axes.selector, axes.budget, len(row.seeds), *means]),
        "searched": " ".join(searched).lower(),
    }


def _cell(cell: Cell, column: Column, marked: bool) -> Mapping[str, Any]:
    mark = "highest mean" if column.higher_is_better else "lowest mean"
    return {
        "mean": "" if cell.mean is None else number(cell.mean, column.unit),
        "sd": "" if cell.mean is None else spread(cell, column.unit),
        "why": cell.why,
        "status": cell.status.replace(" ", "-"),
        "mark": mark if marked else "",
        "name": column.heading.split(" [")[0],
    }


def _finite(value: float | None) -> float | str | None:
    """Returns the value to sort by; JSON has no infinity, JavaScript reads one from a string."""
    if value is None or value != value:
        return None
    return {float("inf"): "Infinity", float("-inf"): "-Infinity"}.get(value, value)


def _details(record: Record) -> Mapping[str, Any]:
    """Returns what the page shows of a record, as text; the rest is in the file it links to."""
    axes = record.axes
    selection = record.selection
    facts = {
        "task": axes.task,
        "pool": axes.pool,
        "selector": axes.selector,
        "featurizer": axes.featurizer,
        "model": axes.model,
        "budget": f"{axes.budget:,} {axes.budget_unit}",
        "selected": _pairs(
            {name: selection[name] for name in ("size", "unique") if name in selection}
        ),
        "domains": _pairs(selection.get("domains") or {}),
        "left out": _pairs(record.counts),
        "started": record.started,
        "code": _pairs(
            {name: record.code[name] for name in ("shortlist", "commit") if name in record.code}
        ),
    }
    return {
        "seed": str(axes.seed),
        "status": record.status,
        "reason": record.reason,
        "path": f"records/{axes.task}/{axes.selector}/{record.key}.json",
        "facts": [[name, value] for name, value in facts.items() if value],
        "warnings": list(record.warnings),
        "overrides": list(record.overrides),
        "metrics": [_metric(metric) for metric in record.metrics],
        "stages": [
            [s.stage, f"{s.seconds:,.2f}", f"{s.peak_mib:,.0f}", s.device, s.key]
            for s in record.stages
        ],
    }


def _metric(metric: Metric) -> Sequence[str]:
    stderr = "" if metric.stderr is None else f"{metric.stderr:.4g}"
    value = f"{metric.value:.6g}"
    return [metric.name, value, stderr, f"{metric.n:,}", metric.split, metric.protocol]


def _pairs(values: Mapping[str, Any]) -> str:
    """Returns `name 1,234 · other 5`, the largest first."""
    numbers = sorted(values.items(), key=lambda pair: (-_size(pair[1]), str(pair[0])))
    return " · ".join(f"{k} {v:,}" if isinstance(v, int) else f"{k} {v}" for k, v in numbers)


def _size(value: Any) -> float:
    return value if isinstance(value, int | float) else 0.0
