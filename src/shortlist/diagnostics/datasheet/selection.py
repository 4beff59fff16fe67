"""The selection itself, as sections of the page: its make-up, its place, its service, examples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shortlist.diagnostics.datasheet import figures, mixes
from shortlist.diagnostics.datasheet.evidence import Evidence, Line
from shortlist.diagnostics.datasheet.sheet import Example, Fact, Figure, Group, Section
from shortlist.diagnostics.datasheet.words import counted, percent, times, value
from shortlist.diagnostics.explanations import CoverageSummary, shortened
from shortlist.rendering.tables import TextCell, TextTable
from shortlist.stats.sampling import order

EXAMPLES = 10  # of the top, of the middle, and of the edge
LONGEST = 600  # characters of an example
LISTED = 10  # targets of a table
LEAST = 0.01  # share of a document's mass that is worth telling


def headline(seen: Evidence) -> tuple[Fact, ...]:
    """Returns the numbers to see first."""
    size, everything = len(seen.chosen), len(seen.documents)
    domains = {seen.picks[at]["domain"] for at in range(size)}
    repeats = size - len(np.unique(seen.labels[seen.rows]))
    facts = [
        Fact("picks", f"{size:,}", f"{percent(size / everything)} of the pool"),
        Fact(
            "domains", f"{len(domains):,}", f"of {len(set(seen.documents.domains)):,} in the pool"
        ),
        Fact("near copies", f"{repeats:,}", "picks that repeat another pick"),
    ]
    if seen.targets:
        without = sum(facts.uncovered for facts in seen.service.values())
        total = len(seen.targets)
        facts.append(Fact("left without", f"{without:,}", f"of {total:,} target texts"))
    return tuple(facts)


def mixture(seen: Evidence) -> Section:
    """Returns what the selection is made of, beside the pool."""
    sizes = np.fromiter(map(len, seen.documents.texts), dtype=np.int64)
    traits = [
        mixes.Trait(
            title,
            seen.documents.trait(column),
            f"{missing}: pool=files pool.{column}=COLUMN names the column that says it.",
        )
        for title, column, missing in (
            ("Toxicity", "toxicity", "Not scored"),
            ("Licence", "licence", "Not known"),
        )
    ]
    return Section(
        "mix",
        "What was chosen",
        "The selection beside the pool it was chosen from, in shares of documents. A ratio above 1 "
        "means that the selection has more of it than the pool.",
        tables=(
            mixes.mix("Domain", seen.documents.domains, seen.rows),
            mixes.lengths(sizes, seen.rows),
            mixes.copies(seen.labels, seen.rows, seen.not_compared),
            *(mixes.trait(one, seen.rows) for one in traits),
        ),
        narrow=True,
    )


def place(seen: Evidence) -> Section:
    """Returns the map and the histogram of scores."""
    said, shown = [], []
    drawn = seen.drawn
    if drawn is None:
        said.append("The method looks at no vectors, so there is no map.")
    else:
        sizes, totals = drawn.sizes, drawn.totals
        first, second = drawn.explained
        names = ("pool", "target", "picks")
        parts = np.split(drawn.places, np.cumsum(sizes)[:-1])
        note = "Shown: " + ", ".join(
            f"{size:,} of {total:,} ({name})"
            for name, size, total in zip(names, sizes, totals, strict=True)
        )
        svg = figures.scatter(
            list(zip(names, parts, strict=True)),
            (
                f"first component, {percent(first)} of the variance",
                f"second component, {percent(second)}",
            ),
        )
        alt = (
            f"Map on two principal components: {sizes[0]:,} documents of the pool as grey dots, "
            f"{sizes[1]:,} target texts as blue triangles, {sizes[2]:,} picks as orange diamonds"
        )
        shown.append(
            Figure(
                "Map", svg, alt, f"{note}. What is near in it need not be near in all dimensions."
            )
        )
    finite = seen.scores[np.isfinite(seen.scores)]
    picks = seen.scores[seen.rows]
    if len(finite) and np.ptp(finite) > 0:
        alt = (
            f"Histogram of scores: the pool's median is {value(float(np.median(finite)))}, the "
            f"picks lie between {value(float(picks.min()))} and {value(float(picks.max()))}"
        )
        shown.append(
            Figure("Scores", figures.histogram(finite, picks), alt, "Counts on a logarithmic axis.")
        )
    else:
        said.append("Every document has the same score: a draw decides.")
    return Section("map", "Where it lies", " ".join(said), figures=tuple(shown))


def service(seen: Evidence) -> tuple[Section, ...]:
    """Returns which texts of each target the picks serve, and which none does; none without
    vectors.
    """
    alone = len(seen.service) == 1
    return tuple(
        _service(
            seen,
            facts,
            [line for line in seen.targets if alone or line["of"] == aim],
            ("service", "Whom it serves")
            if alone
            else (f"service-{number}", f"Whom it serves: {aim}"),
        )
        for number, (aim, facts) in enumerate(seen.service.items(), start=1)
    )


def _service(
    seen: Evidence, facts: CoverageSummary, targets: Sequence[Line], called: tuple[str, str]
) -> Section:
    total = len(targets)
    source = (
        "By the transport plan"
        if facts.how == "plan"
        else "By cosine in the vectors of the method, which has no transport plan"
    )
    if facts.member:
        source += f" (of its member {facts.member})"
    lead = (
        f"{source}: half of the picks' mass goes to {facts.half:,} of "
        f"{counted(total, 'target text')}. "
    )
    if facts.uncovered:
        lead += f"{counted(facts.uncovered, 'target text')} no pick comes near."
    else:
        lead += "There is a pick near every one of them."
    rank = {line["id"]: line["rank"] for line in seen.picks}
    most = sorted(targets, key=lambda line: -line["mass"])[:LISTED]
    far = sorted(
        (line for line in targets if line["uncovered"]),
        key=lambda line: -line["nearest"]["cost"],
    )
    top = most[0]["mass"]
    served = TextTable(
        "Served most",
        ("target", "mass", "by picks"),
        tuple(
            (
                TextCell(line["text"]),
                TextCell(times(line["mass"]), line["mass"] / top, "chosen"),
                TextCell(
                    ", ".join(f"#{rank[one['id']]:,}" for one in line["covered_by"]), kind="soft"
                ),
            )
            for line in most
        ),
        f"Mass: {times(1.0)} is an even share of what the picks bring.",
        texts=True,
    )
    note = (
        f"Left without: even the nearest pick costs more than {value(facts.limit)}, halfway from "
        f"what the median pick costs to its own nearest target ({value(facts.near)}) to the mean "
        f"cost between pool and target ({value(facts.mean_cost)})."
    )
    if len(far) > LISTED:
        note += f" {len(far) - LISTED:,} more are in targets.jsonl."
    without = TextTable(
        "Left without",
        ("target", "nearest pick", "at cost") if far else (),
        tuple(
            (
                TextCell(line["text"]),
                TextCell(f"#{rank[line['nearest']['id']]:,}", kind="soft"),
                TextCell(value(line["nearest"]["cost"])),
            )
            for line in far[:LISTED]
        ),
        note,
        texts=True,
    )
    return Section(*called, lead, tables=(served, without))


def examples(seen: Evidence) -> Section:
    """Returns documents of the top, of the middle and of the edge, with whom they serve."""
    size, texts = len(seen.chosen), seen.documents.table["text"]

    def pick(at: int) -> Example:
        line = seen.picks[at]
        tags = [line["domain"]] if line["domain"] else []
        if line["copies_in_pool"]:
            tags.append(
                counted(line["copies_in_pool"], "near copy", "near copies") + " in the pool"
            )
        serves = [
            (percent(one["share"]), f"{one['of']}: {one['text']}" if "of" in one else one["text"])
            for one in line.get("targets", ())
            if one["share"] >= LEAST
        ]
        return Example(
            f"#{line['rank']:,}",
            f"score {value(line['score'])}",
            shortened(texts[int(seen.rows[at])].as_py(), LONGEST),
            tuple(tags),
            tuple(serves),
        )

    def out(row: int) -> Example:
        domain = seen.documents.table["domain"][row].as_py()
        text = shortened(texts[row].as_py(), LONGEST)
        score = f"score {value(float(seen.scores[row]))}"
        return Example("just out", score, text, (domain,) if domain else ())

    half = EXAMPLES // 2
    groups = [Group("The top", "", tuple(pick(at) for at in range(min(EXAMPLES, size))))]
    if size >= 3 * EXAMPLES:
        middle = range(size // 2 - half, size // 2 - half + EXAMPLES)
        groups.append(Group("The middle", "", tuple(pick(at) for at in middle)))
    last = tuple(pick(at) for at in range(max(0, size - half), size))
    if seen.stochastic:
        note = "The last that got in. A draw decides at the edge, so nothing is next in line."
        return _shown([*groups, Group("The edge", note, last)])
    values = seen.scores.copy()
    values[seen.rows] = -np.inf
    values[[key in seen.excluded for key in seen.documents.ids]] = -np.inf
    following = order(values, seen.documents.id_bits())[:half]
    after = tuple(out(int(row)) for row in following if values[row] > -np.inf)
    return _shown(
        [
            *groups,
            Group("The edge", "The last that got in, and the first that did not.", (*last, *after)),
        ]
    )


def _shown(groups: list[Group]) -> Section:
    lead = (
        "Ten of the top, the middle and the edge. Below a document: the target texts that most of its "
        "mass goes to."
    )
    return Section("examples", "Examples", lead, groups=tuple(groups))
