"""The commands that list what there is: `methods`, and `doctor` for this machine and a run."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from shortlist.cli.terminal import DONE, REFUSED, columns

if TYPE_CHECKING:
    from shortlist.needs import Need


def methods(options: argparse.Namespace) -> None:
    """Prints the methods: what they need, their cost and paper."""
    if options.names:
        from shortlist.overrides import methods as names

        print(*names(), sep="\n")
        return
    from shortlist.pipeline.catalogue import catalogue

    methods = catalogue()
    if options.json:
        from dataclasses import asdict

        print(json.dumps([asdict(method) for method in methods], ensure_ascii=False, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(no_wrap=True)
    table.add_column()
    for method in methods:
        needs = ", ".join([*(["target"] if method.target else []), *method.vectors])
        paper = f"{method.paper} {f'arXiv {method.arxiv}' if method.arxiv else ''}".strip()
        table.add_row(method.name, "selects", method.summary)
        for what, text in (("needs", needs or "nothing"), ("cost", method.cost), ("paper", paper)):
            if text:
                table.add_row("", what, text)
        table.add_row()
    console = Console(width=columns(), highlight=False, markup=False)
    with console.capture() as shown:
        console.print(table)
    print(*map(str.rstrip, shown.get().splitlines()), sep="\n")


def doctor(options: argparse.Namespace) -> int:
    """Returns 1 where something that the defaults, or a run, need is missing."""
    from dataclasses import asdict

    from shortlist.doctor import check_machine, check_run

    typed = [*options.overrides, *options.hydra]
    if typed:
        needs = check_run(typed, online=options.online)
        if options.json:
            print(json.dumps([asdict(need) for need in needs], ensure_ascii=False, indent=1))
        else:
            _print_needs(needs)
        return DONE if all(need.present for need in needs) else REFUSED
    findings = check_machine()
    if options.json:
        print(json.dumps([asdict(one) for one in findings], ensure_ascii=False, indent=1))
    else:
        width = max(len(finding.what) for finding in findings)
        for finding in findings:
            mark = {True: "ok", False: "MISSING", None: "-"}[finding.fine]
            print(f"{mark:<8} {finding.what:<{width}}  {finding.found}")
    return DONE if all(finding.fine is not False for finding in findings) else REFUSED


def _print_needs(needs: Sequence[Need]) -> None:
    """Prints what is present and missing, then the commands that get the latter."""
    from shortlist.pipeline.needs import is_pinned

    width = max((len(need.name) for need in needs), default=0)
    for need in needs:
        size = "size unknown" if need.bytes is None else f"{need.bytes / 1e6:,.1f} MB"
        revision = need.revision[:12] if is_pinned(need) else f"{need.revision} (not pinned)"
        free = need.found if need.kind in ("memory", "disk") else ""
        facts = [need.what, size, *([revision] if need.revision else []), need.licence, free]
        mark = "ok" if need.present else "MISSING"
        print(f"{mark:<8} {need.kind:<8} {need.name:<{width}}  {', '.join(filter(None, facts))}")
    wanted = [need for need in needs if need.kind not in ("memory", "disk")]
    missing = [need for need in wanted if not need.present]
    sizes = [need.bytes for need in missing]
    known, unknown = sum(filter(None, sizes)), sizes.count(None)
    for need in needs:
        if need.kind in ("memory", "disk") and need.command:
            print(f"{need.name}: {need.command}")
    if not missing:
        print("all files and packages are on this machine")
        return
    print(
        f"{len(missing)} of {len(wanted)} are missing: {known / 1e9:,.1f} GB, and {unknown} of "
        "unknown size. What gets them:"
    )
    print(*dict.fromkeys(need.command or need.found for need in missing), sep="\n")
