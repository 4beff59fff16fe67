"""`python -m shortlist.leaderboard`: comparison tables, reproductions, selections side by side."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from shortlist.errors import InvalidInput, Missing, ShortlistError, near
from shortlist.leaderboard.text import WIDTH, console_table
from shortlist.store.records import read_records

if TYPE_CHECKING:
    from shortlist.leaderboard.submission import Derive

RESULTS = Path("results")
PUBLISHED = Path("baselines/published")
CONF = Path("conf")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, 1 without records, 2 for an argument or a file that is unusable."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # of characters that it cannot encode
    commands = {"diff": _diff, "submit": _submit, "check": _check}
    command = commands.get(typed[0] if typed else "")
    try:
        if command is not None:
            command(typed[1:])
        else:
            _tables(typed)
    except ShortlistError as error:
        print(error, file=sys.stderr)
        return 1 if isinstance(error, Missing) else 2
    return 0


def _tables(typed: Sequence[str]) -> None:
    parser = _parser(
        "", "Prints the comparison tables and writes leaderboard.md, .csv, .tex and .html."
    )
    parser.epilog = (
        "Other commands: `diff A B` compares two selections, `submit DIR` adds the records of a run "
        "made elsewhere, `check` checks every record."
    )
    parser.add_argument(
        "table", nargs="?", metavar="TABLE",
        help="print this task's tables only; or compare with a published table (gotd_table3)",
    )  # fmt: skip
    parser.add_argument(
        "--published", type=Path, default=PUBLISHED, metavar="DIR",
        help=f"directory of published tables (default: {PUBLISHED})",
    )  # fmt: skip
    options = parser.parse_args(typed)
    from shortlist.leaderboard.published import published_names

    published = published_names(options.published)
    if options.table in published:
        _reproduction(options.published, options.table, options.results)
        return
    from shortlist.leaderboard.cross import crosses
    from shortlist.leaderboard.publish import build_all, render
    from shortlist.rendering.tables import rich_table
    from shortlist.store.atomic import write_together

    records = read_records(options.results)
    if not records:
        raise Missing(
            f"no records under {options.results / 'records'}; run `python run.py` first "
            "or give another directory with --results DIR"
        )
    tasks = {record.axes.task for record in records}
    if options.table and options.table not in tasks:
        raise InvalidInput(
            f"no table `{options.table}`; {near(options.table, {*tasks, *published})}"
        )
    tables = build_all(options.results, records)
    texts = render(options.results, records, tables)
    write_together(options.results, texts, "--results")
    for table in tables:
        if options.table in (None, table.task):
            _console().print(console_table(table))
            for cross in crosses(table):
                _console().print(rich_table(cross))
    print(*texts, sep="\n")


def _reproduction(directory: Path, name: str, results: Path) -> None:
    """Prints the comparison with a published table and writes it beside the leaderboard."""
    from shortlist.leaderboard.published import read_published
    from shortlist.leaderboard.reproduction import (
        reproduction_console,
        reproduction_markdown,
        reproductions,
    )
    from shortlist.store.atomic import write_together

    table = read_published(directory, name)
    compared = reproductions(table, read_records(results))
    path = results / "verdicts" / f"{name}.md"
    write_together(results, {path: reproduction_markdown(table, compared)}, "--results")
    _console().print(reproduction_console(table, compared))
    print(path)


def _diff(typed: Sequence[str]) -> None:
    parser = _parser(
        "diff",
        "Compares two selections: shortlist.jsonl, selection.parquet, or the directory of a run.",
    )
    parser.add_argument("first", type=Path, metavar="A")
    parser.add_argument("second", type=Path, metavar="B")
    parser.add_argument(
        "--examples", type=int, default=5, metavar="N",
        help="number of documents to show of those in one selection only; 0: all (default: 5)",
    )  # fmt: skip
    options = parser.parse_args(typed)
    from shortlist.leaderboard.selection_diff import read_picks, render_diff, selection_diff

    first, second = read_picks(options.first), read_picks(options.second)
    for part in render_diff(first, second, selection_diff(first, second), options.examples):
        _console().print(part)


def _submit(typed: Sequence[str]) -> None:
    parser = _checking_parser(
        "submit",
        "Checks the records of runs or sweeps, copies them to the results and writes the leaderboard.",
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="DIR", help="of a run or a sweep")
    options = parser.parse_args(typed)
    from shortlist.leaderboard.submission import submit

    conf = _conf(options.conf)
    print(*submit(options.results, options.runs, conf, _derive(conf)), sep="\n")


def _check(typed: Sequence[str]) -> None:
    parser = _checking_parser("check", "Checks every record; names each that breaks a rule.")
    options = parser.parse_args(typed)
    from shortlist.leaderboard.submission import check

    conf = _conf(options.conf)
    checked = check(options.results, conf, _derive(conf))
    if checked.problems:
        raise InvalidInput("\n".join(checked.problems))
    print(f"{len(checked.records):,} records, no problem")


def _conf(directory: Path) -> Path | None:
    if directory.is_dir():
        return directory
    print(f"not compared with the options of conf/: {directory} is no directory", file=sys.stderr)
    return None


def _derive(conf: Path | None) -> Derive | None:
    """Returns what compares a record with its overrides; None where `conf` is not the configuration
    that they would compose.
    """
    if conf is None:
        return None
    from shortlist.derivation import composes, derivation_problems

    if composes(conf):
        return derivation_problems
    print(f"settings are not composed: {conf} is not the configuration in use", file=sys.stderr)
    return None


def _checking_parser(command: str, description: str) -> argparse.ArgumentParser:
    parser = _parser(command, description)
    parser.add_argument(
        "--conf", type=Path, default=CONF, metavar="DIR",
        help=f"directory of the options that records name (default: {CONF})",
    )  # fmt: skip
    return parser


def _parser(command: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m shortlist.leaderboard {command}".strip(), description=description
    )
    parser.add_argument(
        "--results", type=Path, default=RESULTS, metavar="DIR",
        help=f"the directory that contains records/ (default: {RESULTS})",
    )  # fmt: skip
    return parser


def _console() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=WIDTH)


if __name__ == "__main__":
    sys.exit(main())
