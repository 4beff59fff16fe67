"""Tables for a terminal of 100 columns: the numbers one looks for first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shortlist.leaderboard.render import (
    TIED,
    budget,
    cell_text,
    gain_text,
    gain_words,
    heading,
    method,
    number,
)
from shortlist.leaderboard.table import Cell, Column, Table

if TYPE_CHECKING:
    import rich.table

WIDTH = 100
METHOD_WIDTH = 24
BORDERS = 2  # blanks between two columns: the box draws one of them
EDGES = 3


def console_table(table: Table) -> rich.table.Table:
    """Returns the table for a console of 100 columns.

    Cost is always shown; the metrics are taken in their order for as long as there is room, the
    standard deviation with the primary one. The caption names what found no room, and says why
    cells are empty.
    """
    import rich.table
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape

    widths = _that_fit(table)
    left_out = [heading(column) for i, column in enumerate(table.columns) if i not in widths]
    caption = [f"also measured: {', '.join(left_out)}"] if left_out else []
    caption += [*_gains(table), *table.gaps(), *table.remarks()]
    made = rich.table.Table(
        title=escape(table.title),
        caption=escape("\n".join(caption)) or None,
        box=SIMPLE_HEAD,
        padding=(0, BORDERS - 1, 0, 0),
        title_justify="left",
        caption_justify="left",
        title_style="bold",
    )
    made.add_column("selector", overflow="fold", width=_method_width(table))
    made.add_column("budget", justify="right", no_wrap=True)
    made.add_column("n", justify="right", no_wrap=True)
    for index, width in widths.items():
        made.add_column(escape(heading(table.columns[index])), justify="right", width=width)
    for row in table.rows:
        texts: list[str] = []
        for index in widths:
            text = escape(_short(row.cells[index], table.columns[index]))
            strong = row.cells[index].standing in ("best", "tied")
            texts.append(f"[bold green]{text}[/]" if strong else text)
        made.add_row(escape(method(row)), budget(row), str(len(row.seeds)), *texts)
    return made


def _short(cell: Cell, column: Column) -> str:
    """Returns the mean (of a primary metric `mean ± sd`), or the status that left it empty."""
    if cell.mean is None:
        return cell.status
    text = cell_text(cell, column) if column.primary else number(cell.mean, column.unit)
    return f"{text} {TIED}" if cell.standing == "tied" else text


def _gains(table: Table) -> list[str]:
    """Returns a line for each method: how far it is from random, and what may be said of that."""
    lines = list[str]()
    for row in table.rows:
        gain = table.gain(row)
        if gain is not None and table.headline is not None:
            text = gain_text(gain, table.columns[table.headline])
            lines.append(f"{row.axes.label}: {text}, {gain_words(gain)}")
    return lines


def _method_width(table: Table) -> int:
    """Returns the width of the first column; longer names are folded."""
    return min(METHOD_WIDTH, max([len("selector"), *(len(method(row)) for row in table.rows)]))


def _that_fit(table: Table) -> dict[int, int]:
    """Returns the columns to show and their widths: cost, and the metrics with room beside it."""
    budgets = max((len(budget(row)) for row in table.rows), default=0)
    seeds = max((len(str(len(row.seeds))) for row in table.rows), default=0)
    room = WIDTH - EDGES - 3 * BORDERS - seeds
    room -= _method_width(table) + max(len("budget"), budgets)
    chosen: dict[int, int] = {}
    kinds = {"rank": 0, "cost": 0, "metric": 1, "count": 2, "certificate": 2}
    order = sorted(
        range(len(table.columns)),
        key=lambda i: (2 if table.columns[i].unit == "MiB" else kinds[table.columns[i].kind], i),
    )
    for index in order:
        column = table.columns[index]
        texts = [_short(row.cells[index], column) for row in table.rows]
        width = max(map(len, [*texts, *heading(column).split()]))
        if width + BORDERS <= room:
            chosen[index] = width
            room -= width + BORDERS
    return dict(sorted(chosen.items()))
