"""The commands that list what there is: `methods`, and `doctor` for this machine."""

from __future__ import annotations

import argparse
import json

from shortlist.cli.terminal import DONE, REFUSED, columns


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
    """Returns 1 where something that the defaults need is missing."""
    from shortlist.doctor import check_machine

    findings = check_machine()
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        mark = {True: "ok", False: "MISSING", None: "-"}[finding.fine]
        print(f"{mark:<8} {finding.what:<{width}}  {finding.found}")
    return DONE if all(finding.fine is not False for finding in findings) else REFUSED
