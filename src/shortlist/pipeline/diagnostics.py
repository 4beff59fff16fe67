"""What explains a selection, as stages: sensitivity, ablation baseline, Pareto front, recommended
budget, the pre-training assumption, and the datasheet.

The computations are pure functions of `shortlist.diagnostics`; here they get keys and files.
"""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.diagnostics.ablation import baseline_overlap
from shortlist.diagnostics.assumption import check_assumption as assess_assumption
from shortlist.diagnostics.assumption import reference_texts
from shortlist.diagnostics.budget import recommend_budget
from shortlist.diagnostics.datasheet.page import Datasheet, html, markdown
from shortlist.diagnostics.datasheet.sections import Evidence, datasheet
from shortlist.diagnostics.explanations import (
    CoverageSummary,
    Explainer,
    Explanations,
    choose_explainer,
    explain,
)
from shortlist.diagnostics.pareto import (
    MAX_SOLVES,
    MIN_SOLVES,
    READ,
    RECORDED,
    front_between_targets,
)
from shortlist.diagnostics.projection import SelectionMap, project_selection
from shortlist.pipeline.selection import rank, select
from shortlist.pipeline.stage import Cell, Notes, Stage
from shortlist.store.atomic import read_jsonl, write_jsonl, write_text
from shortlist.store.provenance import code

if TYPE_CHECKING:
    from shortlist.pipeline.candidates import Candidates, CellData
    from shortlist.pipeline.data import Documents, TaskSplits
    from shortlist.pipeline.scoring import FittedMethod
    from shortlist.pipeline.selection import Ranking, Selected

log = logging.getLogger(__name__)

CURVE, PARETO = "curve.csv", "pareto.csv"
REASONS, COVERAGE = "reasons.jsonl", "targets.jsonl"
REPORT = "report.html"


def diagnose(cell: Cell, data: CellData, ranking: Ranking, selected: Selected) -> Notes:
    """Returns the diagnostics that stand in the record of every cell that they apply to."""
    notes = check_sensitivity(cell, ranking)
    notes += trace_front(cell, ranking, selected)
    notes += compare_with_baseline(cell, data, ranking, selected)
    return notes + advise_budget(cell, ranking)


def check_sensitivity(cell: Cell, ranking: Ranking) -> Notes:
    """Returns how far the fits depend on their settings, merged into the facts of the fits.

    Of GOT-D: the overlap of the top 5 % with that of a solve at half of epsilon.
    """
    stages: list[Stage] = []
    facts = dict(ranking.scores.fit_facts)
    for prefix, fitted in ranking.scores.qualified():
        if not fitted.method.selector.has_sensitivity:
            continue

        def compute(directory: Path, fitted: FittedMethod = fitted) -> dict[str, Any]:
            selector = fitted.selector()
            selector.to(cell.parts.runtime.device)
            return dict(selector.sensitivity(fitted.target.features, fitted.candidates.features))

        inputs = {
            "fit": fitted.fit.key,
            "target": fitted.target.stage.key,
            "pool": fitted.candidates.stage.key,
        }
        version = fitted.method.selector.version
        stage = cell.stage("sensitivity", version, {}, inputs, compute)
        stages.append(stage)
        facts |= {f"{prefix}{fact}": value for fact, value in stage.facts.items()}
    return Notes(stages=tuple(stages), selection={"fit": facts}) if stages else Notes()


