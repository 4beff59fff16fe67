"""Representation by selector: which vectors suit which method, as one small table."""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import TYPE_CHECKING

from shortlist.leaderboard.text import arrow, cell_text
from shortlist.rendering.tables import TextCell, TextTable

if TYPE_CHECKING:
    from shortlist.leaderboard.table import ComparisonTable, Row


def crosses(table: ComparisonTable) -> list[TextTable]:
    """Returns a table of representations (rows) by selectors (columns) for each model, budget and
    group of further settings in which two selectors or more were run on the same two
    representations or more.

    A value is the primary metric, mean ± standard deviation over seeds; strong are those that the
    comparison calls the best or tied with it. A selector that was not run on a representation has
    an empty cell.
    """
    if table.headline is None:
        return []
    groups: dict[tuple[object, ...], dict[tuple[str, str], Row]] = defaultdict(dict)
    for row in table.rows:
        axes = row.axes
        if row.record_keys:
            group = axes.budget_unit, axes.budget, axes.model, axes.settings
            groups[group][axes.featurizer, axes.selector] = row
    found = [_cross(table, table.headline, rows) for _, rows in sorted(groups.items(), key=str)]
    return [cross for cross in found if cross is not None]


def _cross(
    table: ComparisonTable, headline: int, rows: dict[tuple[str, str], Row]
) -> TextTable | None:
    run_on: dict[str, set[str]] = defaultdict(set)
    for featurizer, selector in rows:
        run_on[selector].add(featurizer)
    selectors = sorted(name for name, own in run_on.items() if len(own) > 1)
    shared = set[str]().union(*(run_on[name] for name in selectors))
    pairs = itertools.combinations(selectors, 2)
    if all(len(run_on[first] & run_on[second]) < 2 for first, second in pairs):
        return None
    column, (first, *_) = table.columns[headline], rows.values()
    lines = [
        (
            TextCell(featurizer),
            *(_value(rows.get((featurizer, name)), headline, table) for name in selectors),
        )
        for featurizer in sorted(shared)
    ]
    axes = first.axes
    title = (
        f"{table.task}: representation by selector, {column.title} {arrow(column)}, "
        f"{axes.budget:,} {axes.budget_unit}, {axes.model}"
    )
    further = f" ({', '.join(axes.settings)})" if axes.settings else ""
    return TextTable(title + further, ("representation", *selectors), tuple(lines))


def _value(row: Row | None, headline: int, table: ComparisonTable) -> TextCell:
    if row is None:
        return TextCell("")
    cell = row.cells[headline]
    strong = cell.standing in ("best", "tied")
    text = cell.status if cell.missing else cell_text(cell, table.columns[headline])
    return TextCell(text, kind="strong" if strong else "")
