"""`python -m shortlist.leaderboard [TABLE] [--results DIR]`: records to tables and files."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from shortlist.errors import ShortlistError, near
from shortlist.leaderboard import build, console_table, publish
from shortlist.leaderboard.console import WIDTH
from shortlist.store.records import read_records


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, 1 if there are no records, 2 if something asked for is unusable."""
    parser = argparse.ArgumentParser(
        prog="python -m shortlist.leaderboard",
        description="Prints the comparison tables and writes leaderboard.md, .csv and .html.",
    )
    parser.add_argument("table", nargs="?", metavar="TABLE", help="print this task's tables only")
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("results"),
        metavar="DIR",
        help="the directory that holds records/ (default: results)",
    )
    options = parser.parse_args(arguments)
    try:
        records = read_records(options.results)
        if not records:
            return _refuse(
                f"no records under {options.results / 'records'}; run `python run.py` first "
                "or name another directory with --results DIR",
                code=1,
            )
        tasks = {record.axes.task for record in records}
        if options.table and options.table not in tasks:
            return _refuse(f"no table `{options.table}`; {near(options.table, tasks)}", code=2)
        written = publish(options.results)
    except ShortlistError as error:
        return _refuse(str(error), code=2)
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    for table in build(records):
        if options.table in (None, table.task):
            console.print(console_table(table))
    for path in written:
        print(path)
    return 0


def _refuse(reason: str, code: int) -> int:
    print(reason, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
