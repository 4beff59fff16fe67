"""The datasheet of a selection: `report.html` and `report.md` beside `shortlist.jsonl`.

A view: it enters no key and no record, and `runtime.report=false` leaves it out. What takes time is
kept in the store (`stages/reasons.py`), so a cell that is reused writes its page in a second.
"""

from __future__ import annotations

import json
import logging
import shlex
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from shortlist.core import StageCost
from shortlist.numerics.sampling import order
from shortlist.reports import figures, mixes, sections
from shortlist.reports.page import html, markdown
from shortlist.reports.sheet import Cell, Example, Fact, Figure, Group, Section, Sheet, Table
from shortlist.reports.words import counted, percent, seconds, shortened, times, value
from shortlist.stages.reasons import choose_lens, explain, find_copies, locate
from shortlist.store import formats
from shortlist.store.atomic import write_text
from shortlist.store.provenance import code

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shortlist.core import Corpus, Selection
    from shortlist.stages.context import Context
    from shortlist.store.cache import Artifact

log = logging.getLogger(__name__)

EXAMPLES = 10  # of the top, of the middle, and of the edge
LONGEST = 600  # characters of an example
LISTED = 10  # targets of a table
LEAST = 0.01  # share of a document's mass that is worth telling

Line = dict[str, Any]


class Seen(NamedTuple):
    """What the page is made from.

    Attributes:
        documents: the pool.
        chosen: the selection.
        rows: (k,) its rows in the pool.
        scores: (n,) the method's scores of the pool, before any draw.
        labels: (n,) cluster of near copies of each document.
        picks: a line a pick, of `reasons.jsonl`.
        targets: a line a target document, of `targets.jsonl`.
        service: sums over these.
    """

    documents: Corpus
    chosen: Selection
    rows: NDArray[np.int64]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]
    picks: list[Line]
    targets: list[Line]
    service: Line


def report(cell: Context, pool: Artifact, leaked: Artifact, selection: Artifact) -> None:
    """Writes the page, `reasons.jsonl` and `targets.jsonl` into the run's directory."""
    if not cell.parts.runtime.report:
        return
    begin = time.perf_counter()
    copies, lens = find_copies(cell, pool), choose_lens(cell)
    reasons = explain(cell, lens, pool, selection, copies)
    drawn = locate(cell, lens, pool, selection) if lens else None
    lines: dict[str, list[Line]] = {}
    for name in ("reasons.jsonl", "targets.jsonl"):
        file = reasons.path / name
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        lines[name] = [json.loads(line) for line in text.split("\n") if line]
        if text:
            write_text(cell.directory / name, text)
    documents = formats.load_corpus(pool.path / "corpus.arrow")
    chosen = formats.load_selection(selection.path / "selection.parquet")
    row = {key: index for index, key in enumerate(documents.ids)}
    columns = {name: np.load(one.scores.path / "scores.npy") for name, one in cell.judges.items()}
    seen = Seen(
        documents=documents,
        chosen=chosen,
        rows=np.array([row[key] for key in chosen.ids]),
        scores=np.asarray(cell.parts.selector.combine(columns), dtype=np.float64),
        labels=np.load(copies.path / "labels.npy"),
        picks=lines["reasons.jsonl"],
        targets=lines["targets.jsonl"],
        service=dict(reasons.facts),
    )
    excluded = set(json.loads((leaked.path / "leaks.json").read_text(encoding="utf-8")))
    views = [("near copies", copies), ("reasons", reasons), ("map", drawn)]
    parts = [
        _mixes(seen, copies.facts["not_compared"]),
        _maps(seen, drawn),
        _service(seen),
        *sections.solves(cell.selected.get("fit") or {}),
        sections.compared(cell.selected),
        sections.found("targets", "Several targets", cell.selected.get("targets")),
        sections.found("pareto", "Between two targets", cell.selected.get("pareto")),
        sections.found("assumption", "Does the assumption hold?", cell.selected.get("assumption")),
        sections.found("leaks", "Leaks", cell.selected.get("leaks")),
        _examples(cell, seen, excluded),
        sections.cost(
            [
                (StageCost(a.stage, a.key, a.seconds, a.peak_mib, a.device), a.hit)
                for a in cell.stages
            ],
            [(name, made.seconds) for name, made in views if made is not None],
        ),
        sections.repeat(
            shlex.join(["python", "run.py", *cell.typed]),
            code(),
            {**cell.inputs, "selection": chosen.sha256, "seed": str(cell.parts.seed)},
        ),
    ]
    sheet = Sheet(
        title=_title(cell, seen),
        lead=_lead(cell, seen),
        facts=_headline(cell, seen),
        warnings=tuple(cell.warnings),
        sections=tuple(part for part in parts if part is not None),
    )
    page = write_text(cell.directory / "report.html", html(sheet))
    write_text(cell.directory / "report.md", markdown(sheet))
    log.info("report     %s  written in %.1f s", page, time.perf_counter() - begin)


def _title(cell: Context, seen: Seen) -> str:
    pool = f" of {cell.axes.pool}" if cell.axes and cell.axes.pool else ""
    return f"{counted(len(seen.chosen), 'document')}{pool} for {cell.parts.task.name}"


