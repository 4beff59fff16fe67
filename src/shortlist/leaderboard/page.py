"""The leaderboard as one HTML file that opens from disk, needs no network and shows the records."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from shortlist.core import Metric, Record
from shortlist.leaderboard.build import ALL_TASKS
from shortlist.leaderboard.columns import COSTS
from shortlist.leaderboard.plots import plots
from shortlist.leaderboard.table import Aggregate, Column, ComparisonTable, Gain, Row
from shortlist.leaderboard.text import (
    COMPARISON,
    COST_INTRODUCTION,
    TIED,
    arrow,
    budget,
    gain_heading,
    gain_sentence,
    interval_text,
    legend,
    number,
    sd_text,
    signed,
)
from shortlist.rendering.page import embedded_json, render_html
from shortlist.store.records import record_path, report_path

SHOWN_ROWS = 50  # of a table, before the button that shows all
STANDINGS = {"best": "best", "tied": "not significantly different from the best"}


def page(
    tables: Sequence[ComparisonTable], records: Iterable[Record], reports: Collection[str] = ()
) -> str:
    """Returns the HTML page of these tables and of the records behind their cells.

    Args:
        tables: in the order of the page.
        records: the cells.
        reports: paths of selection reports beside the page, `reports/<task>/<selector>/<key>.html`;
            their records link to them.
    """
    shown = {key for table in tables for row in table.rows for key in row.record_keys}
    details = {record.key: _details(record, reports) for record in records if record.key in shown}
    return render_html(
        "shortlist.leaderboard",
        "page.html.j2",
        tables=[_table(index, table) for index, table in enumerate(tables)],
        all_tasks=ALL_TASKS,
        tasks=sorted({table.task for table in tables} - {ALL_TASKS}),
        models=sorted({row.axes.model for table in tables for row in table.rows}),
        shown_rows=SHOWN_ROWS,
        comparison=COMPARISON,
        cost_intro=COST_INTRODUCTION,
        costs=list(COSTS.values()),
        rows=sum(len(table.rows) for table in tables),
        cells=len(details),
        records=embedded_json(dict(sorted(details.items()))),
    )


def _table(index: int, table: ComparisonTable) -> Mapping[str, Any]:
    return {
        "id": f"table-{index + 1}",
        "title": table.title,
        "task": table.task,
        "pool": table.pool,
        "caption": legend(table),
        "remarks": table.remarks(),
        "gains": gain_heading(table) if table.has_gains else "",
        "headline": table.headline,
        "columns": [_column(column) for column in table.columns],
        "rows": [_row(table, row) for row in table.rows],
        "plots": [
            {"title": plot.title, "description": plot.description, "svg": plot.svg()}
            for plot in plots(table)
        ],
    }


def _column(column: Column) -> Mapping[str, Any]:
    better = arrow(column) if column.kind in ("metric", "rank") else ""
    parts = [column.title, column.description or column.unit]
    parts += [f"{column.split} split"] if column.split else []
    parts += [f"protocol {column.protocol}"] if column.protocol else []
    return {
        "title": column.title,
        "better": f"{better} better" if better else "",
        "tooltip": ", ".join(parts),
        "primary": column.primary,
        "descending": column.higher_is_better is True,
    }


def _row(table: ComparisonTable, row: Row) -> Mapping[str, Any]:
    axes, gain, headline = row.axes, table.gain(row), table.headline
    cells = [
        _cell(cell, column, row) for cell, column in zip(row.cells, table.columns, strict=True)
    ]
    values = [_sortable(cell.mean) for cell in row.cells]
    if table.has_gains and headline is not None:
        cells.insert(headline + 1, _gain(gain, table.columns[headline]))
        values.insert(headline + 1, gain.value if gain else None)
    whole = row.gaps[0] if len(row.gaps) == 1 and all(cell.missing for cell in row.cells) else ""
    searched = (table.task, table.pool, axes.label, axes.featurizer, axes.model, *row.gaps)
    sentences = {
        column.key: gain_sentence(cell.gain)
        for column, cell in zip(table.columns, row.cells, strict=True)
        if cell.gain is not None
    }
    return {
        "selector": axes.selector,
        "settings": axes.settings,
        "vectors": f"{axes.featurizer} · {axes.model}",
        "budget": budget(row),
        "n": len(row.seeds),
        "warnings": len(row.warnings),
        "label": axes.label,
        "cells": [] if whole else cells,
        "width": len(cells),
        "whole": whole,
        "status": row.cells[0].status.replace(" ", "-") if whole else "",
        "records": " ".join(row.record_keys),
        "sortable": embedded_json([axes.selector, axes.budget, len(row.seeds), *values]),
        "searched": " ".join(searched).lower(),
        "model": axes.model,
        "sentences": embedded_json(sentences),
    }


def _cell(cell: Aggregate, column: Column, row: Row) -> Mapping[str, Any]:
    return {
        "kind": "value",
        "mean": "" if cell.mean is None else number(cell.mean, column.unit),
        "sd": sd_text(cell, column.unit),
        "missing": cell.missing,
        "status": cell.status.replace(" ", "-"),
        "standing": cell.standing,
        "mark": STANDINGS.get(cell.standing, ""),
        "sign": TIED if cell.standing == "tied" else "",
        "name": column.name,
        "key": column.key,
        # In a row of several tasks, a cell opens the records of its task.
        "records": "" if cell.record_keys == row.record_keys else " ".join(cell.record_keys),
    }


def _gain(gain: Gain | None, column: Column) -> Mapping[str, Any]:
    """Returns the cell of a comparison with the control; an empty one for the control itself."""
    if gain is None:
        return {"kind": "gain", "mean": "", "verdict": "none"}
    return {
        "kind": "gain",
        "mean": signed(gain.value, column.unit),
        "interval": interval_text(gain, column.unit, "{} to {}")
        or ("one seed" if len(gain.seeds) == 1 else ""),
        "verdict": gain.verdict.replace(" ", "-"),
        "sentence": gain_sentence(gain),
        "name": column.name,
        "key": column.key,
    }


def _sortable(value: float | None) -> float | str | None:
    """Returns the value to sort by; JSON has no infinity, JavaScript reads one from a string."""
    if value is None or value != value:
        return None
    return {float("inf"): "Infinity", float("-inf"): "-Infinity"}.get(value, value)


def _details(record: Record, reports: Collection[str]) -> Mapping[str, Any]:
    """Returns what the page shows of a record, as text; its file has the rest."""
    axes, selection = record.axes, record.selection
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
        "counts": _pairs(record.counts),
        "started": record.started,
        "code": _pairs(
            {name: record.code[name] for name in ("shortlist", "commit") if name in record.code}
        ),
    }
    domains: Mapping[str, int] = selection.get("domains") or {}
    documents = sum(domains.values()) or 1
    fit = selection.get("fit")
    return {
        "task": axes.task,
        "seed": str(axes.seed),
        "status": record.status,
        "reason": record.reason,
        "path": record_path(Path(), record).as_posix(),
        "report": report if report in reports else "",
        "facts": [[name, value] for name, value in facts.items() if value],
        "domains": [
            [name or "no domain", f"{n:,}", round(n / documents, 4)]
            for name, n in sorted(domains.items(), key=lambda pair: (-pair[1], pair[0]))
        ],
        "fit": [
            [name.replace("_", " "), _short(value)]
            for name, value in (fit.items() if isinstance(fit, Mapping) else ())
            if not isinstance(value, Mapping | list)
        ],
        "warnings": list(record.warnings),
        "overrides": list(record.overrides),
        "metrics": [_metric(metric) for metric in record.metrics],
        "stages": [
            [s.stage, s.role, f"{s.seconds:,.2f}", f"{s.peak_mib:,.0f}", s.device, s.key]
            for s in record.stages
        ],
    }


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _metric(metric: Metric) -> Sequence[str]:
    stderr = "" if metric.stderr is None else f"{metric.stderr:.4g}"
    value = f"{metric.value:.6g}"
    return [metric.name, value, stderr, f"{metric.n:,}", metric.split, metric.protocol]


def _pairs(values: Mapping[str, Any]) -> str:
    """Returns `name 1,234 · other 5`, the largest number first."""

    def size(value: Any) -> float:
        return value if isinstance(value, int | float) else 0.0

    ordered = sorted(values.items(), key=lambda pair: (-size(pair[1]), str(pair[0])))
    return " · ".join(f"{k} {v:,}" if isinstance(v, int) else f"{k} {v}" for k, v in ordered)
