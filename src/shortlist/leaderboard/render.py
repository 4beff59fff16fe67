"""Tables as Markdown and CSV, and the numbers as every rendering shows them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from shortlist.leaderboard.table import Cell, Column, Row, Table

DIGITS = {"fraction": 4, "correlation": 4, "nats": 4, "nats_gained": 4, "perplexity": 2}
WARNING = "⚠"
MINUS = "\N{MINUS SIGN}"


def number(value: float, unit: str) -> str:
    """Returns a value with the digits its unit deserves."""
    if not math.isfinite(value):
        return "∞" if value > 0 else f"{MINUS}∞" if value < 0 else "nan"
    if unit == "seconds":
        digits = 1 if abs(value) < 100 else 0
    elif unit == "count":
        digits = 0 if value == int(value) else 1
    else:
        digits = DIGITS.get(unit, 4)
    sign = "+" if unit == "nats_gained" and value >= 0 else ""
    return f"{sign}{value:,.{digits}f}".replace("-", MINUS)


def spread(cell: Cell, unit: str) -> str:
    """Returns the standard deviation of a cell without a sign, or the empty string."""
    if cell.sd is None or unit == "count":
        return ""
    return number(cell.sd, unit).lstrip("+") if cell.sd else "0"


def cell_text(cell: Cell, column: Column) -> str:
    """Returns `mean ± sd`, or why there is no mean."""
    if cell.mean is None:
        return cell.why
    sd = spread(cell, column.unit)
    return number(cell.mean, column.unit) + (f" ± {sd}" if sd else "")


def direction(column: Column) -> str:
    """Returns an arrow towards better values, or the empty string."""
    return {True: "↑", False: "↓", None: ""}[column.higher_is_better]


def heading(column: Column) -> str:
    """Returns the heading as words: the name without underscores, and the unit where it is time."""
    if column.kind == "cost" and column.heading.endswith("_seconds"):
        return f"{column.heading.removesuffix('_seconds')} (s)"
    return column.heading.replace("_", " ")


def markdown(tables: Sequence[Table]) -> str:
    """Returns the leaderboard as a Markdown document."""
    parts = [
        "# Leaderboard",
        "",
        "Generated from `records/` by `python -m shortlist.leaderboard`.",
        "",
    ]
    for table in tables:
        parts += [f"## {_escape(table.title)}", ""]
        if table.caption:
            parts += [_escape(table.caption), ""]
        if table.rows:
            parts += [*_markdown_rows(table), ""]
        if remarks := table.remarks():
            parts += [*(f"- {_escape(remark)}" for remark in remarks), ""]
    return "\n".join(parts)


def _markdown_rows(table: Table) -> list[str]:
    headings = ["selector", "featurizer", "model", "budget", "n"]
    headings += [f"{heading(column)} {direction(column)}".strip() for column in table.columns]
    align = ["---"] * 3 + ["---:"] * (len(headings) - 3)
    best = [table.best(index) for index in range(len(table.columns))]
    lines = [_line([_escape(text) for text in headings]), _line(align)]
    for index, row in enumerate(table.rows):
        cells = [_escape(method(row)), _escape(row.axes.featurizer), _escape(row.axes.model)]
        cells += [_escape(budget(row)), str(len(row.seeds))]
        told: set[str] = set()
        for column, cell, marked in zip(table.columns, row.cells, best, strict=True):
            text = cell.status if cell.why and cell.why in told else cell_text(cell, column)
            told.add(cell.why)  # a reason is told once a row; the cells after it name the status
            cells.append(f"**{_escape(text)}**" if index in marked else _escape(text))
        lines.append(_line(cells))
    return lines


def method(row: Row) -> str:
    """Returns the method, marked where its numbers come with a warning."""
    return f"{row.axes.method} {WARNING}" if row.warnings else row.axes.method


def budget(row: Row) -> str:
    """Returns the budget; documents go without saying."""
    unit = "" if row.axes.budget_unit == "documents" else f" {row.axes.budget_unit}"
    return f"{row.axes.budget:,}{unit}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escape(text: str) -> str:
    """Returns the text as Markdown that shows it: no markup, no tag and no second column in it."""
    text = " ".join(text.split())
    for character in "\\`*_[]|~":
        text = text.replace(character, f"\\{character}")
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def tidy_csv(tables: Sequence[Table]) -> str:
    """Returns every cell of every table, one a line, numbers in full precision."""
    rows = [row for table in tables for row in table.tidy()]
    if not rows:
        return ""
    file = io.StringIO()
    writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)  # floats are written as their repr, None as an empty field
    return file.getvalue()
