"""The three files of a leaderboard, written from the records beside them."""

from pathlib import Path
from typing import NamedTuple

from shortlist.leaderboard.build import build
from shortlist.leaderboard.page import page
from shortlist.leaderboard.render import markdown, tidy_csv
from shortlist.store.atomic import make_directory, write_text
from shortlist.store.records import read_records


class Published(NamedTuple):
    """Paths of a leaderboard's files."""

    markdown: Path
    csv: Path
    html: Path


def publish(results: Path) -> Published:
    """Returns the paths of `leaderboard.{md,csv,html}` after writing them from `results/records`.

    The same records give the same bytes: no clock, no machine and no order of files leaves a trace.

    Raises:
        InvalidInput: a record is broken, or the directory cannot be written to.
    """
    records = read_records(results)
    tables = build(records)
    make_directory(results, "paths.results")
    return Published(
        markdown=write_text(results / "leaderboard.md", markdown(tables)),
        csv=write_text(results / "leaderboard.csv", tidy_csv(tables)),
        html=write_text(results / "leaderboard.html", page(tables, records)),
    )
