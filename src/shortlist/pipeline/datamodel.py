"""Linear datamodelling score of selectors: random subsets of the pool, a warm-up on each, and the
rank correlation between a subset's summed scores and its measured benefit (`stats.datamodel`).

A subset is a selection of the method `random`, so its warm-up and its measurements are the stages
of a cell, computed once for all methods and kept in the store. All subsets are trained with the
seed of the cell: they differ in their documents alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.core import unpack_item_scores
from shortlist.errors import InvalidInput, ShortlistError
from shortlist.pipeline.base_model import base_model
from shortlist.pipeline.candidates import choose_from
from shortlist.pipeline.evaluation import compare_losses, measure_probe
from shortlist.pipeline.loading import load_data
from shortlist.pipeline.prefilter import prefilter
from shortlist.pipeline.selection import rank, select
from shortlist.pipeline.training import warm_up
from shortlist.rendering.tables import TextCell, TextTable, markdown_table
from shortlist.stats.datamodel import Correlation, datamodelling_score, reliability

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shortlist.pipeline.candidates import Candidates, CellData
    from shortlist.pipeline.stage import Cell, Notes

LEAST = 10  # subsets


@dataclass(frozen=True)
class Benefit:
    """What the subsets are worth by one measure.

    Attributes:
        values: (m,) value of each subset; larger is better.
        reliability: see `stats.datamodel.reliability`; None where no item scores are kept.
    """

    values: NDArray[np.float64]
    reliability: float | None


@dataclass(frozen=True)
class Subsets:
    """Random subsets of the candidates, and what a warm-up on each was worth.

    Attributes:
        candidates: the documents.
        rows: (k,) rows of each of the m subsets among the candidates.
        benefits: by name of the metric.
        seconds: of all warm-ups and measurements.
    """

    candidates: Candidates
    rows: tuple[NDArray[np.int64], ...]
    benefits: Mapping[str, Benefit]
    seconds: float


@dataclass(frozen=True)
class Scored:
    """A method's datamodelling scores by name of the benefit, or why it has none."""

    method: str
    scores: Mapping[str, Correlation]
    reason: str = ""


def measure_subsets(cell: Cell, number: int, report: Callable[[int], None]) -> Subsets:
    """Returns random subsets of the size of the budget with their benefits: the drop of the loss on
    held-out texts of the target and, with `check.probe`, the metrics of the probe.

    Args:
        cell: a cell of `selector=random`.
        number: number of subsets.
        report: called with the number of each finished subset.

    Raises:
        InvalidInput: there are too few subsets for an interval.
    """
    if number < LEAST:
        raise InvalidInput(f"--subsets must be at least {LEAST}, found {number}")
    data, candidates = _opened(cell)
    base = base_model(cell, data)
    rows: list[NDArray[np.int64]] = []
    measured: list[Notes] = []
    for seed in range(number):
        drawing = replace(cell, parts=replace(cell.parts, seed=seed))
        ranking = rank(drawing, data, candidates, cell.parts.selector, cell.settings["selector"])
        selected = select(drawing, ranking)
        warm = warm_up(cell, base, selected)
        found = warm.notes + compare_losses(cell, base, warm, data.task)
        measured.append(found + measure_probe(cell, warm, data.task))
        rows.append(selected.rows)
        report(seed + 1)
    generator = np.random.default_rng(0)
    benefits: dict[str, Benefit] = {}
    for metric in measured[0].metrics:
        if metric.name.endswith(("_loss_before", "_loss_after")):
            continue
        sign = 1 if metric.higher_is_better else -1
        values = [
            sign * one.value
            for notes in measured
            for one in notes.metrics
            if one.name == metric.name
        ]
        items = np.array(
            [unpack_item_scores(notes.item_scores[metric.name], metric.n) for notes in measured]
        )
        benefits[metric.name] = Benefit(np.array(values), reliability(sign * items, generator))
    stages = reduce(add, measured).distinct_stages
    return Subsets(candidates, tuple(rows), benefits, math.fsum(one.seconds for one in stages))


