"""The datasheet of a selection: `report.html` and `report.md` beside `shortlist.jsonl`.

A view: it enters no key and no record, and `runtime.report=false` leaves it out. What takes time is
kept in the store (`stages/reasons.py`), so a cell that is reused writes its page in a second.
"""

from __future__ import annotations

import json
import logging
import shlex
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.diagnostics.datasheet import sections
from shortlist.diagnostics.datasheet.evidence import Evidence
from shortlist.diagnostics.datasheet.page import html, markdown
from shortlist.diagnostics.datasheet.selection import examples, headline, mixture, place, service
from shortlist.diagnostics.datasheet.sheet import Fact, Sheet
from shortlist.diagnostics.datasheet.words import counted, percent, seconds
from shortlist.diagnostics.explanations import CoverageSummary
from shortlist.diagnostics.projection import SelectionMap
from shortlist.pipeline.reasons import drawn_map, explained, explainers, find_copies, rows_of
from shortlist.pipeline.selection import read_rated
from shortlist.selectors.base import UNRANKED
from shortlist.store import formats
from shortlist.store.atomic import write_text
from shortlist.store.provenance import code

if TYPE_CHECKING:
    from shortlist.pipeline.context import Context
    from shortlist.pipeline.scoring import Scores
    from shortlist.store.cache import Artifact

log = logging.getLogger(__name__)

REPORT = "report.html"


def report(
    cell: Context, scores: Scores, pool: Artifact, leaked: Artifact, selection: Artifact
) -> None:
    """Writes the page, `reasons.jsonl` and `targets.jsonl` into the run's directory; of a selection
    of no document (`vanilla`) there is nothing to say.
    """
    if not cell.parts.runtime.report:
        return
    if selection.facts["size"] == 0:
        log.info("report: no document was chosen, so there is no page")
        return
    begin = time.perf_counter()
    copies, through = find_copies(cell, pool), explainers(cell)
    reasons = explained(cell, through, pool, selection, copies)
    drawn = drawn_map(cell, through, pool, selection) if through else None
    lines: dict[str, list[dict[str, Any]]] = {}
    for name in ("reasons.jsonl", "targets.jsonl"):
        file = reasons.path / name
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        lines[name] = [json.loads(line) for line in text.split("\n") if line]
        if text:
            write_text(cell.directory / name, text)
    rated = read_rated(cell, cell.parts.selector, scores, pool, leaked, None)
    documents = rated.documents
    chosen = formats.load_selection(selection.path / "selection.parquet")
    facts = drawn.facts if drawn else {}
    seen = Evidence(
        documents=documents,
        chosen=chosen,
        rows=rows_of(documents.ids, chosen.ids),
        # Documents that a method put in no order have no place in a histogram.
        scores=np.where(rated.total.values > UNRANKED, rated.total.values, -np.inf),
        stochastic=cell.parts.selector.traits.stochastic,
        excluded=frozenset(json.loads((leaked.path / "leaks.json").read_text(encoding="utf-8"))),
        labels=np.load(copies.path / "labels.npy"),
        not_compared=copies.facts["not_compared"],
        picks=lines["reasons.jsonl"],
        targets=lines["targets.jsonl"],
        service={aim: CoverageSummary(**one) for aim, one in reasons.facts.items()},
        drawn=SelectionMap(np.load(drawn.path / "places.npy"), **facts) if drawn else None,
    )
    views = [("near copies", copies), ("reasons", reasons), ("map", drawn)]
    parts = [
        mixture(seen),
        place(seen),
        *service(seen),
        *sections.solves(cell.selected.get("fit") or {}),
        sections.compared(cell.selected),
        sections.found("targets", "Several targets", cell.selected.get("targets")),
        sections.found("pareto", "Between two targets", cell.selected.get("pareto")),
        sections.found("assumption", "Does the assumption hold?", cell.selected.get("assumption")),
        sections.found("leaks", "Leaks", cell.selected.get("leaks")),
        examples(seen),
        sections.cost(
            [(cost, made.hit) for cost, made in zip(cell.costs(), cell.stages, strict=True)],
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
        facts=(*headline(seen), *_effort(cell)),
        warnings=tuple(cell.warnings),
        sections=tuple(part for part in parts if part is not None),
    )
    page = write_text(cell.directory / REPORT, html(sheet))
    write_text(cell.directory / "report.md", markdown(sheet))
    log.info("report     %s  written in %.1f s", page, time.perf_counter() - begin)


def _title(cell: Context, seen: Evidence) -> str:
    pool = f" of {cell.axes.pool}" if cell.axes and cell.axes.pool else ""
    aims = cell.parts.aims
    away = [name for name, weight in aims.weights.items() if weight < 0]
    parts = [f"for {' and '.join(aims.toward)}"] if aims.toward else []
    parts += [f"away from {name}" for name in away]
    return f"{counted(len(seen.chosen), 'document')}{pool} {', '.join(parts)}"


def _lead(cell: Context, seen: Evidence) -> str:
    budget, axes = seen.chosen.budget, cell.axes
    about = (type(cell.parts.selector).__doc__ or "").strip().split("\n\n")[0]
    method = f"{axes.selector} on {axes.featurizer} vectors" if axes else "the method"
    return (
        f"Chosen by {method} from {counted(len(seen.documents), 'document')}, for a budget of "
        f"{budget.amount:,} {budget.unit}. {' '.join(about.split())}"
    )


def _effort(cell: Context) -> tuple[Fact, ...]:
    facts: list[Fact] = []
    fit = cell.selected.get("fit") or {}
    errors = [found for key, found in fit.items() if key.split(".")[-1] == "marginal_error"]
    if errors:
        solved = all(found for key, found in fit.items() if key.split(".")[-1] == "converged")
        state = "certified" if solved else "not converged"
        worst = f"{percent(max(errors))} mass misplaced{' at most' if len(errors) > 1 else ''}"
        facts.append(Fact("transport", state, worst))
    total = sum(made.seconds for made in cell.stages)
    facts.append(Fact("time to choose", seconds(total), f"on {cell.stages[-1].device}"))
    return tuple(facts)
