"""The leaderboard as one HTML file: opens from disk, needs no network, shows the records."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from shortlist.core import Metric, Record
from shortlist.leaderboard.plots import Plot, plots, svg
from shortlist.leaderboard.render import (
    HOW,
    TIED,
    budget,
    direction,
    gain_heading,
    gain_words,
    heading,
    legend,
    number,
    signed,
    spread,
)
from shortlist.leaderboard.table import Cell, Column, Gain, Row, Table
from shortlist.store.records import record_path, report_path

PAGE = 50  # rows of a table that are shown at first
STANDINGS = {"best": "best", "tied": "not told apart from the best"}


def page(tables: Sequence[Table], records: Iterable[Record], reports: Collection[str] = ()) -> str:
    """Returns the HTML page of these tables and of the records their cells stand on.

    Everything that comes from a record is escaped: text by the template, the records as JSON in
    which angle brackets and ampersands are Unicode escapes.

    Args:
        tables: in the order of the page.
        records: the cells.
        reports: paths of selection reports that lie beside the page, `reports/<task>/<selector>/
            <key>.html`; the records they belong to link to them.
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
    details = {record.key: _details(record, reports) for record in records if record.key in shown}
    return environment.get_template("page.html.j2").render(
        tables=[_table(index, table) for index, table in enumerate(tables)],
        tasks=sorted({table.task for table in tables}),
        models=sorted({row.axes.model for table in tables for row in table.rows}),
        page=PAGE,
        how=HOW,
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
    gains = table.headline is not None and any(table.gain(row) for row in table.rows)
    return {
        "id": f"table-{index + 1}",
        "title": table.title,
        "task": table.task,
        "pool": table.pool,
        "caption": f"{table.caption} {legend(table)}".strip(),
        "remarks": table.remarks(),
        "gains": gain_heading(table) if gains else "",
        "headline": table.headline,
        "columns": [_column(column) for column in table.columns],
        "rows": [_row(table, row, gains) for row in table.rows],
        "plots": [_plot(plot) for plot in plots(table)],
    }


def _plot(plot: Plot) -> Mapping[str, str]:
    return {"title": plot.title, "about": plot.about, "svg": svg(plot)}


def _column(column: Column) -> Mapping[str, Any]:
    arrow = direction(column) if column.kind in ("metric", "rank") else ""
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


def _row(table: Table, row: Row, gains: bool) -> Mapping[str, Any]:
    axes = row.axes
    cells = [
        _cell(cell, column, row) for cell, column in zip(row.cells, table.columns, strict=True)
    ]
    values = [_finite(cell.mean) for cell in row.cells]
    gain = table.gain(row)
    if gains and table.headline is not None:
        column = table.columns[table.headline]
        cells.insert(table.headline + 1, _gain(gain, column))
        values.insert(table.headline + 1, gain.value if gain else None)
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
        "width": len(cells),
        "whole": whole,
        "status": row.cells[0].status.replace(" ", "-") if whole else "",
        "records": " ".join(row.record_keys),
        "sortable": _json([axes.selector, axes.budget, len(row.seeds), *values]),
        "searched": " ".join(searched).lower(),
        "model": axes.model,
        "words": _json(
            {
                column.heading: gain_words(cell.gain)
                for column, cell in zip(table.columns, row.cells, strict=True)
                if cell.gain is not None
            }
        ),
    }


def _cell(cell: Cell, column: Column, row: Row) -> Mapping[str, Any]:
    return {
        "kind": "value",
        "mean": "" if cell.mean is None else number(cell.mean, column.unit),
        "sd": "" if cell.mean is None else spread(cell, column.unit),
        "why": cell.why,
        "status": cell.status.replace(" ", "-"),
        "standing": cell.standing,
        "mark": STANDINGS.get(cell.standing, ""),
        "sign": TIED if cell.standing == "tied" else "",
        "name": column.name,
        "heading": column.heading,
        # A cell of one task in a row of several opens the records of that task.
        "records": ""
        if cell.record_keys == row.record_keys or not cell.record_keys
        else " ".join(cell.record_keys),
    }


def _gain(gain: Gain | None, column: Column) -> Mapping[str, Any]:
    """Returns the cell of a comparison with random; an empty one for a random selection itself."""
    if gain is None:
        return {"kind": "gain", "mean": "", "verdict": "none"}
    interval = ""
    if gain.low is not None and gain.high is not None:
        interval = f"{signed(gain.low, column.unit)} to {signed(gain.high, column.unit)}"
    return {
        "kind": "gain",
        "mean": signed(gain.value, column.unit),
        "interval": interval or ("one seed" if len(gain.seeds) == 1 else ""),
        "verdict": gain.verdict.replace(" ", "-"),
        "words": gain_words(gain),
        "name": column.name,
        "heading": column.heading,
    }


def _finite(value: float | None) -> float | str | None:
    """Returns the value to sort by; JSON has no infinity, JavaScript reads one from a string."""
    if value is None or value != value:
        return None
    return {float("inf"): "Infinity", float("-inf"): "-Infinity"}.get(value, value)


def _details(record: Record, reports: Collection[str]) -> Mapping[str, Any]:
    """Returns what the page shows of a record, as text; the rest is in the file it links to."""
    axes = record.axes
    selection = record.selection
    report = report_path(Path(), record).as_posix()
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
        "left out": _pairs(record.counts),
        "started": record.started,
        "code": _pairs(
            {name: record.code[name] for name in ("shortlist", "commit") if name in record.code}
        ),
    }
    return {
        "task": axes.task,
        "seed": str(axes.seed),
        "status": record.status,
        "reason": record.reason,
        "path": record_path(Path(), record).as_posix(),
        "report": report if report in reports else "",
        "facts": [[name, value] for name, value in facts.items() if value],
        "domains": _domains(selection.get("domains") or {}),
        "fit": [[name.replace("_", " "), _short(value)] for name, value in _fit(selection)],
        "warnings": list(record.warnings),
        "overrides": list(record.overrides),
        "metrics": [_metric(metric) for metric in record.metrics],
        "stages": [
            [s.stage, f"{s.seconds:,.2f}", f"{s.peak_mib:,.0f}", s.device, s.key]
            for s in record.stages
        ],
    }


def _domains(counts: Mapping[str, int]) -> list[list[Any]]:
    """Returns name, documents and share of each domain, the largest first."""
    whole = sum(counts.values()) or 1
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [[name or "no domain", f"{n:,}", round(n / whole, 4)] for name, n in ordered]


def _fit(selection: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """Returns what the selector reports of its fit that is one value."""
    fit = selection.get("fit")
    if not isinstance(fit, Mapping):
        return []
    return [(str(k), v) for k, v in fit.items() if not isinstance(v, Mapping | list)]


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


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
