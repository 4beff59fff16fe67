"""Tables as Markdown and CSV, and the words and numbers that every rendering shows."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from shortlist.leaderboard.flat import tidy
from shortlist.leaderboard.table import Cell, Column, Gain, Row, Table

DIGITS = {"fraction": 4, "correlation": 4, "nats": 4, "nats_gained": 4, "perplexity": 2}
WARNING = "⚠"
TIED = "≈"
HOW = (
    "Methods are compared on the same seeds and, where the records hold them, the same test items, "
    "at the 5 % level corrected by Holm: over all pairs for the best, over the methods for the gain. "
    "With one seed nothing is told: two models are compared then, not two methods."
)
MINUS = "\N{MINUS SIGN}"


def number(value: float, unit: str) -> str:
    """Returns a value with the digits its unit deserves."""
    if not math.isfinite(value):
        return "∞" if value > 0 else f"{MINUS}∞" if value < 0 else "nan"
    if unit == "relative":
        return f"{value:.0e}".replace("e-0", "e-").replace("e+00", "")
    if unit in ("seconds", "MiB", "rank"):
        digits = 1 if abs(value) < 100 and unit != "MiB" else 0
    elif unit == "count":
        digits = 0 if value == int(value) else 1
    else:
        digits = DIGITS.get(unit, 4)
    sign = "+" if unit == "nats_gained" and value >= 0 else ""
    return f"{sign}{value:,.{digits}f}".replace("-", MINUS)


def spread(cell: Cell, unit: str) -> str:
    """Returns the standard deviation of a cell without a sign, or the empty string."""
    if cell.sd is None or unit in ("count", "relative", "MiB"):
        return ""
    return number(cell.sd, unit).lstrip("+") if cell.sd else "0"


def cell_text(cell: Cell, column: Column) -> str:
    """Returns `mean ± sd`, or why there is no mean."""
    if cell.mean is None:
        return cell.why
    sd = spread(cell, column.unit)
    return number(cell.mean, column.unit) + (f" ± {sd}" if sd else "")


def gain_text(gain: Gain | None, column: Column) -> str:
    """Returns `+0.0119 [-0.0030, +0.0268]`, or the difference alone where there is no interval."""
    if gain is None:
        return ""
    value = signed(gain.value, column.unit)
    if gain.low is None or gain.high is None:
        return value
    return f"{value} [{signed(gain.low, column.unit)}, {signed(gain.high, column.unit)}]"


def signed(value: float, unit: str) -> str:
    """Returns a difference with its sign."""
    text = number(value, unit).lstrip("+")
    return text if text.startswith(MINUS) else f"+{text}"


def gain_words(gain: Gain) -> str:
    """Returns what may be said of a gain, in a sentence without a full stop."""
    if gain.reason:
        return f"{gain.verdict} with {gain.over}: {gain.reason}"
    about = f"p = {gain.p:.2g}" if gain.p is not None else ""
    if gain.verdict in ("better", "worse"):
        return f"{gain.verdict} than {gain.over} ({about})"
    if gain.verdict == "below the noise":
        return f"below the noise floor against {gain.over}"
    more = "no number of seeds up to 1,000 would tell a difference of this size"
    if gain.needed is None and gain.items:
        more = f"{gain.items:,} test items are too few for a difference of this size"
    if gain.needed is not None:
        more = f"{gain.needed:,} seeds in all would tell a difference of this size"
    return f"not told apart from {gain.over} ({about}); {more}"


def gain_heading(table: Table) -> str:
    """Returns the heading of the gains: over which random, where it is one for all rows."""
    over = {gain.over for row in table.rows if (gain := table.gain(row))}
    return f"gain over {over.pop()}" if len(over) == 1 else "gain over matched random"


def legend(table: Table) -> str:
    """Returns how to read the marks of a table, in a sentence or two."""
    standings = {cell.standing for row in table.rows for cell in row.cells}
    compared = any(gain.p is not None for row in table.rows if (gain := table.gain(row)))
    texts = list[str]()
    if "best" in standings:
        texts.append(f"Bold: the best, and what is not told apart from it ({TIED}).")
    elif table.headline is not None:
        texts.append("No mark: no method is told from another.")
    if compared:
        texts.append(
            "Gain: on the same seeds, with its 95 % interval; bold where it is told from 0."
        )
    if len(table.devices) == 1:
        texts.append(f"Measured on: {table.devices[0]}.")
    return " ".join(texts)


def direction(column: Column) -> str:
    """Returns an arrow towards better values, or the empty string."""
    return {True: "↑", False: "↓", None: ""}[column.higher_is_better]


def heading(column: Column) -> str:
    """Returns the heading as words: the name without underscores, and the unit where it is time."""
    if column.kind == "cost" and column.heading.endswith("_seconds"):
        return f"{column.heading.removesuffix('_seconds')} (s)"
    if column.unit == "MiB":
        return f"{column.heading.replace('_', ' ')} (MiB)"
    return column.heading.replace("_", " ")


def markdown(tables: Sequence[Table]) -> str:
    """Returns the leaderboard as a Markdown document."""
    parts = [
        "# Leaderboard",
        "",
        "Generated from `records/` by `python -m shortlist.leaderboard`.",
        "",
        HOW,
        "",
    ]
    for table in tables:
        parts += [f"## {escape(table.title)}", ""]
        if about := f"{table.caption} {legend(table)}".strip():
            parts += [escape(about), ""]
        if table.rows:
            parts += [*_markdown_rows(table), ""]
        if remarks := table.remarks():
            parts += [*(f"- {escape(remark)}" for remark in remarks), ""]
    return "\n".join(parts)


def _markdown_rows(table: Table) -> list[str]:
    headings = ["selector", "featurizer", "model", "budget", "n"]
    headings += [f"{heading(column)} {direction(column)}".strip() for column in table.columns]
    gains = any(table.gain(row) for row in table.rows)
    devices = len(table.devices) > 1
    place = 5 + (table.headline or 0) + 1
    if gains:
        headings.insert(place, gain_heading(table))
    headings += ["device"] * devices
    align = ["---"] * 3 + ["---:"] * (len(headings) - 3 - devices) + ["---"] * devices
    lines = [markdown_line([escape(text) for text in headings]), markdown_line(align)]
    for row in table.rows:
        cells = [escape(method(row)), escape(row.axes.featurizer), escape(row.axes.model)]
        cells += [escape(budget(row)), str(len(row.seeds))]
        told: set[str] = set()
        for column, cell in zip(table.columns, row.cells, strict=True):
            text = cell.status if cell.why and cell.why in told else marked_text(cell, column)
            if cell.status != "not applicable":
                told.add(
                    cell.why
                )  # a reason is told once a row; the cells after it name the status
            strong = cell.standing in ("best", "tied")
            cells.append(f"**{escape(text)}**" if strong else escape(text))
        if gains:
            cells.insert(place, _markdown_gain(table, row))
        lines.append(markdown_line([*cells, *[escape(row.device)] * devices]))
    return lines


def _markdown_gain(table: Table, row: Row) -> str:
    gain = table.gain(row)
    if gain is None or table.headline is None:
        return ""
    text = escape(gain_text(gain, table.columns[table.headline]))
    return f"**{text}**" if gain.verdict in ("better", "worse") else text


def marked_text(cell: Cell, column: Column) -> str:
    """Returns the cell's text, with a sign where it is tied with the best."""
    text = cell_text(cell, column)
    return f"{text} {TIED}" if cell.standing == "tied" else text


def method(row: Row) -> str:
    """Returns the method, marked where its numbers come with a warning."""
    return f"{row.axes.method} {WARNING}" if row.warnings else row.axes.method


def budget(row: Row) -> str:
    """Returns the budget; documents go without saying."""
    unit = "" if row.axes.budget_unit == "documents" else f" {row.axes.budget_unit}"
    return f"{row.axes.budget:,}{unit}"


def markdown_line(cells: Sequence[str]) -> str:
    """Returns a row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def escape(text: str) -> str:
    """Returns the text as Markdown that shows it: no markup, no tag and no second column in it."""
    text = " ".join(text.split())
    for character in "\\`*_[]|~":
        text = text.replace(character, f"\\{character}")
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def tidy_csv(tables: Sequence[Table]) -> str:
    """Returns every cell of every table, one a line, numbers in full precision."""
    rows = [row for table in tables for row in tidy(table)]
    if not rows:
        return ""
    file = io.StringIO()
    writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)  # floats are written as their repr, None as an empty field
    return file.getvalue()
