"""What the stages found, as sections of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shortlist.core import StageCost
from shortlist.diagnostics.datasheet import figures
from shortlist.diagnostics.datasheet.sheet import Fact, Figure, Section
from shortlist.diagnostics.datasheet.words import counted, name, percent, seconds, value
from shortlist.rendering.tables import TextCell, TextTable

_PROOF = "marginal_error"
_HALF = "overlap_at_half_epsilon"
_AGAINST = "against_"
_DRAWN = ("gradient", "divergence")


def solves(fit: Mapping[str, Any]) -> tuple[Section, ...]:
    """Returns the certificate of each solve, and how far the top hangs on epsilon."""
    by_method: dict[str, dict[str, Any]] = {}
    for key, found in fit.items():
        method, _, fact = key.rpartition(".")
        by_method.setdefault(method, {})[fact] = found
    several = len(by_method) > 1
    return tuple(
        _solve(method, facts, f"-{number}" if several else "")
        for number, (method, facts) in enumerate(by_method.items(), start=1)
    )


def _solve(method: str, facts: Mapping[str, Any], anchor: str) -> Section:
    title = f"The fit of {method}" if method else "The fit"
    table = TextTable(
        "", (), tuple((TextCell(name(key)), TextCell(value(v))) for key, v in facts.items())
    )
    if _PROOF not in facts:
        return Section(f"fit{anchor}", title, tables=(table,))
    lead = (
        f"The transport plan misses the target's masses by {percent(facts[_PROOF])} in all, "
        "measured over the whole pool"
    )
    lead += (
        "." if facts.get("converged") else ": more than the tolerance, so look before you use it."
    )
    if facts.get("dual") and "gap" in facts:
        gap = percent(abs(facts["gap"] / facts["dual"]))
        lead += f" Its cost is within {gap} of the optimum, by duality."
    if facts.get("mean_cost"):
        share = percent(facts["epsilon"] / facts["mean_cost"])
        lead += f" Epsilon is {share} of the mean cost."
    if _HALF in facts:
        lead += (
            f" At half of that epsilon {percent(facts[_HALF])} of the pool's top 5 % stay in it: "
            f"{_stability(facts[_HALF])}."
        )
    title = f"The certificate{f' of {method}' if method else ''}"
    return Section(f"certificate{anchor}", title, lead, tables=(table,))


def _stability(overlap: float) -> str:
    if overlap >= 0.95:
        return "the choice of epsilon decides next to nothing"
    return "epsilon decides at the edge" if overlap >= 0.8 else "epsilon decides who is chosen"


def compared(selected: Mapping[str, Any]) -> Section | None:
    """Returns what the transport has changed, which budget is recommended, and which domain is near."""
    lead, facts, tables, drawn = [], [], [], []
    for key, against in selected.items():
        if key.startswith(_AGAINST) and against:
            share = percent(against["differ"] / against["of"])
            same = [f"{name(label)} {one}" for label, one in against["settings"].items()]
            lead.append(
                f"{counted(against['differ'], 'pick')} of {against['of']:,} ({share}) would not be "
                "here without the correction for what the pool is made of: "
                f"{name(key.removeprefix(_AGAINST))} at {', '.join(same)} chooses the others too."
            )
    recommended = selected.get("recommended")
    if recommended:
        facts.append(Fact("recommended budget", counted(recommended["budget"], "document")))
        lead.append(_sentence(recommended.get("reason", "")))
        drawn += _curves(recommended.get("curve"), recommended.get("budget"))
    rows = selected.get("divergences")
    if rows:
        flat = [
            {**row, **{f"to {aim}": far for aim, far in row.get("by_target", {}).items()}}
            for row in rows
        ]
        for row in flat:
            row.pop("by_target", None)
        tables.append(_table("Distance of each domain from the target", flat))
    if not (lead or facts or tables):
        return None
    return Section(
        "transport",
        "What the transport did",
        " ".join(lead),
        tuple(facts),
        tuple(tables),
        tuple(drawn),
    )


def found(key: str, title: str, data: Any) -> Section | None:
    """Returns whatever a stage reports under `key`, numbers as facts and lists as tables."""
    if not data:
        return None
    if not isinstance(data, Mapping):
        rows = data if _rows(data) else [{key: one} for one in data]
        return Section(key, title, tables=(_table("", rows),))
    said = [one for one in data.values() if isinstance(one, str) and len(one) > 40]
    facts = [
        Fact(name(label), value(one))
        for label, one in data.items()
        if one not in said and not isinstance(one, Mapping) and not _rows(one)
    ]
    tables = [_table(name(label), one) for label, one in data.items() if _rows(one)]
    for label, one in data.items():
        if isinstance(one, Mapping) and one and all(isinstance(v, Mapping) for v in one.values()):
            tables.append(_table(name(label), [{"": key, **inner} for key, inner in one.items()]))
        elif isinstance(one, Mapping):
            cells = tuple((TextCell(name(str(key))), TextCell(value(v))) for key, v in one.items())
            tables.append(TextTable(name(label), (), cells))
    return Section(key, title, " ".join(map(_sentence, said)), tuple(facts), tuple(tables))


def cost(stages: Sequence[tuple[StageCost, bool]], views: Sequence[tuple[str, float]]) -> Section:
    """Returns what each stage cost when it was computed, and what this page cost.

    Args:
        stages: each with whether its result was there already.
        views: (name, seconds) of what only this page needs.
    """
    total = sum(stage.seconds for stage, _ in stages)
    longest = max((stage.seconds for stage, _ in stages), default=0.0)
    rows = [
        (
            TextCell(stage.stage),
            TextCell(seconds(stage.seconds), stage.seconds / longest if longest else 0.0, "pool"),
            TextCell(f"{stage.peak_mib:,.0f} MiB"),
            TextCell("reused" if reused else "computed", kind="soft"),
        )
        for stage, reused in stages
    ]
    rows += [
        (
            TextCell(f"{view} (page)", kind="soft"),
            TextCell(seconds(took)),
            TextCell(""),
            TextCell(""),
        )
        for view, took in views
    ]
    device = stages[-1][0].device if stages else ""
    lead = f"{seconds(total)} to choose, all stages as if none had been there before, on {device}."
    return Section(
        "cost",
        "What it cost",
        lead,
        tables=(TextTable("", ("stage", "time", "memory", ""), tuple(rows)),),
    )


def repeat(command: str, code: Mapping[str, str], inputs: Mapping[str, str]) -> Section:
    """Returns the command that repeats the selection, the code it ran, and what it read."""
    commit = code.get("commit", "")
    lead = "The command, in a checkout of the commit below; equal fingerprints mean equal inputs."
    if commit.endswith("+changes"):
        lead += " The tree had changes that were not committed."
    cells = [
        (TextCell(label), TextCell(text))
        for label, text in {"commit": commit or "not in a repository", **code, **inputs}.items()
    ]
    return Section(
        "repeat", "Repeat it", lead, tables=(TextTable("", (), tuple(cells)),), code=command
    )


def _rows(data: Any) -> bool:
    return (
        isinstance(data, list | tuple)
        and bool(data)
        and all(isinstance(row, Mapping) for row in data)
    )


def _table(title: str, rows: Any) -> TextTable:
    if isinstance(rows, Mapping):
        rows = [{"": key, "value": one} for key, one in rows.items()]
    rows = [row if isinstance(row, Mapping) else dict(enumerate(row)) for row in rows]
    heads = list(dict.fromkeys(key for row in rows for key in row))
    cells = tuple(tuple(TextCell(value(row.get(head))) for head in heads) for row in rows)
    return TextTable(title, tuple(name(str(head)) for head in heads), cells)


def _curves(data: Any, at: Any) -> list[Figure]:
    """Returns a drawing of gradient and divergence over the first column."""
    if isinstance(data, Mapping):
        columns = dict(data)
    elif _rows(data):
        columns = {key: [row.get(key) for row in data] for key in data[0]}
    else:
        return []
    (first, x), *others = columns.items()
    drawn = []
    for label, y in others:
        if label not in _DRAWN:
            continue
        points = [(a, b) for a, b in zip(x, y, strict=False) if _number(a) and _number(b)]
        if len(points) > 1:
            xs, ys = zip(*points, strict=True)
            svg = figures.curve(xs, ys, (name(first), name(label)), at if _number(at) else None)
            alt = f"{name(label)} over {name(first)}, from {value(ys[0])} to {value(ys[-1])}"
            drawn.append(Figure(f"{name(label)} by {name(first)}".capitalize(), svg, alt))
    return drawn


def _number(one: Any) -> bool:
    return isinstance(one, int | float) and not isinstance(one, bool) and one == one


def _sentence(text: str) -> str:
    text = text.strip()
    return text if not text or text.endswith((".", "!", "?")) else f"{text}."
