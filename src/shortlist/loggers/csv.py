"""Cells and comparison tables as CSV files in the directory of the sweep."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock

from shortlist.core import Record
from shortlist.leaderboard.table import ComparisonTable, Value
from shortlist.leaderboard.text import csv_text, tables_csv
from shortlist.loggers import CellReport
from shortlist.store.atomic import make_directory, write_text

METRIC_FIELDS = ("unit", "value", "stderr", "n", "split", "protocol")


class CsvLogger:
    """Appends one row per metric to a file that the processes of a sweep share.

    Attributes:
        cells: name of the file of cells; a cell without metrics has one row with its reason.
        table: name of the file of comparison tables.
    """

    def __init__(self, cells: str, table: str) -> None:
        self.cells = cells
        self.table = table

    def log_cell(self, report: CellReport) -> None:
        """Appends the rows of the cell under a lock, so that rows of processes do not mix."""
        path = make_directory(report.directory, "paths.runs") / self.cells
        with FileLock(path.with_name(f".{path.name}.lock")):
            new = not path.exists() or path.stat().st_size == 0
            with path.open("a", encoding="utf-8", newline="") as file:
                file.write(csv_text(_rows(report.record), header=new))

    def log_table(self, tables: Sequence[ComparisonTable], group: str, directory: Path) -> None:
        """Writes the tables, one value per row."""
        write_text(make_directory(directory, "paths.runs") / self.table, tables_csv(tables))


def _rows(record: Record) -> list[dict[str, Value]]:
    cell: dict[str, Value] = {
        "key": record.key, **asdict(record.axes), "status": record.status, "reason": record.reason,
    }  # fmt: skip
    if not record.metrics:
        return [{**cell, "metric": None, **dict.fromkeys(METRIC_FIELDS)}]
    return [
        {**cell, "metric": m.name, **{name: getattr(m, name) for name in METRIC_FIELDS}}
        for m in record.metrics
    ]
