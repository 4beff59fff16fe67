"""The files of a leaderboard, written from the records beside them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from shortlist.core import Record
from shortlist.leaderboard.build import build, overview
from shortlist.leaderboard.cross import crosses
from shortlist.leaderboard.page import page
from shortlist.leaderboard.significance import read_noise_floors
from shortlist.leaderboard.table import ComparisonTable
from shortlist.leaderboard.text import latex, markdown, tables_csv
from shortlist.rendering.tables import escape_markdown, markdown_table
from shortlist.store.atomic import write_together
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


def leaderboard_paths(results: Path) -> Published:
    """Returns the paths of the files of the leaderboard in `results`."""
    return Published(*(results / f"leaderboard.{kind}" for kind in ("md", "csv", "tex", "html")))


def render(
    results: Path, records: Sequence[Record], tables: Sequence[ComparisonTable]
) -> dict[Path, str]:
    """Returns the texts of the files of the leaderboard in `results`, by path.

    Equal records give equal bytes, whatever the time, the machine and the order of the files.
    """
    reports = {path.relative_to(results).as_posix() for path in results.glob("reports/*/*/*.html")}
    paths = leaderboard_paths(results)
    return {
        paths.markdown: markdown(tables) + _crosses(tables),
        paths.csv: tables_csv(tables),
        paths.latex: latex(tables),
        paths.html: page(tables, records, reports),
    }


def _crosses(tables: Sequence[ComparisonTable]) -> str:
    parts = [
        f"\n## {escape_markdown(cross.title)}\n\n{markdown_table(cross)}\n"
        for table in tables
        for cross in crosses(table)
    ]
    return "".join(parts)


def publish(results: Path) -> Published:
    """Returns the paths of the files after writing them from `results/records`.

    Records that cannot be read are left out with a warning (`read_records`).

    Raises:
        InvalidInput: `noise_floor.csv` is malformed, or the directory cannot be written to.
    """
    records = read_records(results)
    texts = render(results, records, build_all(results, records))
    write_together(results, texts, "paths.results")
    return leaderboard_paths(results)
