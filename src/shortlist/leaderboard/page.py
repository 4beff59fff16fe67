"""The leaderboard as one HTML file that opens from disk, needs no network and shows the records."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from shortlist.core import Record
from shortlist.leaderboard import text
from shortlist.leaderboard.build import ALL_TASKS
from shortlist.leaderboard.columns import COSTS
from shortlist.leaderboard.plots import plots
from shortlist.leaderboard.table import Column, ComparisonTable
from shortlist.rendering.page import embedded_json, render_html
from shortlist.store.records import record_path, report_path

SHOWN_ROWS = 50  # of a table, before the button that shows all


def page(
    tables: Sequence[ComparisonTable], records: Iterable[Record], reports: Collection[str] = ()
) -> str:
    """Returns the HTML page of these tables and of the records behind their cells.

    Args:
        tables: in the order of the page.
        records: the cells.
        reports: paths of datasheets beside the page, `reports/<task>/<selector>/<key>.html`; their
            records link to them.
    """
    shown = {key for table in tables for row in table.rows for key in row.record_keys}
    details = {record.key: _details(record, reports) for record in records if record.key in shown}
    return render_html(
        "shortlist.leaderboard",
        "page.html.j2",
        tables=tables,
        plots=plots,
        text=text,
        column_details=_column_details,
        all_tasks=ALL_TASKS,
        shown_rows=SHOWN_ROWS,
        costs=COSTS.values(),
        records=embedded_json(dict(sorted(details.items()))),
        count=len(details),
    )


def _column_details(column: Column) -> str:
    """Returns what a column holds and how it was measured."""
    parts = [column.title, column.description or column.unit]
    parts += [f"{column.split} split"] if column.split else []
    parts += [f"protocol {column.protocol}"] if column.protocol else []
    return ", ".join(parts)


def _details(record: Record, reports: Collection[str]) -> Mapping[str, Any]:
    """Returns what `page.js` shows of a record; its file has the rest."""
    selection = record.selection
    report = report_path(Path(), record).as_posix()
    fit = selection.get("fit")
    return {
        **asdict(record.axes),
        "status": record.status,
        "reason": record.reason,
        "path": record_path(Path(), record).as_posix(),
        "report": report if report in reports else "",
        "selected": {name: selection[name] for name in ("size", "unique") if name in selection},
        "counts": record.counts,
        "started": record.started,
        "code": {name: record.code[name] for name in ("shortlist", "commit") if name in record.code},
        "domains": selection.get("domains") or {},
        "fit": {
            name: f"{value:.4g}" if isinstance(value, float) else value
            for name, value in (fit.items() if isinstance(fit, Mapping) else ())
            if not isinstance(value, Mapping | list)
        },
        "warnings": record.warnings,
        "overrides": record.overrides,
        "metrics": [
            [
                metric.name, f"{metric.value:.6g}",
                "" if metric.stderr is None else f"{metric.stderr:.4g}",
                f"{metric.n:,}", metric.split, metric.protocol,
            ]
            for metric in record.metrics
        ],
        "stages": [
            [s.stage, s.role, f"{s.seconds:,.2f}", f"{s.peak_mib:,.0f}", s.device, s.key]
            for s in record.stages
        ],
    }  # fmt: skip
