"""The files of a leaderboard, written from the records beside them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from shortlist.core import Record
from shortlist.leaderboard.build import build, overview
from shortlist.leaderboard.page import page
from shortlist.leaderboard.significance import read_noise_floors
from shortlist.leaderboard.table import ComparisonTable
from shortlist.leaderboard.text import latex, markdown, tables_csv
from shortlist.store.atomic import make_directory, write_text
from shortlist.store.records import read_records


class Published(NamedTuple):
    """Paths of the files of a leaderboard."""

    markdown: Path
    csv: Path
    latex: Path
    html: Path


def build_all(results: Path, records: Sequence[Record]) -> list[ComparisonTable]:
    """Returns the tables over all tasks, then those of each task.

    Args:
        results: directory that may hold `noise_floor.csv`.
        records: the cells.

    Raises:
        InvalidInput: `noise_floor.csv` is malformed.
    """
    tables = build(records, read_noise_floors(results))
    return [*overview(tables), *tables]


def write_leaderboard(
    results: Path, records: Sequence[Record], tables: Sequence[ComparisonTable]
) -> Published:
    """Returns the paths of `leaderboard.{md,csv,tex,html}` after writing them to `results`.

    Equal records give equal bytes, whatever the time, the machine and the order of the files.

    Raises:
        InvalidInput: the directory cannot be written to.
    """
    reports = {path.relative_to(results).as_posix() for path in results.glob("reports/*/*/*.html")}
    make_directory(results, "paths.results")
    return Published(
        markdown=write_text(results / "leaderboard.md", markdown(tables)),
        csv=write_text(results / "leaderboard.csv", tables_csv(tables)),
        latex=write_text(results / "leaderboard.tex", latex(tables)),
        html=write_text(results / "leaderboard.html", page(tables, records, reports)),
    )


def publish(results: Path) -> Published:
    """Returns the paths of the files after writing them from `results/records`.

    Raises:
        InvalidInput: a record or `noise_floor.csv` is malformed, or the directory cannot be
            written to.
    """
    records = read_records(results)
    return write_leaderboard(results, records, build_all(results, records))
