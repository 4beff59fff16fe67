"""Tables as LaTeX, for papers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from shortlist.leaderboard.render import (
    budget,
    direction,
    gain_heading,
    gain_text,
    heading,
    marked_text,
    method,
)
from shortlist.leaderboard.table import Row, Table

KINDS = ("rank", "metric", "cost")  # what a paper has room for; the CSV has everything
# What LaTeX has no letters for, and the two that stand for bold while the library escapes.
BOLD, END = "\ue000", "\ue001"
SIGNS = {
    BOLD: r"\textbf{",
    END: "}",
    "±": r"$\pm$",
    "≈": r"$\approx$",
    "\N{MINUS SIGN}": "$-$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "·": r"$\cdot$",
    "∞": r"$\infty$",
    "⚠": "(!)",
}


def latex(tables: Sequence[Table]) -> str:
    """Returns a `table` environment for each table (packages booktabs and caption)."""
    return "\n".join(_latex(table) for table in tables if table.rows)


def _latex(table: Table) -> str:
    import pyarrow as pa
    from great_tables import GT

    kept = [index for index, column in enumerate(table.columns) if column.kind in KINDS]
    gains = any(table.gain(row) for row in table.rows)
    headings = ["selector", "model", "budget", "n"]
    for index in kept:
        column = table.columns[index]
        headings.append(f"{heading(column)} {direction(column)}".strip())
        if gains and index == table.headline:
            headings.append(gain_heading(table))
    rows = [_cells(table, row, kept, gains) for row in table.rows]
    # Columns by number: two headings may be equal once their underscores are gone.
    names = [str(number) for number in range(len(headings))]
    frame = pa.table({name: [row[place] for row in rows] for place, name in enumerate(names)})
    with warnings.catch_warnings():  # it calls its reading of Arrow tables experimental
        warnings.simplefilter("ignore", UserWarning)
        made = GT(frame).tab_header(title=table.title)
    made = made.cols_label(dict(zip(names, headings, strict=True)))
    text = made.cols_align("right", names[2:]).as_latex()
    for sign, command in SIGNS.items():
        text = text.replace(sign, command)
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def _cells(table: Table, row: Row, kept: Sequence[int], gains: bool) -> list[str]:
    cells = [method(row), row.axes.model, budget(row), str(len(row.seeds))]
    for index in kept:
        text = marked_text(row.cells[index], table.columns[index])
        strong = row.cells[index].standing in ("best", "tied")
        cells.append(f"{BOLD}{text}{END}" if strong else text)
        if gains and index == table.headline:
            gain = table.gain(row)
            text = gain_text(gain, table.columns[index])
            told = gain is not None and gain.verdict in ("better", "worse")
            cells.append(f"{BOLD}{text}{END}" if told else text)
    return cells