def score_method(cell: Cell, subsets: Subsets, method: str) -> Scored:
    """Returns the datamodelling scores of a cell's selector; the reason where it has none.

    Args:
        cell: a cell that differs from that of the subsets in the selector alone.
        subsets: the subsets.
        method: name of the selector.
    """
    try:
        reason = cell.parts.selector.applicable(cell.parts.task.kind)
        if reason is not None:
            return Scored(method, {}, reason)
        data, candidates = _opened(cell)
        if candidates.corpus.fingerprint != subsets.candidates.corpus.fingerprint:
            return Scored(method, {}, "it chooses from other documents than the pool's")
        ranking = rank(cell, data, candidates, cell.parts.selector, cell.settings["selector"])
        values = ranking.combined.total.values
    except ShortlistError as error:
        return Scored(method, {}, str(error))
    sums = np.array([values[rows].sum() for rows in subsets.rows])
    if not np.isfinite(sums).all():
        return Scored(method, {}, "documents of the subsets have no score")
    scores = {
        name: datamodelling_score(sums, benefit.values, np.random.default_rng(1))
        for name, benefit in subsets.benefits.items()
    }
    return Scored(method, scores)


def _opened(cell: Cell) -> tuple[CellData, Candidates]:
    data = load_data(cell)
    return data, choose_from(cell, data, prefilter(cell, data))


def plain(cell: Cell, subsets: Subsets, scored: Sequence[Scored]) -> dict[str, Any]:
    """Returns everything that was measured as plain data."""
    return {
        "axes": vars(cell.axes),
        "documents": len(subsets.candidates.corpus),
        "pool": subsets.candidates.corpus.fingerprint,
        "subsets": len(subsets.rows),
        "seconds": subsets.seconds,
        "benefits": {
            name: {"values": benefit.values.tolist(), "reliability": benefit.reliability}
            for name, benefit in subsets.benefits.items()
        },
        "methods": {
            one.method: {"reason": one.reason}
            if one.reason
            else {name: vars(found) for name, found in one.scores.items()}
            for one in scored
        },
    }


def markdown(cell: Cell, subsets: Subsets, scored: Sequence[Scored]) -> str:
    """Returns the tables of the benefits and of the methods as Markdown."""
    axes, number = cell.axes, len(subsets.rows)
    benefits = subsets.benefits
    measured = TextTable(
        "benefits",
        ("benefit", "mean", "standard deviation over subsets", "reliability"),
        tuple(
            (
                TextCell(name),
                TextCell(f"{one.values.mean():.4f}"),
                TextCell(f"{one.values.std(ddof=1):.4f}"),
                TextCell("" if one.reliability is None else f"{one.reliability:.2f}"),
            )
            for name, one in benefits.items()
        ),
    )
    methods = TextTable(
        "methods",
        ("method", *benefits),
        tuple(
            (
                TextCell(one.method),
                *(
                    TextCell(f"{found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}]")
                    if (found := one.scores.get(name))
                    else TextCell("" if place else one.reason)
                    for place, name in enumerate(benefits)
                ),
            )
            for one in scored
        ),
    )
    return "\n\n".join(
        (
            f"## {axes.task}, pool {axes.pool}, {axes.model}",
            f"{number} random subsets of {axes.budget:,} {axes.budget_unit} out of "
            f"{len(subsets.candidates.corpus):,}, {subsets.seconds:,.0f} s of warm-ups and "
            "measurements, shared by all methods. Reliability: rank correlation of the benefits on "
            "two halves of the items, corrected to all of them; larger is better for every benefit.",
            markdown_table(measured),
            "Rank correlation between a subset's summed scores and its benefit, 95 % interval of a "
            "bootstrap over subsets:",
            markdown_table(methods),
        )
    )
