"""Cells and tables as CSV files in the directory of the sweep."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from shortlist.core import Record
from shortlist.leaderboard.table import ComparisonTable
from shortlist.leaderboard.text import tables_csv
from shortlist.store.atomic import make_directory, write_text

FIELDS = (
    "key",
    "task",
    "pool",
    "selector",
    "featurizer",
    "model",
    "budget",
    "budget_unit",
    "seed",
    "status",
    "reason",
    "metric",
    "unit",
    "value",
    "stderr",
    "n",
    "split",
    "protocol",
)


class CsvLogger:
    """Appends one row per metric to a file that the processes of a sweep share.

    Attributes:
        cells: name of the file for cells; a cell without metrics has one row that says why.
        table: name of the file for the comparison tables.
    """

    def __init__(self, cells: str, table: str) -> None:
        self.cells = cells
        self.table = table

    def log_cell(self, record: Record, group: str, directory: Path) -> None:
        """Appends the cell's rows, whole or not at all, under a lock."""
        path = make_directory(directory, "paths.runs") / self.cells
        with FileLock(path.with_name(f".{path.name}.lock")):
            start = path.stat().st_size if path.exists() else 0
            with path.open("a", encoding="utf-8", newline="") as file:
                file.write(_rows(record, header=start == 0))

    def log_table(self, tables: Sequence[ComparisonTable], group: str, directory: Path) -> None:
        """Writes the tables, one value a row."""
        write_text(make_directory(directory, "paths.runs") / self.table, tables_csv(tables))


def _rows(record: Record, header: bool) -> str:
    axes = record.axes
    cell = {
        "key": record.key,
        "task": axes.task,
        "pool": axes.pool,
        "selector": axes.selector,
        "featurizer": axes.featurizer,
        "model": axes.model,
        "budget": axes.budget,
        "budget_unit": axes.budget_unit,
        "seed": axes.seed,
        "status": record.status,
        "reason": record.reason,
    }
    text = io.StringIO()
    writer: csv.DictWriter[str] = csv.DictWriter(text, FIELDS, lineterminator="\n")
    if header:
        writer.writeheader()
    for metric in record.metrics:
        measured = {
            "metric": metric.name,
            "unit": metric.unit,
            "value": metric.value,
            "stderr": metric.stderr,
            "n": metric.n,
            "split": metric.split,
            "protocol": metric.protocol,
        }
        writer.writerow({**cell, **measured})
    if not record.metrics:
        writer.writerow(cell)
    return text.getvalue()