def _lead(cell: Context, seen: Seen) -> str:
    budget, axes = seen.chosen.budget, cell.axes
    about = (type(cell.parts.selector).__doc__ or "").strip().split("\n\n")[0]
    method = f"{axes.selector} on {axes.featurizer} vectors" if axes else "the method"
    return (
        f"Chosen by {method} from {counted(len(seen.documents), 'document')}, for a budget of "
        f"{budget.amount:,} {budget.unit}. {' '.join(about.split())}"
    )


def _headline(cell: Context, seen: Seen) -> tuple[Fact, ...]:
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
        without, total = seen.service["left_without"], len(seen.targets)
        facts.append(Fact("left without", f"{without:,}", f"of {total:,} target texts"))
    fit = cell.selected.get("fit") or {}
    if "marginal_error" in fit:
        state = "certified" if fit.get("converged") else "not converged"
        facts.append(Fact("transport", state, f"{percent(fit['marginal_error'])} mass misplaced"))
    total = sum(made.seconds for made in cell.stages)
    facts.append(Fact("time to choose", seconds(total), f"on {cell.stages[-1].device}"))
    return tuple(facts)


def _mixes(seen: Seen, not_compared: int) -> Section:
    table = seen.documents.table
    sizes = np.fromiter(map(len, seen.documents.texts), dtype=np.int64)
    traits = [
        mixes.Trait(
            title,
            table[column].to_pylist() if column in table.column_names else None,
            f"{missing}: the pool has no column of that name.",
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
            mixes.copies(seen.labels, seen.rows, not_compared),
            *(mixes.trait(one, seen.rows) for one in traits),
        ),
        narrow=True,
    )


def _maps(seen: Seen, drawn: Artifact | None) -> Section:
    said, shown = [], []
    if drawn is None:
        said.append("The method looks at no vectors, so there is no map.")
    else:
        places = np.load(drawn.path / "places.npy")
        sizes, totals = drawn.facts["sizes"], drawn.facts["totals"]
        first, second = drawn.facts["explained"]
        names = ("pool", "target", "picks")
        parts = np.split(places, np.cumsum(sizes)[:-1])
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


def _service(seen: Seen) -> Section | None:
    if not seen.targets:
        return None
    facts, total = seen.service, len(seen.targets)
    source = (
        "By the transport plan"
        if facts["how"] == "plan"
        else "By cosine in the vectors of the method, which has no transport plan"
    )
    if facts["member"]:
        source += f" (of its member {facts['member']})"
    lead = (
        f"{source}: half of the picks' mass goes to {facts['half']:,} of "
        f"{counted(total, 'target text')}. "
    )
    if facts["left_without"]:
        lead += f"{counted(facts['left_without'], 'target text')} no pick comes near."
    else:
        lead += "There is a pick near every one of them."
    rank = {line["id"]: line["rank"] for line in seen.picks}
    most = sorted(seen.targets, key=lambda line: -line["mass"])[:LISTED]
    far = sorted(
        (line for line in seen.targets if line["left_without"]),
        key=lambda line: -line["nearest"]["cost"],
    )
    top = most[0]["mass"]
    served = Table(
        "Served most",
        ("target", "mass", "by picks"),
        tuple(
            (
                Cell(line["text"]),
                Cell(times(line["mass"]), line["mass"] / top, "chosen"),
                Cell(", ".join(f"#{rank[one['id']]:,}" for one in line["served_by"]), kind="soft"),
            )
            for line in most
        ),
        f"Mass: {times(1.0)} is an even share of what the picks bring.",
        texts=True,
    )
    note = (
        f"Left without: even the nearest pick costs more than {value(facts['limit'])}, halfway from "
        f"what the median pick costs to its own nearest target ({value(facts['near'])}) to the mean "
        f"cost between pool and target ({value(facts['mean_cost'])})."
    )
    if len(far) > LISTED:
        note += f" {len(far) - LISTED:,} more are in targets.jsonl."
    without = Table(
        "Left without",
        ("target", "nearest pick", "at cost") if far else (),
        tuple(
            (
                Cell(line["text"]),
                Cell(f"#{rank[line['nearest']['id']]:,}", kind="soft"),
                Cell(value(line["nearest"]["cost"])),
            )
            for line in far[:LISTED]
        ),
        note,
        texts=True,
    )
    return Section("service", "Whom it serves", lead, tables=(served, without))


def _examples(cell: Context, seen: Seen, excluded: set[str]) -> Section:
    size, texts = len(seen.chosen), seen.documents.table["text"]

    def pick(at: int) -> Example:
        line = seen.picks[at]
        tags = [line["domain"]] if line["domain"] else []
        if line["copies_in_pool"]:
            tags.append(
                counted(line["copies_in_pool"], "near copy", "near copies") + " in the pool"
            )
        serves = [
            (percent(one["share"]), one["text"])
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
    if cell.parts.selector.stochastic:
        note = "The last that got in. A draw decides at the edge, so nothing is next in line."
        return _shown([*groups, Group("The edge", note, last)])
    values = seen.scores.copy()
    values[seen.rows] = -np.inf
    values[[key in excluded for key in seen.documents.ids]] = -np.inf
    following = order(values, seen.documents.id_words())[:half]
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
