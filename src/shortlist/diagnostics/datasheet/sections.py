"""Sections of the datasheet of one selection: what was selected, why, how reliably, and at what
cost.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from shortlist.core import Axes, Corpus, Role, Selection, StageCost, TargetSpec, charged_seconds
from shortlist.diagnostics.datasheet import figures
from shortlist.diagnostics.datasheet.composition import (
    category_table,
    copy_table,
    length_table,
    property_table,
)
from shortlist.diagnostics.datasheet.page import Datasheet, Example, Fact, Figure, Group, Section
from shortlist.diagnostics.explanations import CoverageSummary, Explanations
from shortlist.diagnostics.formatting import (
    counted,
    duration,
    label,
    percent,
    plain,
    ratio,
    shorten,
)
from shortlist.diagnostics.projection import SelectionMap
from shortlist.rendering.tables import TextCell, TextTable
from shortlist.selectors.base import UNRANKED
from shortlist.stats.sampling import order

EXAMPLES = 10  # documents from the top and from the middle; half as many on each side of the edge
EXAMPLE_LENGTH = 600  # characters of an example
LISTED = 10  # target texts of a table
MIN_SHARE = 0.01  # share of a document's mass above which a target text is listed


@dataclass(frozen=True)
class Evidence:
    """A selection, the pool it was chosen from, and its explanations.

    Attributes:
        pool: the pool.
        selection: the selection.
        rows: (k,) its rows in the pool.
        scores: (n,) scores of the pool before any random draw.
        selectable: (n,) whether a document could be selected.
        stochastic: whether a random draw decided.
        clusters: (n,) cluster of near copies of each document.
        not_compared: number of candidate pairs of near copies that were not compared.
        explanations: explanations of the selected documents and coverage of the targets.
        map: the map, for a method with vectors.
    """

    pool: Corpus
    selection: Selection
    rows: NDArray[np.int64]
    scores: NDArray[np.float64]
    selectable: NDArray[np.bool_]
    stochastic: bool
    clusters: NDArray[np.int64]
    not_compared: int
    explanations: Explanations
    map: SelectionMap | None

    @property
    def ranked_scores(self) -> NDArray[np.float64]:
        """(n,) the scores; -inf for documents that the method left out of its ranking."""
        return np.where(self.scores > UNRANKED, self.scores, -np.inf)


def datasheet(
    evidence: Evidence,
    *,
    axes: Axes,
    targets: TargetSpec,
    method: str,
    facts: Mapping[str, Any],
    stages: Sequence[tuple[StageCost, bool]],
    views: Sequence[tuple[str, float]],
    command: str,
    code: Mapping[str, str],
    inputs: Mapping[str, str],
    warnings: Sequence[str],
) -> Datasheet:
    """Returns the datasheet of a selection.

    Args:
        evidence: the selection, the pool and the explanations.
        axes: the cell's place in a table.
        targets: what documents were chosen for.
        method: docstring of the selector; its first paragraph is shown.
        facts: facts of the selection as the record has them.
        stages: cost of each stage so far, and whether it was reused.
        views: name and seconds of what was computed for the page alone.
        command: the command that repeats the selection.
        code: commit and versions of the code.
        inputs: fingerprints and digests by name.
        warnings: what limits the use of the selection.
    """
    sections = [
        composition_section(evidence),
        map_section(evidence),
        *coverage_sections(evidence.explanations),
        *fit_sections(facts.get("fit") or {}),
        comparison_section(facts),
        facts_section("targets", "Targets", facts.get("targets")),
        facts_section("pareto", "Pareto front", facts.get("pareto")),
        facts_section("assumption", "Assumption check", facts.get("assumption")),
        facts_section("leaks", "Leaks", facts.get("leaks")),
        example_section(evidence),
        cost_section(stages, views),
        reproduction_section(command, code, inputs),
    ]
    return Datasheet(
        title=_title(axes, targets, len(evidence.selection)),
        lead=_lead(axes, evidence, method),
        facts=(*headline(evidence), *_effort(facts.get("fit") or {}, stages)),
        warnings=tuple(dict.fromkeys(warnings)),
        sections=tuple(section for section in sections if section is not None),
    )


def _title(axes: Axes, targets: TargetSpec, size: int) -> str:
    pool = f" of {axes.pool}" if axes.pool else ""
    parts = [f"for {' and '.join(targets.toward)}"] if targets.toward else []
    parts += [f"away from {name}" for name, weight in targets.weights.items() if weight < 0]
    return f"{counted(size, 'document')}{pool} {', '.join(parts)}"


def _lead(axes: Axes, evidence: Evidence, method: str) -> str:
    budget, description = evidence.selection.budget, method.strip().split("\n\n")[0]
    vectors = "" if axes.featurizer == "none" else f" on {axes.featurizer} vectors"
    return (
        f"Chosen by {axes.selector}{vectors} from "
        f"{counted(len(evidence.pool), 'document')}, for a budget of "
        f"{budget.amount:,} {budget.unit}. {' '.join(description.split())}"
    )


def headline(evidence: Evidence) -> tuple[Fact, ...]:
    """Returns the size of the selection, its domains, its near copies and the uncovered targets."""
    size, domains = len(evidence.selection), evidence.pool.domains
    chosen = {domains[row] for row in evidence.rows}
    copies = size - len(np.unique(evidence.clusters[evidence.rows]))
    facts = (
        Fact("picks", f"{size:,}", f"{percent(size / len(evidence.pool))} of the pool"),
        Fact("domains", f"{len(chosen):,}", f"of {len(set(domains)):,} in the pool"),
        Fact("near copies", f"{copies:,}", "picks that repeat another pick"),
    )
    coverage = evidence.explanations.coverage.values()
    if not coverage:
        return facts
    uncovered, total = (sum(c.uncovered for c in coverage), sum(c.targets for c in coverage))
    return (*facts, Fact("uncovered", f"{uncovered:,}", f"of {total:,} target texts"))


def _effort(fit: Mapping[str, Any], stages: Sequence[tuple[StageCost, bool]]) -> tuple[Fact, ...]:
    """Returns the error of the transport, and the seconds of the selection."""
    facts: list[Fact] = []
    errors = [value for key, value in fit.items() if key.split(".")[-1] == "marginal_error"]
    if errors:
        solved = all(value for key, value in fit.items() if key.split(".")[-1] == "converged")
        note = f"{percent(max(errors))} mass misplaced{' at most' if len(errors) > 1 else ''}"
        facts.append(Fact("transport", "certified" if solved else "not converged", note))
    if stages:
        took = charged_seconds((cost for cost, _ in stages), "selection")
        facts.append(Fact("selection time", duration(took), f"on {stages[-1][0].device}"))
    return tuple(facts)


def composition_section(evidence: Evidence) -> Section:
    """Returns what the selection consists of, beside the pool."""
    pool, rows = evidence.pool, evidence.rows
    missing = "pool=files pool.{0}=COLUMN names the column that holds it."
    properties = (("Toxicity", "toxicity", "Not scored"), ("Licence", "licence", "Not known"))
    return Section(
        "composition",
        "Composition",
        "The selection beside the pool it was chosen from, in shares of documents. A ratio above 1 "
        "means that the selection has more of it than the pool.",
        tables=(
            category_table("Domain", pool.domains, rows),
            length_table(np.fromiter(map(len, pool.texts), dtype=np.int64), rows),
            copy_table(evidence.clusters, rows, evidence.not_compared),
            *(
                property_table(title, pool.trait(name), rows, f"{what}: {missing.format(name)}")
                for title, name, what in properties
            ),
        ),
        narrow=True,
    )


def map_section(evidence: Evidence) -> Section:
    """Returns the map of pool, targets and selection, and the histogram of scores."""
    lead: list[str] = []
    plots: list[Figure] = []
    if evidence.map is None:
        lead.append("The method reads no vectors, so there is no map.")
    else:
        plots.append(_map_figure(evidence.map))
    scores = evidence.ranked_scores
    finite, chosen = scores[np.isfinite(scores)], scores[evidence.rows]
    if len(finite) and np.ptp(finite) > 0:
        alt = (
            f"Histogram of scores: the pool's median is {plain(float(np.median(finite)))}, the "
            f"picks lie between {plain(float(chosen.min()))} and {plain(float(chosen.max()))}"
        )
        plot = figures.histogram(finite, chosen)
        plots.append(Figure("Scores", plot, alt, "Counts on a logarithmic axis."))
    else:
        lead.append("All documents have the same score: a random draw decides.")
    return Section("map", "Map and scores", " ".join(lead), figures=tuple(plots))


def _map_figure(drawn: SelectionMap) -> Figure:
    sizes, totals, names = drawn.sizes, drawn.totals, ("pool", "target", "picks")
    parts = np.split(drawn.places, np.cumsum(sizes)[:-1])
    first, second = map(percent, drawn.explained)
    axes = f"first component, {first} of the variance", f"second component, {second}"
    alt = (
        f"Map on two principal components: {sizes[0]:,} documents of the pool as grey dots, "
        f"{sizes[1]:,} target texts as blue triangles, {sizes[2]:,} picks as orange diamonds"
    )
    shown = ", ".join(
        f"{size:,} of {total:,} ({name})"
        for name, size, total in zip(names, sizes, totals, strict=True)
    )
    note = f"Shown: {shown}. Distances on the map can differ from those in all dimensions."
    return Figure("Map", figures.scatter(list(zip(names, parts, strict=True)), axes), alt, note)


def coverage_sections(explanations: Explanations) -> list[Section]:
    """Returns which texts of each target the selection covers; nothing for a method without
    vectors.
    """
    rank = {pick["id"]: pick["rank"] for pick in explanations.picks}
    if len(explanations.coverage) == 1:
        (summary,) = explanations.coverage.values()
        return [_coverage("coverage", "Target coverage", summary, explanations.targets, rank)]
    return [
        _coverage(
            f"coverage-{number}",
            f"Target coverage: {target}",
            summary,
            [row for row in explanations.targets if row.get("of") == target],
            rank,
        )
        for number, (target, summary) in enumerate(explanations.coverage.items(), start=1)
    ]


def _coverage(
    name: str,
    title: str,
    summary: CoverageSummary,
    targets: Sequence[Mapping[str, Any]],
    rank: Mapping[str, int],
) -> Section:
    source = (
        "By the transport plan"
        if summary.how == "plan"
        else "By cosine in the vectors of the method, which has no transport plan"
    )
    if summary.member:
        source += f" (of its member {summary.member})"
    uncovered = counted(summary.uncovered, "target text is", "target texts are")
    lead = (
        f"{source}: half of the picks' mass goes to {summary.half:,} of "
        f"{counted(len(targets), 'target text')}. "
        + (f"{uncovered} uncovered." if summary.uncovered else "Every one has a pick near it.")
    )
    most = sorted(targets, key=lambda row: -row["mass"])[:LISTED]
    far = sorted(
        (row for row in targets if row["uncovered"]), key=lambda row: -row["nearest"]["cost"]
    )
    covered_table = TextTable(
        "Most covered",
        ("target", "mass", "by picks"),
        tuple(
            (
                TextCell(row["text"]),
                TextCell(ratio(row["mass"]), row["mass"] / most[0]["mass"], "chosen"),
                TextCell(
                    ", ".join(f"#{rank[one['id']]:,}" for one in row["covered_by"]), kind="soft"
                ),
            )
            for row in most
        ),
        f"Mass: {ratio(1.0)} is an even share of the picks' mass.",
        texts=True,
    )
    note = (
        f"A target text is uncovered if even its nearest pick costs more than "
        f"{plain(summary.limit)}, halfway from the median cost of a pick to its nearest target "
        f"({plain(summary.near)}) to the mean cost between pool and target "
        f"({plain(summary.mean_cost)})."
    )
    if len(far) > LISTED:
        note += f" {len(far) - LISTED:,} more are in targets.jsonl."
    uncovered_table = TextTable(
        "Uncovered",
        ("target", "nearest pick", "at cost") if far else (),
        tuple(
            (
                TextCell(row["text"]),
                TextCell(f"#{rank[row['nearest']['id']]:,}", kind="soft"),
                TextCell(plain(row["nearest"]["cost"])),
            )
            for row in far[:LISTED]
        ),
        note,
        texts=True,
    )
    return Section(name, title, lead, tables=(covered_table, uncovered_table))


def fit_sections(fit: Mapping[str, Any]) -> list[Section]:
    """Returns the facts of each fit; of a transport problem its certificate in words.

    Args:
        fit: facts by name; of a member of a selector under `member.fact`.
    """
    by_method: dict[str, dict[str, Any]] = {}
    for key, value in fit.items():
        method, _, fact = key.rpartition(".")
        by_method.setdefault(method, {})[fact] = value
    return [
        _fit_section(method, facts, f"-{number}" if len(by_method) > 1 else "")
        for number, (method, facts) in enumerate(by_method.items(), start=1)
    ]


def _fit_section(method: str, facts: Mapping[str, Any], suffix: str) -> Section:
    tables, of = (_pairs("", facts),), f" of {method}" if method else ""
    if "marginal_error" not in facts:
        return Section(f"fit{suffix}", f"Fit{of}", tables=tables)
    lead = (
        f"The transport plan misses the target's masses by {percent(facts['marginal_error'])} in "
        "all, measured over the whole pool"
        + ("." if facts.get("converged") else ": more than the tolerance.")
    )
    if facts.get("dual") and "gap" in facts:
        gap = percent(abs(facts["gap"] / facts["dual"]))
        lead += f" Its cost is within {gap} of the optimum, by duality."
    if facts.get("mean_cost"):
        lead += f" Epsilon is {percent(facts['epsilon'] / facts['mean_cost'])} of the mean cost."
    overlap = facts.get("overlap_at_half_epsilon")
    if overlap is not None:
        effect = "a little" if overlap >= 0.95 else "at its edge" if overlap >= 0.8 else "strongly"
        lead += (
            f" At half of that epsilon {percent(overlap)} of the pool's top 5 % stay in it: epsilon "
            f"changes the selection {effect}."
        )
    return Section(f"certificate{suffix}", f"Transport certificate{of}", lead, tables=tables)


def comparison_section(facts: Mapping[str, Any]) -> Section | None:
    """Returns the overlap with the ablation baseline, the recommended budget with its curve, and
    the distances of the domains; None where there is none of them.

    Args:
        facts: facts of the selection as the record has them.
    """
    lead: list[str] = []
    shown: list[Fact] = []
    plots: list[Figure] = []
    for key, overlap in facts.items():
        if key.startswith("against_") and overlap:
            settings = ", ".join(f"{label(k)} {value}" for k, value in overlap["settings"].items())
            lead.append(
                f"{counted(overlap['differ'], 'pick')} of {overlap['of']:,} "
                f"({percent(overlap['differ'] / overlap['of'])}) are due to what the method adds: its "
                f"ablation baseline {label(key.removeprefix('against_'))} at {settings} chooses other "
                "documents in their place."
            )
    recommended = facts.get("recommended")
    if recommended:
        shown.append(Fact("recommended budget", counted(recommended["budget"], "document")))
        lead.append(_sentence(recommended["reason"]))
        plots += [
            *_curve(recommended["curve"], "gradient", recommended["budget"]),
            *_curve(recommended["curve"], "divergence", recommended["budget"]),
        ]
    rows = [
        {
            **{key: value for key, value in row.items() if key != "by_target"},
            **{f"to {target}": value for target, value in row.get("by_target", {}).items()},
        }
        for row in facts.get("divergences") or ()
    ]
    tables = (_records("Distance of each domain from the target", rows),) if rows else ()
    if not (lead or tables):
        return None
    title = "Ablation and budget"
    return Section("ablation", title, " ".join(lead), tuple(shown), tables, tuple(plots))


def _curve(points: Sequence[Mapping[str, Any]], name: str, at: float) -> list[Figure]:
    """Returns the plot of a quantity over the budget, where at least two points have it."""
    pairs = [(p["budget"], p[name]) for p in points if p[name] is not None]
    if len(pairs) < 2:
        return []
    x, y = zip(*pairs, strict=True)
    alt = f"{name} over budget, from {plain(y[0])} to {plain(y[-1])}"
    plot = figures.curve(x, y, ("budget", name), at)
    return [Figure(f"{name} by budget".capitalize(), plot, alt)]


def facts_section(key: str, title: str, facts: Mapping[str, Any] | None) -> Section | None:
    """Returns facts of the record: sentences as text, numbers as facts, lists and mappings as
    tables; None where there are none.

    Args:
        key: anchor of the section.
        title: its heading.
        facts: the facts by name.
    """
    if not facts:
        return None
    sentences = [value for value in facts.values() if isinstance(value, str) and len(value) > 40]
    shown: list[Fact] = []
    lists: list[TextTable] = []
    mappings: list[TextTable] = []
    for name, value in facts.items():
        if isinstance(value, Mapping):
            nested = all(isinstance(inner, Mapping) for inner in value.values())
            rows = [{"": outer, **inner} for outer, inner in value.items()] if nested else []
            mappings.append(_records(label(name), rows) if nested else _pairs(label(name), value))
        elif isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
            lists.append(_records(label(name), value))
        elif value not in sentences:
            shown.append(Fact(label(name), plain(value)))
    lead = " ".join(map(_sentence, sentences))
    return Section(key, title, lead, tuple(shown), (*lists, *mappings))


def _records(title: str, rows: Sequence[Mapping[str, Any]]) -> TextTable:
    """Returns a table with one column per key."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    cells = tuple(tuple(TextCell(plain(row.get(key))) for key in keys) for row in rows)
    return TextTable(title, tuple(label(key) for key in keys), cells)