def check_assumption(cell: Cell, documents: Documents, task: TaskSplits) -> Notes:
    """Returns whether the pool looks like pre-training data, where `check.assumption` asks for it.

    Raises:
        InvalidInput: the reference cannot be read, or holds too little.
    """
    check, parts = cell.parts.check, cell.parts
    if not check.assumption:
        return Notes()
    reference = reference_texts(check.reference)
    own_head, runtime = parts.model.head is None, parts.runtime

    def compute(directory: Path) -> dict[str, Any]:
        return assess_assumption(
            documents.corpus,
            task.target,
            reference,
            documents=check.documents,
            featurizer=parts.check_vectors,
            model=parts.model.directory(),
            head=parts.warmup if own_head else None,
            runtime=runtime,
        ).facts()

    inputs = {
        "pool": documents.fingerprint,
        "target": task.fingerprint("target"),
        "reference": reference.fingerprint,
        **parts.model.identity(),
        **parts.check_vectors.identity(runtime),
    }
    settings: dict[str, Any] = {
        "documents": check.documents,
        "vectors": cell.settings["check"]["vectors"],
        "version": parts.check_vectors.version,
    }
    if own_head:
        settings |= {"objective": parts.warmup.objective, "max_length": parts.warmup.max_length}
    stage = cell.stage("assumption", 1, settings, inputs, compute)
    said = "" if stage.facts["verdict"] == "holds" else stage.facts["sentence"]
    return Notes(
        stages=(stage,),
        selection={"assumption": dict(stage.facts)},
        warnings=tuple(one for one in (said, parts.model.remark) if one),
    )


def compare_with_baseline(
    cell: Cell, data: CellData, ranking: Ranking, selected: Selected
) -> Notes:
    """Returns how many documents the ablation baseline selects as well, at the same budget, for the
    same targets and floors.

    The baseline is fitted, scored and selected under its own keys: a cell of that method at equal
    settings is the same work.
    """
    baseline = cell.parts.ablation
    if baseline is None:
        return Notes()
    other = rank(cell, data, ranking.candidates, baseline.selector, baseline.settings)
    theirs = select(cell, other)
    overlap = baseline_overlap(selected.selection, theirs.selection, baseline.changed)
    log.info("%s", overlap.sentence(type(cell.parts.selector).__name__, baseline.name))
    return Notes(
        stages=other.notes.stages + theirs.notes.stages,
        warnings=other.notes.warnings,
        selection={f"against_{baseline.name}": asdict(overlap)},
    )


def trace_front(cell: Cell, ranking: Ranking, selected: Selected) -> Notes:
    """Returns the Pareto front between two targets; `pareto.csv` in the run's directory has every
    point of it.
    """
    spec, selector = ranking.spec, ranking.selector
    if len(spec.weights) != 2:
        return Notes()

    def compute(directory: Path) -> dict[str, Any]:
        by_target = ranking.combined.by_target
        front = front_between_targets(
            {name: scores.values for name, scores in by_target.items()},
            spec.weights,
            selected.rows,
            ranking.combined.total.id_bits,
        )
        _write_csv(directory / PARETO, front.rows())
        return front.facts()

    settings = {
        "solves": [READ, MIN_SOLVES, MAX_SOLVES],
        "shown": RECORDED,
        "weights": spec.weights,
        "selector": ranking.settings,
        "version": selector.version,
    }
    inputs = ranking.inputs | {"selection": selected.stage.key}
    stage = cell.stage("pareto", 3, settings, inputs, compute)
    _show(cell, stage, PARETO)
    return Notes(stages=(stage,), selection={"pareto": dict(stage.facts)})


