"""The files of a leaderboard, written from the records beside them."""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from shortlist.core import Record
from shortlist.leaderboard.build import build
from shortlist.leaderboard.latex import latex
from shortlist.leaderboard.noise import read_floors
from shortlist.leaderboard.overview import overview
from shortlist.leaderboard.page import page
from shortlist.leaderboard.render import markdown, tidy_csv
from shortlist.leaderboard.table import Table
from shortlist.store.atomic import make_directory, write_text
from shortlist.store.records import read_records


class Published(NamedTuple):
    """Paths of a leaderboard's files."""

    markdown: Path
    csv: Path
    latex: Path
    html: Path


def tables_of(results: Path, records: Sequence[Record]) -> list[Table]:
    """Returns the tables of these records: those over all tasks, then those of each task.

    Raises:
        InvalidInput: the noise floors in `results` are broken.
    """
    tables = build(records, read_floors(results))
    return [*overview(tables), *tables]


def publish(results: Path) -> Published:
    """Returns the paths of `leaderboard.{md,csv,tex,html}` after writing them from
    `results/records`.

    The same records give the same bytes: no clock, no machine and no order of files leaves a trace.

    Raises:
        InvalidInput: a record is broken, or the directory cannot be written to.
    """
    with _uncollected():
        records = read_records(results)
        tables = tables_of(results, records)
        pages = results.glob("reports/*/*/*.html")
        reports = {path.relative_to(results).as_posix() for path in pages}
        make_directory(results, "paths.results")
        return Published(
            markdown=write_text(results / "leaderboard.md", markdown(tables)),
            csv=write_text(results / "leaderboard.csv", tidy_csv(tables)),
            latex=write_text(results / "leaderboard.tex", latex(tables)),
            html=write_text(results / "leaderboard.html", page(tables, records, reports)),
        )


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keeps the collector of cycles away: of 10,000 records it takes a third of the time, going
    through millions of objects again and again, and finds nothing.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
