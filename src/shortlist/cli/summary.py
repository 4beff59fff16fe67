"""The summary of a selection: its facts as plain data, and the screen that shows them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from shortlist.cli.terminal import console, shown

if TYPE_CHECKING:
    from shortlist.picks import Picks

DOMAINS = 10  # lines of a summary


def facts_of(picks: Picks, written: Path | None) -> dict[str, Any]:
    """Returns the summary of a selection as plain data."""
    from shortlist.core import charged_seconds
    from shortlist.data.files import NO_UTF8
    from shortlist.distil.base import Fidelity
    from shortlist.pipeline.distillation import SCORER
    from shortlist.store.atomic import read_jsonl

    record, place = picks.record, picks.directory
    covered = place / "targets.jsonl"
    rows = read_jsonl(covered) if covered.is_file() else None
    fit = record.selection.get("fit") or {}
    distilled = record.selection.get("distil")
    fidelity = None if distilled is None else str(Fidelity.of(distilled))
    last = {name.rpartition(".")[2]: value for name, value in fit.items()}
    return {
        "method": record.axes.selector,
        "documents": len(picks),
        "pool": record.counts.get("pool_kept"),
        "budget": record.axes.budget,
        "unit": record.axes.budget_unit,
        "domains": dict(record.selection["domains"]),
        "targets": None if rows is None else len(rows),
        "uncovered": None if rows is None else sum(bool(row["uncovered"]) for row in rows),
        "of_target": None if rows is None else len({row["id"] for row in rows} & set(picks.ids)),
        "converged": last.get("converged"),
        "marginal_error": last.get("marginal_error"),
        "counts": dict(record.counts),
        "leaks_action": (record.selection.get("leaks") or {}).get("action"),
        "text_columns": [record.config[of].get("text") for of in ("pool", "task")],
        "not_utf8": any(
            NO_UTF8 in path.read_text(encoding="utf-8") for path in place.glob("*_quarantine.txt")
        ),
        "warnings": list(record.warnings),
        "seconds": charged_seconds(record.stages, "selection"),
        "recommended": (record.selection.get("recommended") or {}).get("reason"),
        "sha256": record.selection["sha256"],
        "scorer": None if fidelity is None else str(next(place.glob(f"{SCORER}.*"))),
        "fidelity": fidelity,
        "picks": str(written or place / "shortlist.jsonl"),
        "datasheet": str(place / "report.html") if (place / "report.html").is_file() else None,
        "record": str(place / "record.json"),
    }


def print_summary(picks: Picks, written: Path | None, stream: Any) -> None:
    """Prints one screen on a selection."""
    facts = facts_of(picks, written)
    screen = console(stream)
    of = f" of {facts['pool']:,}" if facts["pool"] else ""
    screen.print(f"[bold]{facts['method']}[/bold]: {facts['documents']:,}{of} documents selected")
    domains = sorted(facts["domains"].items(), key=lambda item: (-item[1], item[0]))
    width = max((len(name) for name, _ in domains[:DOMAINS]), default=0)
    largest = domains[0][1] if domains else 1
    for name, count in domains[:DOMAINS]:
        bar = "█" * max(1, round(24 * count / largest))
        share = count / max(facts["documents"], 1)
        screen.print(f"  {name:<{width}}  {count:>9,}  {share:>6.1%}  {bar}", markup=False)
    if len(domains) > DOMAINS:
        rest = sum(count for _, count in domains[DOMAINS:])
        screen.print(f"  and {rest:,} in {len(domains) - DOMAINS:,} further domains")
    for name, text in _lines(facts):
        screen.print(f"{name:<12} {text}", markup=False)


def input_lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Returns what was read and left out, which is the same for all methods."""
    from shortlist.data.files import TO_UTF8

    counts, lines = facts["counts"], list[tuple[str, str]]()
    if facts["text_columns"][0] != facts["text_columns"][1]:
        of_pool, of_target = facts["text_columns"]
        lines.append(
            ("texts", f"column '{of_pool}' of the pool, column '{of_target}' of the target")
        )
    rejected = {name: count for name, count in counts.items() if "quarantined" in name and count}
    if rejected:
        where = ", ".join(f"{count:,} ({name})" for name, count in rejected.items())
        lines.append(("rejected", f"rows that are no documents: {where}"))
        if facts["not_utf8"]:
            lines.append(("", f"some are not UTF-8; {TO_UTF8}"))
    leaks = "kept" if facts["leaks_action"] == "report" else "never selected"
    for name, text in (
        ("pool_exact_copies", "exact copies in the pool, counted once"),
        ("leaked", f"documents that repeat validation or test texts, {leaks}"),
    ):
        if counts.get(name):
            lines.append((name.removeprefix("pool_").replace("_", " "), f"{counts[name]:,} {text}"))
    return lines


def _lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    lines = list[tuple[str, str]]()
    if facts["targets"] is not None:
        met = facts["targets"] - facts["uncovered"]
        lines.append(("coverage", f"{met:,} of {facts['targets']:,} target texts have a near pick"))
    if facts["of_target"]:
        lines.append(
            (
                "of target",
                f"{facts['of_target']:,} of the picks are texts of the target itself, which the pool "
                "holds too; leave them out of the pool if they are not wanted",
            )
        )
    if facts["converged"] is not None:
        said = "converged" if facts["converged"] else "NOT converged"
        lines.append(
            ("certificate", f"{said}: {facts['marginal_error']:.2%} of the mass misplaced")
        )
    lines += input_lines(facts)
    if facts["recommended"]:
        lines.append(("budget", facts["recommended"]))
    lines += [("warning", text) for text in facts["warnings"]]
    lines.append(("picks", shown(Path(facts["picks"]))))
    if facts["scorer"]:
        lines.append(("scorer", f"{shown(Path(facts['scorer']))}  {facts['fidelity']}"))
    if facts["datasheet"]:
        lines.append(("datasheet", shown(Path(facts["datasheet"]))))
    return lines
