"""The CSV logger: one row per metric, whole rows however many write, failures included."""

import csv
import threading
from pathlib import Path

from shortlist.core import Axes, Metric, Record
from shortlist.leaderboard import build
from shortlist.leaderboard.text import tables_csv
from shortlist.loggers import CellReport
from shortlist.loggers.csv import CsvLogger


def record(seed: int, status: str = "done") -> Record:
    return Record(
        key=f"key{seed}",
        status=status,  # type: ignore[arg-type]
        axes=Axes("toy", "files", "gotd", "minilm", "tiny", 100, "documents", seed),
        reason="" if status == "done" else 'no "memory",\nsorry',
        metrics=(
            Metric("accuracy", "fraction", True, 0.1 + 0.2, 80),
            Metric("mlm_loss_after", "nats", False, 2.5, 40),
        )
        if status == "done"
        else (),
    )


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_cell_has_one_row_per_metric_in_full_precision(tmp_path: Path) -> None:
    CsvLogger("cells.csv", "table.csv").log_cell(CellReport(record(0), "sweep", tmp_path))
    found = rows(tmp_path / "cells.csv")
    assert [row["metric"] for row in found] == ["accuracy", "mlm_loss_after"]
    assert float(found[0]["value"]) == 0.1 + 0.2


def test_a_failed_cell_has_a_row_that_says_why(tmp_path: Path) -> None:
    CsvLogger("cells.csv", "table.csv").log_cell(CellReport(record(0, "failed"), "sweep", tmp_path))
    (row,) = rows(tmp_path / "cells.csv")
    assert (row["status"], row["reason"]) == ("failed", 'no "memory",\nsorry')


def test_cells_logged_at_once_leave_one_header_and_whole_rows(tmp_path: Path) -> None:
    def log(first: int) -> None:
        for seed in range(first, first + 10):
            CsvLogger("cells.csv", "table.csv").log_cell(
                CellReport(record(seed), "sweep", tmp_path)
            )

    threads = [threading.Thread(target=log, args=(10 * index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = rows(tmp_path / "cells.csv")
    assert len(found) == 80
    assert {row["seed"] for row in found} == {str(seed) for seed in range(40)}


def test_the_table_is_the_leaderboards(tmp_path: Path) -> None:
    tables = build([record(0), record(1)])
    CsvLogger("cells.csv", "table.csv").log_table(tables, "sweep", tmp_path)
    assert (tmp_path / "table.csv").read_text(encoding="utf-8") == tables_csv(tables)