def _pairs(title: str, facts: Mapping[str, Any]) -> TextTable:
    """Returns a table of names and values."""
    cells = tuple((TextCell(label(str(key))), TextCell(plain(v))) for key, v in facts.items())
    return TextTable(title, (), cells)


def _sentence(text: str) -> str:
    text = text.strip()
    return text if not text or text.endswith((".", "!", "?")) else f"{text}."


def example_section(evidence: Evidence) -> Section:
    """Returns documents of the top, of the middle and of the edge, with the targets they cover."""
    size, half = len(evidence.selection), EXAMPLES // 2
    groups = [Group("The top", "", _picked(evidence, range(min(EXAMPLES, size))))]
    if size >= 3 * EXAMPLES:
        middle = range(size // 2 - half, size // 2 - half + EXAMPLES)
        groups.append(Group("The middle", "", _picked(evidence, middle)))
    last = _picked(evidence, range(max(0, size - half), size))
    if evidence.stochastic:
        note = "The last selected. A random draw decides at the edge, so no document is the next."
        groups.append(Group("The edge", note, last))
    else:
        scores = np.where(evidence.selectable, evidence.ranked_scores, -np.inf)
        scores[evidence.rows] = -np.inf
        following = order(scores, evidence.pool.id_bits())[:half]
        after = (_not_selected(evidence, int(row)) for row in following if scores[row] > -np.inf)
        note = "The last selected, and the first that were not."
        groups.append(Group("The edge", note, (*last, *after)))
    lead = f"Up to {EXAMPLES} documents of the top, the middle and the edge."
    if evidence.explanations.targets:
        lead += " Below a document: the target texts that receive most of its mass."
    return Section("examples", "Examples", lead, groups=tuple(groups))


def _picked(evidence: Evidence, places: range) -> tuple[Example, ...]:
    """Returns the selected documents at `places` of the selection."""
    texts, examples = evidence.pool.table["text"], list[Example]()
    for place in places:
        pick = evidence.explanations.picks[place]
        tags = [pick["domain"]] if pick["domain"] else []
        if copies := pick["copies_in_pool"]:
            tags.append(f"{counted(copies, 'near copy', 'near copies')} in the pool")
        targets = tuple(
            (percent(one["share"]), f"{one['of']}: {one['text']}" if "of" in one else one["text"])
            for one in pick.get("targets", ())
            if one["share"] >= MIN_SHARE
        )
        text = shorten(texts[int(evidence.rows[place])].as_py(), EXAMPLE_LENGTH)
        score = f"score {plain(pick['score'])}"
        examples.append(Example(f"#{pick['rank']:,}", score, text, tuple(tags), targets))
    return tuple(examples)


def _not_selected(evidence: Evidence, row: int) -> Example:
    """Returns the document at a row of the pool."""
    table = evidence.pool.table
    domain, text = table["domain"][row].as_py(), shorten(table["text"][row].as_py(), EXAMPLE_LENGTH)
    score = f"score {plain(float(evidence.scores[row]))}"
    return Example("not selected", score, text, (domain,) if domain else ())


def cost_section(
    stages: Sequence[tuple[StageCost, bool]], views: Sequence[tuple[str, float]]
) -> Section:
    """Returns the cost of each stage when it was computed, by role, and the cost of this page.

    Args:
        stages: cost of each stage, and whether its result was reused.
        views: (name, seconds) of what only this page needs.
    """
    parts = [
        (
            cost.stage,
            cost.role,
            cost.seconds,
            f"{cost.peak_mib:,.0f} MiB",
            ("computed", "reused")[hit],
        )
        for cost, hit in stages
    ]
    parts += [(f"{name} (page)", "page", took, "", "") for name, took in views]
    longest = max((took for _, _, took, _, _ in parts), default=0.0) or 1.0
    rows = tuple(
        (
            TextCell(name),
            TextCell(part, kind="soft"),
            TextCell(duration(took), took / longest, "pool"),
            TextCell(memory),
            TextCell(state, kind="soft"),
        )
        for name, part, took, memory, state in parts
    )
    costs = [cost for cost, _ in stages]
    by_role = {role: charged_seconds(costs, role) for role in get_args(Role)}
    sums = [f"{role} {duration(seconds)}" for role, seconds in by_role.items() if seconds]
    lead = (
        f"{duration(sum(by_role.values()))} in all, every stage as if it had not been in the cache"
        f"{f', on {stages[-1][0].device}' if stages else ''}: {', '.join(sums)}."
    )
    headings = ("stage", "part", "time", "memory", "")
    return Section("cost", "Cost", lead, tables=(TextTable("", headings, rows),))


def reproduction_section(
    command: str, code: Mapping[str, str], inputs: Mapping[str, str]
) -> Section:
    """Returns the command that repeats the selection, the code that ran, and what it read."""
    commit = code.get("commit", "")
    lead = "The command, in a checkout of the commit below; equal fingerprints mean equal inputs."
    if commit.endswith("+changes"):
        lead += " The working tree had changes that were not committed."
    facts = {"commit": commit or "not in a repository", **code, **inputs}
    cells = tuple((TextCell(key), TextCell(text)) for key, text in facts.items())
    tables = (TextTable("", (), cells),)
    return Section("reproduction", "Reproduction", lead, tables=tables, code=command)
