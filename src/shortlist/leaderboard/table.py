"""What a comparison table is: columns that know how they were measured, cells that know why.

A table carries numbers, never text made from them: digits are the affair of the renderings.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind = Literal["rank", "metric", "cost", "certificate", "count"]
CellStatus = Literal["done", "skipped", "failed", "not measured", "not applicable", "not run"]
Standing = Literal["best", "tied", "behind", ""]
Verdict = Literal["better", "worse", "not told apart", "below the noise", "not compared"]
Value: TypeAlias = str | int | float | None


@dataclass(frozen=True)
class Column:
    """One quantity, measured in one way.

    Attributes:
        key: names the column within its table; equal keys mean equal measurements.
        heading: what a reader sees; two columns of a table never share it.
        name: the quantity, which columns of other protocols may share.
        unit: unit of the values: a key of `core.UNITS`, `MiB`, `rank` or `relative`.
        higher_is_better: direction of improvement; None for a quantity that has none.
        primary: whether it ranks the table.
        protocol: hash of how it was measured.
        split: the split it was measured on.
        kind: `rank` (over tasks), `metric` (what came out), `cost` (what it took), `certificate`
            (how exactly the selection's problem was solved) or `count`.
    """

    key: str
    heading: str
    unit: str
    higher_is_better: bool | None
    primary: bool = False
    protocol: str = ""
    split: str = ""
    kind: Kind = "metric"
    name: str = ""


@dataclass(frozen=True)
class Gain:
    """A method against the random selection that it must beat, on the same seeds and items.

    Attributes:
        over: the row that it is compared with, as a reader names it.
        value: mean difference over the shared seeds; positive is better, whatever the metric.
        low: lower end of the 95 % interval of this one difference; None where seeds are too few.
        high: upper end.
        p: p-value, corrected for the methods compared with that random (Holm); None likewise.
        seeds: the seeds that both were run with.
        items: how many test items the interval speaks for beyond; 0 if for these items only.
        needed: how many seeds in all would tell a difference of this size four times out of five;
            None where no number is known to.
        verdict: what may be said.
        flips: by seed, items that only this model got right and only the other did, and McNemar's
            exact p-value; where every item is right or wrong.
        reason: why it could not be compared, or the empty string.
    """

    over: str
    value: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    seeds: tuple[int, ...] = ()
    items: int = 0
    needed: int | None = None
    verdict: Verdict = "not compared"
    flips: tuple[tuple[int, int, int, float], ...] = ()
    reason: str = ""


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
        standing: `best` or `tied` with the best, where another is `behind`; empty where nothing was
            told apart.
        gain: the comparison with a random selection; None for such a selection itself, and for
            columns that are no metrics.
    """

    mean: float | None
    sd: float | None
    n: int
    values: tuple[float, ...]
    seeds: tuple[int, ...]
    status: CellStatus
    reason: str = ""
    record_keys: tuple[str, ...] = ()
    standing: Standing = ""
    gain: Gain | None = None

    @property
    def why(self) -> str:
        """Why the mean is empty (`failed: out of memory`), or the empty string."""
        if self.status == "done":
            return ""
        if self.status == "not applicable":
            return self.reason
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
        device: what its stages were computed on.
    """

    axes: RowAxes
    cells: tuple[Cell, ...]
    seeds: tuple[int, ...] = ()
    record_keys: tuple[str, ...] = ()
    warnings: tuple[tuple[str, int], ...] = ()
    device: str = ""

    @property
    def gaps(self) -> tuple[str, ...]:
        """The distinct reasons why cells of this row are empty, in the order of the columns."""
        return tuple(
            dict.fromkeys(
                cell.why for cell in self.cells if cell.why and cell.status != "not applicable"
            )
        )


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

    @property
    def headline(self) -> int | None:
        """The first primary metric's column, whose gain over random leads; None without one."""
        return next((i for i, column in enumerate(self.columns) if column.primary), None)

    def gain(self, row: Row) -> Gain | None:
        """Returns the row's gain in the primary metric."""
        return None if self.headline is None else row.cells[self.headline].gain

    @property
    def devices(self) -> tuple[str, ...]:
        """The distinct devices of the rows that ran."""
        return tuple(dict.fromkeys(row.device for row in self.rows if row.device))

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
