"""Methods against tasks: one table for each model and budget, with mean rank and cost."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from shortlist.leaderboard.table import Cell, CellStatus, Column, Row, RowAxes, Table

ALL = "all tasks"
KINDS = ("cost", "certificate", "count")

Block = tuple[str, int, str]  # budget unit, budget, model
Found = Mapping[str, tuple[Table, Row]]  # by column key


def overview(tables: Sequence[Table]) -> list[Table]:
    """Returns a table of methods against tasks for each model and budget that two tasks share.

    A column is the primary metric of a task and pool. The rank of a method on a task is its place
    there, methods of equal means at the mean of their places; the mean rank is empty as soon as a
    task is missing. A rank says who came first, not by how much nor how surely: the tables of the
    tasks do.
    """
    blocks: dict[Block, list[Table]] = defaultdict(list)
    for table in tables:
        if table.headline is not None:
            for block in dict.fromkeys(_block(row) for row in table.rows if row.record_keys):
                blocks[block].append(table)
    return [
        _overview(block, held)
        for block, held in sorted(blocks.items())
        if len({table.task for table in held}) > 1
    ]


def _block(row: Row) -> Block:
    return row.axes.budget_unit, row.axes.budget, row.axes.model


def _overview(block: Block, tables: Sequence[Table]) -> Table:
    unit, budget, model = block
    rows: dict[RowAxes, dict[str, tuple[Table, Row]]] = defaultdict(dict)
    for table in tables:
        for row in table.rows:
            if row.record_keys and _block(row) == block:
                rows[row.axes][table.name] = table, row
    rank = Column("mean_rank", "mean rank", "rank", higher_is_better=False, kind="rank")
    costs = _costs(tables)
    ranks = _ranks(tables, block)
    made = [
        Row(
            axes=axes,
            cells=(
                _mean_rank(axes, tables, ranks),
                *(_task_cell(table, found) for table in tables),
                *(_cost_cell(column, found) for column in costs),
            ),
            seeds=_seeds(found),
            record_keys=tuple(key for _, row in found.values() for key in row.record_keys),
            warnings=_warnings(found),
            device="; ".join(dict.fromkeys(row.device for _, row in found.values() if row.device)),
        )
        for axes, found in sorted(rows.items(), key=lambda item: item[0].method)
    ]
    names = [table.task for table in tables]
    return Table(
        task=ALL,
        pool=f"{budget:,} {unit}, {model}",
        title=f"{ALL} · {budget:,} {unit}, {model}",
        caption=(
            f"The primary metric of {len(tables)} tasks, mean ± standard deviation over seeds. "
            "Rank 1 is the best mean of a task. Costs are means over the tasks."
        ),
        columns=(rank, *(_column(table, names) for table in tables), *costs),
        rows=tuple(made),
    )


def _column(table: Table, names: Sequence[str]) -> Column:
    assert table.headline is not None
    metric = table.columns[table.headline]
    heading = table.task if names.count(table.task) == 1 else f"{table.task} ({table.pool})"
    return Column(
        key=table.name,
        heading=f"{heading} [{metric.name}]",
        unit=metric.unit,
        higher_is_better=metric.higher_is_better,
        protocol=metric.protocol,
        split=metric.split,
        kind="metric",
        name=metric.name,
    )


def _ranks(tables: Iterable[Table], block: Block) -> dict[tuple[str, RowAxes], float]:
    """Returns the rank of each row of a block on each task."""
    ranks: dict[tuple[str, RowAxes], float] = {}
    for table in tables:
        assert table.headline is not None
        sign = -1 if table.columns[table.headline].higher_is_better else 1
        means = {
            row.axes: sign * mean
            for row in table.rows
            if _block(row) == block and (mean := row.cells[table.headline].mean) is not None
        }
        values = list(means.values())
        for axes, value in means.items():
            before, level = sum(other < value for other in values), values.count(value)
            ranks[table.name, axes] = before + (level + 1) / 2
    return ranks


def _mean_rank(
    axes: RowAxes, tables: Sequence[Table], ranks: Mapping[tuple[str, RowAxes], float]
) -> Cell:
    found = [ranks.get((table.name, axes)) for table in tables]
    values = tuple(rank for rank in found if rank is not None)
    missing = [table.task for table, rank in zip(tables, found, strict=True) if rank is None]
    return Cell(
        mean=statistics.fmean(values) if not missing else None,
        sd=None,
        n=len(values),
        values=values,
        seeds=(),
        status="not measured" if missing else "done",
        reason=f"no value on {', '.join(missing)}" if missing else "",
    )


def _task_cell(table: Table, found: Found) -> Cell:
    if table.name not in found or table.headline is None:
        return Cell(None, None, 0, (), (), "not run")
    return found[table.name][1].cells[table.headline]


def _costs(tables: Sequence[Table]) -> list[Column]:
    """Returns the columns that are no metrics, each once, in the order of the tables."""
    columns = {
        column.key: column for kind in KINDS for t in tables for column in t.columns
        if column.kind == kind
    }  # fmt: skip
    return list(columns.values())


def _cost_cell(column: Column, found: Found) -> Cell:
    """Returns the mean over the tasks; empty as soon as one of them has none."""
    cells = [
        row.cells[index]
        for table, row in found.values()
        for index, other in enumerate(table.columns)
        if other.key == column.key
    ]
    values = tuple(cell.mean for cell in cells if cell.mean is not None)
    empty = next((cell for cell in cells if cell.mean is None), None)
    status: CellStatus = "not run" if not cells else empty.status if empty else "done"
    return Cell(
        mean=statistics.fmean(values) if cells and empty is None else None,
        sd=None,
        n=len(values),
        values=values,
        seeds=(),
        status=status,
        reason=empty.reason if empty else "",
    )


def _seeds(found: Found) -> tuple[int, ...]:
    """Returns the seeds that the row has on every task."""
    seeds = [set(row.seeds) for _, row in found.values()]
    return tuple(sorted(set.intersection(*seeds)))


def _warnings(found: Found) -> tuple[tuple[str, int], ...]:
    counted: dict[str, int] = defaultdict(int)
    for table, row in found.values():
        for text, count in row.warnings:
            counted[f"{table.task}: {text}"] += count
    return tuple(sorted(counted.items()))
