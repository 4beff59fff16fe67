"""What a comparison table is: columns that know how they were measured, cells that know why.

A table carries numbers, never text made from them: digits are the affair of the renderings.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind = Literal["metric", "cost", "count"]
CellStatus = Literal["done", "skipped", "failed", "not measured", "not run"]
Value: TypeAlias = str | int | float | None


@dataclass(frozen=True)
class Column:
    """One quantity, measured in one way.

    Attributes:
        key: names the column within its table; equal keys mean equal measurements.
        heading: what a reader sees; two columns of a table never share it.
        unit: unit of the values (a key of `core.UNITS`).
        higher_is_better: direction of improvement; None for a quantity that has none.
        primary: whether it ranks the table.
        protocol: hash of how it was measured.
        split: the split it was measured on.
        kind: `metric` (what came out), `cost` (what it took) or `count`.
    """

    key: str
    heading: str
    unit: str
    higher_is_better: bool | None
    primary: bool = False
    protocol: str = ""
    split: str = ""
    kind: Kind = "metric"


@dataclass(frozen=True)
class Cell:
    """One quantity of one row over its seeds.

    Attributes:
        mean: mean over the seeds; None as soon as one of them has no value.
        sd: standard deviation over the seeds (n - 1); None for fewer than two.
        n: how many values there are.
        values: the values, by seed.
        seeds: the seed of each value.
        status: why the mean is empty, or `done`.
        reason: the same in a sentence; names the seeds it is true of unless it is true of all.
        record_keys: the records behind the cell, with and without a value.
    """

    mean: float | None
    sd: float | None
    n: int
    values: tuple[float, ...]
    seeds: tuple[int, ...]
    status: CellStatus
    reason: str = ""
    record_keys: tuple[str, ...] = ()

    @property
    def why(self) -> str:
        """Why the mean is empty (`failed: out of memory`), or the empty string."""
        if self.status == "done":
            return ""
        return f"{self.status}: {self.reason}" if self.reason else self.status


@dataclass(frozen=True)
class RowAxes:
    """What the cells of a row share: all axes but the seed.

    Attributes:
        settings: `path=value` of the settings that tell rows of equal axes apart.
    """

    selector: str
    featurizer: str
    model: str
    budget: int
    budget_unit: str
    settings: tuple[str, ...] = ()

    @property
    def method(self) -> str:
        """The selector and the settings that tell it from its neighbours: `gotd (epsilon=0.1)`."""
        return f"{self.selector} ({', '.join(self.settings)})" if self.settings else self.selector

    @property
    def label(self) -> str:
        """The row as a reader names it: `gotd, 1,000 documents`."""
        return f"{self.method}, {self.budget:,} {self.budget_unit}"


@dataclass(frozen=True)
class Row:
    """One method at one budget.

    Attributes:
        axes: where the row stands.
        cells: one per column of the table.
        seeds: the seeds of its records, sorted.
        record_keys: its records, by seed; none if it was not run.
        warnings: what must be known about its numbers, with how many records it is true of.
    """

    axes: RowAxes
    cells: tuple[Cell, ...]
    seeds: tuple[int, ...] = ()
    record_keys: tuple[str, ...] = ()
    warnings: tuple[tuple[str, int], ...] = ()

    @property
    def gaps(self) -> tuple[str, ...]:
        """The distinct reasons why cells of this row are empty, in the order of the columns."""
        return tuple(dict.fromkeys(cell.why for cell in self.cells if cell.why))


@dataclass(frozen=True)
class Table:
    """The comparison of methods on one task and one pool.

    Attributes:
        task: the task.
        pool: the pool.
        title: heading of the table.
        caption: what a reader must know to read it, in a sentence or two.
        columns: primary metrics first, then the other metrics, then cost and counts.
        rows: by budget, then by method.
        notes: what is not in the rows (cells that were stopped early).
    """

    task: str
    pool: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """A name for files and logs: `<task>-<pool>`."""
        return f"{self.task}-{self.pool}"

    def best(self, column: int) -> frozenset[int]:
        """Returns the rows whose mean in a metric column is the best one; ties are all of them.

        It is a fact about the means, not a claim that the difference is real. Nothing is marked
        where there is nothing to choose: costs, a single mean, means that are all equal.
        """
        direction = self.columns[column].higher_is_better
        if self.columns[column].kind != "metric" or direction is None:
            return frozenset()
        means = {
            index: mean
            for index, row in enumerate(self.rows)
            if (mean := row.cells[column].mean) is not None and not math.isnan(mean)
        }
        if len(set(means.values())) < 2:
            return frozenset()
        best = max(means.values()) if direction else min(means.values())
        return frozenset(index for index, mean in means.items() if mean == best)

    def gaps(self) -> tuple[str, ...]:
        """Returns one sentence for each reason that left cells of methods empty."""
        return _grouped(
            (row.axes, why)
            for row in self.rows
            for why in row.gaps
            if why.startswith(("failed", "skipped"))
        )

    def remarks(self) -> tuple[str, ...]:
        """Returns one sentence for each warning of the rows, then the notes."""
        warnings = _grouped(
            (
                row.axes,
                f"{text} ({count} of {len(row.seeds)} seeds)" if len(row.seeds) > 1 else text,
            )
            for row in self.rows
            for text, count in row.warnings
        )
        return (*warnings, *self.notes)

    def tidy(self) -> list[dict[str, Value]]:
        """Returns one flat row per row and column: the table as data (CSV)."""
        return [
            {
                "task": self.task,
                "pool": self.pool,
                "selector": row.axes.selector,
                "featurizer": row.axes.featurizer,
                "model": row.axes.model,
                "budget": row.axes.budget,
                "budget_unit": row.axes.budget_unit,
                "settings": " ".join(row.axes.settings),
                "column": column.key,
                "unit": column.unit,
                "higher_is_better": {True: "true", False: "false", None: ""}[
                    column.higher_is_better
                ],
                "primary": "true" if column.primary else "false",
                "split": column.split,
                "protocol": column.protocol,
                "status": cell.status,
                "n": cell.n,
                "mean": cell.mean,
                "sd": cell.sd,
                "seeds": " ".join(map(str, cell.seeds)),
                "values": " ".join(map(repr, cell.values)),
                "reason": cell.reason,
                "records": " ".join(cell.record_keys),
            }
            for row in self.rows
            for column, cell in zip(self.columns, row.cells, strict=True)
        ]

    def wide(self) -> tuple[list[str], list[list[Value]]]:
        """Returns headings and flat rows, one per row: the table as people look at it (W&B)."""
        headings = ["task", "pool", "selector", "featurizer", "model", "budget", "budget_unit"]
        headings += ["settings", "seeds"]
        for column in self.columns:
            headings += [column.heading, f"{column.heading} sd", f"{column.heading} n"]
        headings += ["gaps", "warnings"]
        rows: list[list[Value]] = []
        for row in self.rows:
            axes = row.axes
            flat: list[Value] = [self.task, self.pool, axes.selector, axes.featurizer, axes.model]
            flat += [axes.budget, axes.budget_unit, " ".join(axes.settings)]
            flat += [" ".join(map(str, row.seeds))]
            for cell in row.cells:
                flat += [cell.mean, cell.sd, cell.n]
            flat += ["; ".join(row.gaps), "; ".join(text for text, _ in row.warnings)]
            rows.append(flat)
        return headings, rows


def _grouped(remarks: Iterable[tuple[RowAxes, str]]) -> tuple[str, ...]:
    """Returns `gotd, 200 and 500 documents: <text>`, once for all budgets it holds at."""
    budgets: dict[tuple[str, str, str], list[str]] = {}
    for axes, text in remarks:
        place = budgets.setdefault((axes.method, axes.budget_unit, text), [])
        if (budget := f"{axes.budget:,}") not in place:
            place.append(budget)
    return tuple(
        f"{method}, {' and '.join(found)} {unit}: {text}"
        for (method, unit, text), found in budgets.items()
    )
