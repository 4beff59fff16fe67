"""Comparison tables: columns that state how they were measured, values that state why they lack.

Tables hold numbers; text is made from them by `text` and `page`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from shortlist.rendering.tables import TextTable

Kind = Literal["rank", "metric", "cost", "certificate", "count"]
ValueStatus = Literal["done", "skipped", "failed", "not measured", "not applicable", "not run"]
Standing = Literal["best", "tied", "behind", ""]
Verdict = Literal[
    "better", "worse", "no significant difference", "within the noise floor", "not compared"
]
Value: TypeAlias = str | int | float | None


@dataclass(frozen=True)
class Column:
    """One quantity, measured in one way.

    Attributes:
        key: names the column within its table; equal keys mean equal measurements.
        title: heading of the column, distinct within its table.
        unit: unit of the values: a key of `core.UNITS`, `MiB`, `rank` or `relative`.
        higher_is_better: direction of improvement; None for a quantity that has none.
        primary: whether it ranks the methods of the table.
        protocol: hash of the settings of the measurement.
        split: the split it was measured on.
        kind: `rank` (over tasks), `metric` (result), `cost` (time and memory), `certificate` (error
            bound of the selection's optimisation problem) or `count`.
        name: the quantity, which columns of other protocols may share.
        description: how the values are computed, where the title does not say it.
    """

    key: str
    title: str
    unit: str
    higher_is_better: bool | None
    primary: bool = False
    protocol: str = ""
    split: str = ""
    kind: Kind = "metric"
    name: str = ""
    description: str = ""


@dataclass(frozen=True)
class Gain:
    """Difference between a method and its random control, on the same seeds and test items.

    Attributes:
        control: the row of the control, as a reader names it.
        value: mean difference over the shared seeds; positive is better, whatever the metric.
        low: lower end of the 95 % interval of this difference; None for a single seed or values
            without spread.
        high: upper end.
        p: p-value, corrected (Holm) over the methods compared with the same control; None likewise.
        seeds: the shared seeds.
        items: number of test items whose sampling the interval includes; 0 if the interval holds
            for these items only.
        seeds_needed: number of seeds at which a difference of this size would be significant with
            probability 0.8; None where no number up to 1,000 suffices.
        verdict: conclusion from the interval, the p-value and the noise floor.
        reason: why the rows could not be compared; otherwise empty.
    """

    control: str
    value: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    seeds: tuple[int, ...] = ()
    items: int = 0
    seeds_needed: int | None = None
    verdict: Verdict = "not compared"
    reason: str = ""

    @property
    def significant(self) -> bool:
        """Whether the method differs significantly from its control."""
        return self.verdict in ("better", "worse")


@dataclass(frozen=True)
class Aggregate:
    """One quantity of one row over its seeds.

    Attributes:
        mean: mean over the seeds; None if any seed has no value.
        sd: standard deviation over the seeds (n - 1); None for fewer than two.
        n: number of values.
        values: the values, by seed.
        seeds: the seed of each value.
        status: why the mean is missing, or `done`.
        reason: details of the status, with the seeds it applies to unless it applies to all.
        record_keys: the records with and without a value.
        standing: `best`, `tied` (no significant difference from the best) or `behind`; empty where
            no row of the block is behind.
        gain: comparison with the random control; None for a control, and for other columns than
            metrics.
    """

    mean: float | None = None
    sd: float | None = None
    n: int = 0
    values: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()
    status: ValueStatus = "done"
    reason: str = ""
    record_keys: tuple[str, ...] = ()
    standing: Standing = ""
    gain: Gain | None = None

    @property
    def missing(self) -> str:
        """Why the mean is missing (`failed: out of memory`); empty if it is there."""
        if self.status == "done":
            return ""
        if self.status == "not applicable":
            return self.reason
        return f"{self.status}: {self.reason}" if self.reason else self.status


@dataclass(frozen=True)
class RowAxes:
    """The axes that the cells of a row share: all but the seed.

    Attributes:
        settings: `path=value` of the settings in which rows of equal axes differ.
    """

    selector: str
    featurizer: str
    model: str
    budget: int
    budget_unit: str
    settings: tuple[str, ...] = ()

    @property
    def method(self) -> str:
        """The selector and the settings that distinguish it: `gotd (epsilon=0.1)`."""
        return f"{self.selector} ({', '.join(self.settings)})" if self.settings else self.selector

    @property
    def label(self) -> str:
        """The row as a reader names it: `gotd, 1,000 documents`."""
        return f"{self.method}, {self.budget:,} {self.budget_unit}"


@dataclass(frozen=True)
class Row:
    """One method at one budget.

    Attributes:
        axes: position of the row.
        cells: one aggregate per column of the table.
        seeds: the seeds of its records, sorted.
        record_keys: its records, by seed; empty if it was not run.
        warnings: limitations of its numbers, each with the number of records it applies to.
        device: what its stages were computed on.
    """

    axes: RowAxes
    cells: tuple[Aggregate, ...]
    seeds: tuple[int, ...] = ()
    record_keys: tuple[str, ...] = ()
    warnings: tuple[tuple[str, int], ...] = ()
    device: str = ""

    @property
    def common_gap(self) -> str:
        """The reason of missing means, if all are missing for the same; otherwise empty."""
        same = len(self.gaps) == 1 and all(cell.missing for cell in self.cells)
        return self.gaps[0] if same else ""

    @property
    def gaps(self) -> tuple[str, ...]:
        """The distinct reasons of missing means, in the order of the columns."""
        missing = (cell.missing for cell in self.cells if cell.status != "not applicable")
        return tuple(dict.fromkeys(reason for reason in missing if reason))


@dataclass(frozen=True)
class ComparisonTable:
    """The comparison of methods on one task and one pool.

    Attributes:
        task: the task.
        pool: the pool.
        title: heading of the table.
        caption: number of cells, seeds and what is averaged.
        columns: primary metrics first, then other metrics, costs, certificates and counts.
        rows: by budget, then by method.
        notes: limitations of the table, such as cells that stopped early.
        refused: predictions that are not compared, since without a warm-up they are not above the
            majority class: by model and by prefix of their metrics (`PROBE` or none) the reason.
        further: tables that stand below the comparison and need its records.
    """

    task: str
    pool: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    refused: Mapping[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    further: tuple[TextTable, ...] = ()

    @property
    def name(self) -> str:
        """A name for files and logs: `<task>-<pool>`."""
        return f"{self.task}-{self.pool}"

    @property
    def headline(self) -> int | None:
        """Index of the first primary metric; None without one."""
        return next((i for i, column in enumerate(self.columns) if column.primary), None)

    def place(self, name: str) -> int | None:
        """Returns the index of the column of this name; None where there is none."""
        return next((i for i, column in enumerate(self.columns) if column.name == name), None)

    @property
    def has_gains(self) -> bool:
        """Whether a row is compared with a random control in the primary metric."""
        return any(self.gain(row) is not None for row in self.rows)

    def gain(self, row: Row) -> Gain | None:
        """Returns the row's gain in the primary metric."""
        return None if self.headline is None else row.cells[self.headline].gain

    @property
    def devices(self) -> tuple[str, ...]:
        """The distinct devices of the rows that ran."""
        return tuple(dict.fromkeys(row.device for row in self.rows if row.device))

    def gaps(self) -> tuple[str, ...]:
        """Returns one sentence for each reason of missing means that is a failure or a skip."""
        return _grouped(
            (row.axes, reason)
            for row in self.rows
            for reason in row.gaps
            if reason.startswith(("failed", "skipped"))
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
    """Returns `gotd, 200 and 500 documents: <text>`, once for all budgets it applies to."""
    budgets: dict[tuple[str, str, str], dict[str, None]] = {}
    for axes, text in remarks:
        key = (axes.method, axes.budget_unit, text)
        budgets.setdefault(key, {})[f"{axes.budget:,}"] = None
    return tuple(
        f"{method}, {' and '.join(amounts)} {unit}: {text}"
        for (method, unit, text), amounts in budgets.items()
    )
