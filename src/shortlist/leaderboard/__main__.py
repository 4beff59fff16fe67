"""`python -m shortlist.leaderboard`: records to tables and files; selections side by side."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from shortlist.errors import ShortlistError, near
from shortlist.leaderboard.console import WIDTH, console_table
from shortlist.store.records import read_records

RESULTS = Path("results")
PUBLISHED = Path("baselines/published")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, 1 if there are no records, 2 if something asked for is unusable."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    commands = {"diff": _diff, "submit": _submit, "check": _check}
    try:
        if typed and typed[0] in commands:
            return commands[typed[0]](typed[1:])
        return _tables(typed)
    except ShortlistError as error:
        return _refuse(str(error), code=2)


def _tables(typed: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m shortlist.leaderboard",
        description="Prints the comparison tables and writes leaderboard.md, .csv, .tex and .html.",
        epilog="Others: `diff A B` compares two selections, `submit DIR` adds the records of a run "
        "made elsewhere, `check` holds every record against the rules.",
    )
    parser.add_argument(
        "table", nargs="?", metavar="TABLE",
        help="print this task's tables only; or the verdicts on a published table (gotd_table3)",
    )  # fmt: skip
    _add_results(parser)
    parser.add_argument(
        "--published", type=Path, default=PUBLISHED, metavar="DIR",
        help=f"where published tables are (default: {PUBLISHED})",
    )  # fmt: skip
    options = parser.parse_args(typed)
    from shortlist.leaderboard.published import published_names

    published = published_names(options.published)
    if options.table in published:
        return _verdicts(options.published, options.table, options.results)
    records = read_records(options.results)
    if not records:
        return _refuse(
            f"no records under {options.results / 'records'}; run `python run.py` first "
            "or name another directory with --results DIR",
            code=1,
        )
    tasks = {record.axes.task for record in records}
    if options.table and options.table not in tasks:
        known = near(options.table, {*tasks, *published})
        return _refuse(f"no table `{options.table}`; {known}", code=2)
    from shortlist.leaderboard.publish import publish, tables_of

    written = publish(options.results)
    console = _console()
    for table in tables_of(options.results, records):
        if options.table in (None, table.task):
            console.print(console_table(table))
    for path in written:
        print(path)
    return 0


def _verdicts(directory: Path, name: str, results: Path) -> int:
    """Prints the verdicts on a published table and writes them beside the leaderboard."""
    from shortlist.leaderboard.published import read_published
    from shortlist.leaderboard.verdict_tables import verdicts_console, verdicts_markdown
    from shortlist.leaderboard.verdicts import verdicts
    from shortlist.store.atomic import make_directory, write_text

    table = read_published(directory, name)
    judged = verdicts(table, read_records(results))
    _console().print(verdicts_console(table, judged))
    folder = make_directory(results / "verdicts", "paths.results")
    print(write_text(folder / f"{name}.md", verdicts_markdown(table, judged)))
    return 0


def _diff(typed: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m shortlist.leaderboard diff",
        description="Compares two selections: shortlist.jsonl, selection.parquet, or the directory "
        "of a run.",
    )
    parser.add_argument("first", type=Path, metavar="A")
    parser.add_argument("second", type=Path, metavar="B")
    parser.add_argument(
        "--examples", type=int, default=5, metavar="N",
        help="documents to show of those that only one chose; 0 for all (default: 5)",
    )  # fmt: skip
    options = parser.parse_args(typed)
    from shortlist.leaderboard.selections import read_picks, render, shift

    first, second = read_picks(options.first), read_picks(options.second)
    console = _console()
    for part in render(first, second, shift(first, second), options.examples):
        console.print(part)
    return 0


def _submit(typed: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m shortlist.leaderboard submit",
        description="Checks the records of runs or sweeps, copies them among the results and makes "
        "the leaderboard again.",
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="DIR", help="of a run or a sweep")
    _add_results(parser)
    options = parser.parse_args(typed)
    from shortlist.leaderboard.checking import check, submit
    from shortlist.leaderboard.publish import publish

    check(options.results)
    for path in [*submit(options.results, options.runs), *publish(options.results)]:
        print(path)
    return 0


def _check(typed: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m shortlist.leaderboard check",
        description="Holds every record against the rules; the first broken one is named.",
    )
    _add_results(parser)
    options = parser.parse_args(typed)
    from shortlist.leaderboard.checking import check

    print(f"{len(check(options.results)):,} records, all in order")
    return 0


def _add_results(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--results", type=Path, default=RESULTS, metavar="DIR",
        help=f"the directory that holds records/ (default: {RESULTS})",
    )  # fmt: skip


def _console() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=WIDTH)


def _refuse(reason: str, code: int) -> int:
    print(reason, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
