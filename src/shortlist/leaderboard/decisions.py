"""Decision accuracy between the sizes of a table: how often a small experiment orders two methods
as a large one does.

Sizes are budgets of one model, or models at one budget, the one with fewer seconds of training
being the small one. The large one decides by the primary metric, the small one by each metric.
"""

from __future__ import annotations

import itertools
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from shortlist.leaderboard.columns import COSTS
from shortlist.leaderboard.significance import refusal
from shortlist.leaderboard.table import ComparisonTable, Row
from shortlist.rendering.tables import TextCell, TextTable
from shortlist.stats.decisions import DecisionAccuracy, decision_accuracy

LEAST = 3  # methods that both sizes share


@dataclass(frozen=True)
class Decision:
    """How well one size predicts another.

    Attributes:
        small: the small size as a reader names it.
        large: the large one.
        methods: number of methods that both have.
        by_metric: decision accuracy by title of the metric of the small one.
    """

    small: str
    large: str
    methods: int
    by_metric: Mapping[str, DecisionAccuracy]


def decisions(table: ComparisonTable) -> list[Decision]:
    """Returns the decisions of each two sizes that share `LEAST` methods or more."""
    if table.headline is None:
        return []
    primary = table.columns[table.headline].name
    sizes: dict[tuple[str, str, int], dict[str, Row]] = defaultdict(dict)
    for row in table.rows:
        axes = row.axes
        refused = refusal(table.refused, axes.model, primary)
        if row.cells[table.headline].mean is not None and refused is None:
            sizes[axes.model, axes.budget_unit, axes.budget][axes.method] = row
    found: list[Decision] = []
    for pair in itertools.combinations(sorted(sizes), 2):
        (model, unit, budget), (other, other_unit, other_budget) = pair
        if unit != other_unit or (model != other) == (budget != other_budget):
            continue
        small, large = pair if model == other else _by_training(table, sizes, pair)
        shared = sorted(sizes[small].keys() & sizes[large].keys())
        if len(shared) < LEAST:
            continue
        rows = [(sizes[small][name], sizes[large][name]) for name in shared]
        by_metric = dict(_by_metric(table, rows, table.headline))
        if by_metric:
            found.append(Decision(_named(small), _named(large), len(shared), by_metric))
    return found


def _by_training(
    table: ComparisonTable,
    sizes: Mapping[tuple[str, str, int], Mapping[str, Row]],
    pair: Sequence[tuple[str, str, int]],
) -> list[tuple[str, str, int]]:
    """Returns two sizes, the one of fewer mean seconds of training first."""
    index = table.place(COSTS["training"].name)
    assert index is not None
    return sorted(
        pair,
        key=lambda size: statistics.fmean(
            row.cells[index].mean or 0.0 for row in sizes[size].values()
        ),
    )


def _named(size: tuple[str, str, int]) -> str:
    model, unit, budget = size
    return f"{model}, {budget:,} {unit}"


def _by_metric(
    table: ComparisonTable, rows: Sequence[tuple[Row, Row]], headline: int
) -> Iterator[tuple[str, DecisionAccuracy]]:
    def values(index: int, place: int) -> list[float] | None:
        sign = 1.0 if table.columns[index].higher_is_better else -1.0
        means = [pair[place].cells[index].mean for pair in rows]
        return None if None in means else [sign * (mean or 0.0) for mean in means]

    decided = values(headline, 1)
    for index, column in enumerate(table.columns):
        if column.kind != "metric" or column.higher_is_better is None or decided is None:
            continue
        predicted = values(index, 0)
        if predicted is None or len(set(predicted)) == 1:
            continue
        accuracy = decision_accuracy(np.array(predicted), np.array(decided))
        if accuracy is not None:
            yield column.title, accuracy


def decision_table(table: ComparisonTable) -> TextTable | None:
    """Returns the decisions of a table as text, or None where it has none."""
    found = decisions(table)
    if not found or table.headline is None:
        return None
    metrics = [c.title for c in table.columns if any(c.title in one.by_metric for one in found)]
    primary = table.columns[table.headline]
    return TextTable(
        "Does the small experiment predict the large one?",
        ("small", "large", "methods", *metrics),
        tuple(
            (
                TextCell(one.small),
                TextCell(one.large),
                TextCell(str(one.methods)),
                *(TextCell(str(one.by_metric.get(metric, ""))) for metric in metrics),
            )
            for one in found
        ),
        note=(
            f"Share of the pairs of methods that the small experiment orders by this metric as the "
            f"large one does by {primary.title}; 95 % interval of a bootstrap over methods. Chance "
            "is 0.50."
        ),
        left=2,
    )