def advise_budget(cell: Cell, ranking: Ranking) -> Notes:
    """Returns the recommended budget, for a method that compares dense vectors with a target;
    `curve.csv` in the run's directory is the curve behind it.
    """
    settings, selector, toward = cell.parts.advice, ranking.selector, ranking.spec.toward
    if settings is None or not selector.traits.target_aware or not toward:
        return Notes()
    fitted = [next(iter(ranking.scores.methods[name].values())) for name in toward]
    candidates = fitted[0].candidates
    separate = len({method.candidates.stage.key for method in fitted}) > 1
    points = candidates.features.values
    if separate or not isinstance(points, np.ndarray) or points.shape[1] == 0:
        log.info(
            "budget recommendation: none, %s",
            "each target has vectors of its own"
            if separate
            else "its features have no transport distance",
        )
        return Notes()
    budget = ranking.budget

    def compute(directory: Path) -> dict[str, Any]:
        total = ranking.combined.total
        recommendation = recommend_budget(
            total.values,
            total.id_bits,
            points,
            [np.asarray(method.target.features.values) for method in fitted],
            list(toward.values()),
            budget=budget.amount,
            tokens=total.costs,
            potentials=selector.traits.potential,
            settings=settings,
        )
        _write_csv(directory / CURVE, recommendation.curve)
        return asdict(recommendation)

    decisive = {
        **asdict(settings),
        "budget": budget.amount,
        "unit": budget.unit,
        "weights": ranking.spec.weights,
        "selector": ranking.settings,
        "version": selector.version,
    }
    inputs = ranking.inputs | {"pool": candidates.stage.key}
    inputs |= {
        f"target.{name}": method.target.stage.key
        for name, method in zip(toward, fitted, strict=True)
    }
    stage = cell.stage("advice", 3, decisive, inputs, compute)
    _show(cell, stage, CURVE)
    log.info("budget recommendation: %s", stage.facts["reason"])
    facts = {**stage.facts, "settings": asdict(settings)}
    return Notes(stages=(stage,), selection={"recommended": facts})


def describe_selection(
    cell: Cell, ranking: Ranking, selected: Selected, notes: Notes
) -> Datasheet | None:
    """Returns the datasheet after writing it, `reasons.jsonl` and `targets.jsonl` into the run's
    directory; None for an empty selection.

    The datasheet enters no key and no record, and `runtime.report=false` leaves it out. What takes
    time is in the store, so the page of a cell that is reused is written in a second.
    """
    if not cell.parts.runtime.report:
        return None
    if selected.size == 0:
        log.info("report: no document was selected, so there is no page")
        return None
    begin = time.perf_counter()
    copies = find_near_copies(cell, ranking.candidates)
    explainers = explainers_of(ranking)
    reasons = explain_selection(cell, explainers, ranking, selected, copies)
    drawn = draw_map(cell, explainers, ranking, selected) if explainers else None
    evidence = Evidence(
        pool=ranking.candidates.corpus,
        selection=selected.selection,
        rows=selected.rows,
        scores=ranking.combined.total.values,
        selectable=ranking.candidates.selectable,
        stochastic=ranking.selector.traits.stochastic,
        clusters=np.load(copies.path / "labels.npy"),
        not_compared=copies.facts["not_compared"],
        explanations=Explanations(
            _rows_of(cell, reasons, REASONS),
            _rows_of(cell, reasons, COVERAGE),
            {name: CoverageSummary(**facts) for name, facts in reasons.facts.items()},
        ),
        map=SelectionMap(np.load(drawn.path / "places.npy"), **drawn.facts) if drawn else None,
    )
    sheet = datasheet(
        evidence,
        axes=cell.axes,
        targets=cell.parts.target_spec,
        method=type(ranking.selector).__doc__ or "",
        facts=notes.selection,
        stages=[(stage.cost, stage.hit) for stage in notes.distinct_stages],
        views=[
            (name, stage.seconds)
            for name, stage in (("near copies", copies), ("reasons", reasons), ("map", drawn))
            if stage is not None
        ],
        command=cell.command,
        code=code(),
        inputs={
            **notes.inputs,
            "selection": selected.selection.sha256,
            "seed": str(cell.parts.seed),
        },
        warnings=notes.warnings,
    )
    page = write_datasheet(cell.directory, sheet)
    log.info("report     %s  written in %.1f s", page, time.perf_counter() - begin)
    return sheet


def write_datasheet(directory: Path, sheet: Datasheet) -> Path:
    """Returns the path of `report.html`, after writing it and `report.md`."""
    write_text(directory / "report.md", markdown(sheet))
    return write_text(directory / REPORT, html(sheet))


