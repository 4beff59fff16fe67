"""The commands `select` and `compare`, and the dry run."""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shortlist.cli.summary import facts_of, input_lines, print_summary
from shortlist.cli.terminal import console, log_to_terminal, shown
from shortlist.errors import InvalidInput

if TYPE_CHECKING:
    from shortlist.picks import Picks


def select(options: argparse.Namespace) -> None:
    """Prints or writes the selection of each method."""
    from shortlist.picks import check_format

    methods = _chosen(options)
    out = None if options.out is None or str(options.out) == "-" else options.out
    if len(methods) > 1 and options.out is not None and "{method}" not in str(options.out):
        raise InvalidInput(
            f"{options.out}: one file for {len(methods)} methods; put {{method}} into its name, as "
            "in picks-{method}.jsonl"
        )
    if out is not None:
        for method in methods:
            named = Path(str(out).replace("{method}", method))
            check_format(named, [*options.paths, *options.pool, options.target])
    if options.dry_run:
        _dry_run(options, methods)
        return
    if options.stream:
        _stream(options, methods, out)
        return
    for method, picks in _picks_of(options, methods):
        written = None
        if out is not None:
            written = picks.save(Path(str(out).replace("{method}", method)))
        if options.out is not None and out is None:
            for row in picks.to_arrow().to_pylist():
                print(json.dumps(row, ensure_ascii=False))
            print_summary(picks, written, sys.stderr)
        elif options.json:
            print(json.dumps(facts_of(picks, written), ensure_ascii=False))
        else:
            print_summary(picks, written, sys.stdout)


def compare(options: argparse.Namespace) -> None:
    """Prints how far the selections of several methods agree."""
    from rich.table import Table

    methods = _chosen(options)
    if len(methods) < 2:
        raise InvalidInput("compare needs two methods or more: --method gotd,dsir,random")
    done = _picks_of(options, methods)
    table = Table(title=None, header_style="bold")
    for head in ("method", "picks", "domains", "uncovered", "selection", *methods):
        table.add_column(head, justify="left" if head == "method" else "right")
    for name, picks in done:
        facts = facts_of(picks, None)
        uncovered = "" if facts["targets"] is None else f"{facts['uncovered']:,}"
        shared = [
            f"{len(set(picks.ids) & set(other.ids)) / max(len(set(picks.ids)), 1):.0%}"
            for _, other in done
        ]
        seconds = f"{facts['seconds']:,.1f} s"
        table.add_row(
            name, f"{len(picks):,}", f"{len(facts['domains']):,}", uncovered, seconds, *shared
        )
    screen = console(sys.stdout)
    screen.print(table)
    for name, text in input_lines(facts_of(done[0][1], None)):
        screen.print(f"{name:<12} {text}", markup=False)
    screen.print(
        "uncovered: target texts far from every pick; percentages: share of the row's picks that the "
        "column's method picks too"
    )
    for name, picks in done:
        screen.print(f"{name:<12} {shown(picks.directory / 'report.html')}")


def _dry_run(options: argparse.Namespace, methods: Sequence[str]) -> None:
    from rich import box
    from rich.table import Table

    from shortlist.api import plan

    log_to_terminal(options)
    request = _request(options)
    for method in methods:
        table = Table(title=method, title_justify="left", box=box.SIMPLE_HEAD)
        for head in ("stage", "state", "time", "memory", ""):
            table.add_column(head, justify="right" if head in ("time", "memory") else "left")
        seconds = memory = 0.0
        for step in plan(**request, method=method):
            took, used = (0 if math.isnan(x) else x for x in (step.seconds, step.bytes))
            seconds, memory = seconds + took * (step.state != "read"), max(memory, used)
            cells = f"{took:,.1f} s" if took else "", f"{used / 2**20:,.0f} MiB" if used else ""
            table.add_row(step.stage, step.state, *cells, step.note)
        table.add_row("in all, where known", "", f"{seconds:,.1f} s", f"{memory / 2**20:,.0f} MiB")
        console(sys.stdout).print(table)


def _stream(options: argparse.Namespace, methods: Sequence[str], out: Path | None) -> None:
    from shortlist.api import stream
    from shortlist.picks import write_table

    request = _request(options)
    if request.pop("unit") == "tokens":
        raise InvalidInput("--stream counts documents; leave out --unit tokens")
    log_to_terminal(options)
    screen = console(sys.stdout if options.out is None or out else sys.stderr)
    for method in methods:
        place = options.directory
        place = place / method if place and len(methods) > 1 else place
        found = stream(**request, method=method, directory=place, sample=options.sample)
        written = found.directory / "shortlist.jsonl"
        if out is not None:
            written = write_table(found.to_arrow(), Path(str(out).replace("{method}", method)))
        elif options.out is not None:
            print(end=written.read_text(encoding="utf-8"))
        if options.json:
            print(json.dumps({**found.facts, "picks": str(written)}, ensure_ascii=False))
            continue
        counts = found.facts["counts"]
        screen.print(
            f"[bold]{method}[/bold]: {len(found.selection):,} of {counts['documents']:,} documents "
            f"selected, {found.facts['shards']:,} files"
        )
        for name, count in counts.items():
            screen.print(f"{name:<16} {count:,}", markup=False)
        screen.print(f"{'picks':<16} {shown(written)}", markup=False)


def _chosen(options: argparse.Namespace) -> list[str]:
    """Returns the methods that are asked for, each once; all exist."""
    from shortlist.overrides import check_method, composed

    if options.method is None:
        with composed(options.hydra) as config:
            return [config.hydra.runtime.choices["selector"]]
    names = [name.strip() for name in options.method.split(",") if name.strip()]
    for name in names:
        check_method(name)
    if not names:
        raise InvalidInput("--method: expected a name, found none; see `shortlist methods`")
    return list(dict.fromkeys(names))


def _request(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the arguments of `api.select` but the method; standard input is written to a file."""
    from shortlist.data.inputs import Files

    pool = [*options.paths, *options.pool]
    if not pool:
        raise InvalidInput("a pool was expected, found none: shortlist select pool/*.jsonl ...")
    if "-" in pool or options.target == "-":
        from shortlist.data.inputs import stdin
        from shortlist.overrides import input_folder

        if [*pool, options.target].count("-") > 1:
            raise InvalidInput("-: standard input can be read once, found it twice")
        if sys.stdin.isatty():
            raise InvalidInput("-: expected documents on standard input, found a terminal")
        read = str(stdin(sys.stdin.buffer, input_folder(options.hydra)))
        pool = [read if path == "-" else path for path in pool]
        options.target = read if options.target == "-" else options.target
    settings = [*options.hydra]
    if options.quiet:
        settings.append("runtime.progress=false")
    return {
        "pool": Files(tuple(pool)),
        "target": options.target,
        "budget": options.budget,
        "unit": options.unit,
        "text_column": options.text_column,
        "target_column": options.target_column,
        "domain_column": options.domain_column,
        "seed": options.seed,
        "settings": settings,
    }


def _picks_of(options: argparse.Namespace, methods: Sequence[str]) -> list[tuple[str, Picks]]:
    from shortlist.api import select

    request = _request(options)
    log_to_terminal(options)
    command = shlex.join(["shortlist", *options.typed])
    directory, done = options.directory, list[tuple[str, Any]]()
    for method in methods:
        place = directory / method if directory and len(methods) > 1 else directory
        picks = select(**request, method=method, directory=place, command=command)
        done.append((method, picks))
    return done
