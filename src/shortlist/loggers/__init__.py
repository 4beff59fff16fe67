"""Loggers report cells and comparison tables besides the records: CSV files, Weights & Biases.

A logger is a view: everything that it reports can be computed again from the records.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from shortlist.core import Record
from shortlist.leaderboard.table import ComparisonTable
from shortlist.trainers.curves import Curve


@dataclass(frozen=True)
class CellReport:
    """A cell that has ended, as loggers receive it.

    Attributes:
        record: the cell, whatever its status.
        group: name of the sweep that the cell belongs to.
        directory: where files may be written: the directory of the sweep, or of a single run.
        picks: the cell's `shortlist.jsonl`; None where it has none.
        command: the command that repeats the cell.
        curves: the losses of its trainings, by the name of the stage.
    """

    record: Record
    group: str
    directory: Path
    picks: Path | None = None
    command: str = ""
    curves: Mapping[str, Curve] = field(default_factory=dict[str, Curve])


@runtime_checkable
class Logger(Protocol):
    """Reports cells as they end and tables when a sweep ends."""

    def log_cell(self, report: CellReport) -> None:
        """Reports one cell."""
        ...

    def log_table(self, tables: Sequence[ComparisonTable], group: str, directory: Path) -> None:
        """Reports the comparison tables of a sweep; `group` and `directory` as in `CellReport`."""
        ...
