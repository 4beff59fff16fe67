"""All sections of the datasheet of one selection, in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shortlist.core import Axes, StageCost, TargetSpec
from shortlist.diagnostics.datasheet import sections
from shortlist.diagnostics.datasheet.evidence import Evidence
from shortlist.diagnostics.datasheet.selection import (
    examples,
    headline,
    mixture,
    place,
    service,
)
from shortlist.diagnostics.datasheet.sheet import Fact, Sheet
from shortlist.diagnostics.datasheet.words import counted, percent, seconds
from shortlist.store.provenance import code


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
    inputs: Mapping[str, str],
    warnings: Sequence[str],
) -> Sheet:
    """Returns the content of a selection's page.

    Args:
        evidence: the selection, the candidates and the explanations.
        axes: the cell's place in a table.
        targets: what documents were chosen for.
        method: docstring of the selector; its first paragraph is shown.
        facts: facts of the selection as the record has them.
        stages: cost of each stage so far, and whether it was reused.
        views: name and seconds of what was computed for the page alone.
        command: the command that repeats the selection.
        inputs: fingerprints and digests by name.
        warnings: what a reader must know.
    """
    parts = [
        mixture(evidence),
        place(evidence),
        *service(evidence),
        *sections.solves(facts.get("fit") or {}),
        sections.compared(facts),
        sections.found("targets", "Several targets", facts.get("targets")),
        sections.found("pareto", "Between two targets", facts.get("pareto")),
        sections.found("assumption", "Does the assumption hold?", facts.get("assumption")),
        sections.found("leaks", "Leaks", facts.get("leaks")),
        examples(evidence),
        sections.cost(stages, views),
        sections.repeat(command, code(), inputs),
    ]
    return Sheet(
        title=_title(axes, targets, len(evidence.chosen)),
        lead=_lead(axes, evidence, method),
        facts=(*headline(evidence), *_effort(facts.get("fit") or {}, stages)),
        warnings=tuple(warnings),
        sections=tuple(part for part in parts if part is not None),
    )


def _title(axes: Axes, targets: TargetSpec, size: int) -> str:
    pool = f" of {axes.pool}" if axes.pool else ""
    away = [name for name, weight in targets.weights.items() if weight < 0]
    parts = [f"for {' and '.join(targets.toward)}"] if targets.toward else []
    parts += [f"away from {name}" for name in away]
    return f"{counted(size, 'document')}{pool} {', '.join(parts)}"


def _lead(axes: Axes, evidence: Evidence, method: str) -> str:
    budget, description = evidence.chosen.budget, method.strip().split("\n\n")[0]
    return (
        f"Chosen by {axes.selector} on {axes.featurizer} vectors from "
        f"{counted(len(evidence.documents), 'document')}, for a budget of "
        f"{budget.amount:,} {budget.unit}. {' '.join(description.split())}"
    )


def _effort(fit: Mapping[str, Any], stages: Sequence[tuple[StageCost, bool]]) -> tuple[Fact, ...]:
    """Returns how well the transport was solved, and the seconds of all stages so far."""
    errors = [value for key, value in fit.items() if key.split(".")[-1] == "marginal_error"]
    facts: list[Fact] = []
    if errors:
        solved = all(value for key, value in fit.items() if key.split(".")[-1] == "converged")
        state = "certified" if solved else "not converged"
        worst = f"{percent(max(errors))} mass misplaced{' at most' if len(errors) > 1 else ''}"
        facts.append(Fact("transport", state, worst))
    total = sum(cost.seconds for cost, _ in stages)
    device = stages[-1][0].device if stages else ""
    facts.append(Fact("time to choose", seconds(total), f"on {device}"))
    return tuple(facts)