def find_near_copies(cell: Cell, candidates: Candidates) -> Stage:
    """Returns the candidates' clusters of near copies: `labels.npy`, the smallest row of each."""

    def compute(directory: Path) -> dict[str, Any]:
        from shortlist.data.near_copies import clusters  # numba takes a third of a second to import

        found = clusters(candidates.corpus.texts)
        np.save(directory / "labels.npy", found.labels)
        return {"clusters": len(np.unique(found.labels)), "not_compared": found.not_compared}

    return cell.stage("clusters", 1, {}, {"corpus": candidates.documents.fingerprint}, compute)


def explain_selection(
    cell: Cell,
    explainers: Sequence[Explainer],
    ranking: Ranking,
    selected: Selected,
    copies: Stage,
) -> Stage:
    """Returns `reasons.jsonl`, a row a selected document, and `targets.jsonl`, a row a target text."""

    def compute(directory: Path) -> dict[str, Any]:
        labels = np.load(copies.path / "labels.npy")
        explanation = explain(
            ranking.candidates.corpus, selected.selection, selected.rows, labels, explainers
        )
        if explainers:
            write_jsonl(directory / COVERAGE, explanation.targets)
        write_jsonl(directory / REASONS, explanation.picks)
        return {target: asdict(summary) for target, summary in explanation.coverage.items()}

    inputs = {"selection": selected.stage.key, "copies": copies.key}
    for explainer in explainers:
        fitted = ranking.scores.methods[explainer.target][explainer.member]
        inputs[f"fit.{explainer.target}"] = fitted.fit.key
        inputs[f"scores.{explainer.target}"] = fitted.scoring.key
    return cell.stage("reasons", 4, {}, inputs, compute)


def draw_map(
    cell: Cell, explainers: Sequence[Explainer], ranking: Ranking, selected: Selected
) -> Stage:
    """Returns the map: `places.npy` of samples of the pool, of the targets and of the selection.

    Where targets have vectors of their own (tuned on each), the first is shown.
    """
    methods = [ranking.scores.methods[one.target][one.member] for one in explainers]
    key = methods[0].candidates.stage.key
    shown = [method for method in methods if method.candidates.stage.key == key]

    def compute(directory: Path) -> dict[str, Any]:
        targets = [method.target.features.values for method in shown]
        drawn = project_selection(methods[0].candidates.features.values, targets, selected.rows)
        np.save(directory / "places.npy", drawn.places)
        return {"sizes": drawn.sizes, "totals": drawn.totals, "explained": drawn.explained}

    inputs = {"selection": selected.stage.key, "pool": key}
    inputs |= {f"target.{number}": method.target.stage.key for number, method in enumerate(shown)}
    return cell.stage("map", 1, {}, inputs, compute)


def explainers_of(ranking: Ranking) -> list[Explainer]:
    """Returns the explainer of each target that documents were chosen toward, where there is one."""

    def options(target: str) -> Iterator[Explainer]:
        for member, fitted in ranking.scores.methods[target].items():
            yield Explainer(
                target,
                member,
                fitted.target.corpus,
                fitted.candidates.features,
                fitted.target.features,
                fitted.scores,
                fitted.selector(),
            )

    targets = ranking.spec.toward or list(ranking.scores.methods)[:1]
    chosen = [choose_explainer(options(target)) for target in targets]
    return [explainer for explainer in chosen if explainer is not None]


def _rows_of(cell: Cell, stage: Stage, file: str) -> list[dict[str, Any]]:
    """Returns the rows of a JSON-lines file of a stage, copied into the run's directory."""
    path = stage.path / file
    if not path.is_file():
        return []
    rows = read_jsonl(path)
    write_jsonl(cell.directory / file, rows)
    return rows


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _show(cell: Cell, stage: Stage, file: str) -> None:
    """Copies a file of a stage into the run's directory."""
    write_text(cell.directory / file, (stage.path / file).read_text(encoding="utf-8"))
