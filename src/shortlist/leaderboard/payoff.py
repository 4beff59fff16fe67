"""Where a selection pays: what it costs against the training that random selection would need."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shortlist.leaderboard.columns import COSTS
from shortlist.leaderboard.significance import CONTROL
from shortlist.leaderboard.table import ComparisonTable, Row
from shortlist.rendering.tables import TextCell, TextTable
from shortlist.stats.break_even import break_even_ratio, equal_budget

SELECTION, TRAINING = COSTS["selection"].name, COSTS["training"].name


def payoff_table(table: ComparisonTable) -> TextTable | None:
    """Returns, for each method that is better than its control, the ratio of trained to selecting
    model at which it pays; None where random selection has fewer than two budgets, or nothing is
    better.
    """
    selection, training = table.place(SELECTION), table.place(TRAINING)
    if selection is None or training is None:
        return None
    curves: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in table.rows:
        if row.axes.method == CONTROL:
            curves[row.axes.model, row.axes.budget_unit].append(row)
    lines: list[tuple[TextCell, ...]] = []
    for row in table.rows:
        curve = sorted(
            curves[row.axes.model, row.axes.budget_unit], key=lambda one: one.axes.budget
        )
        per_document, cost = _slope(curve, training), row.cells[selection].mean
        if per_document is None or cost is None:
            continue
        for index, column in enumerate(table.columns):
            gain, mean = row.cells[index].gain, row.cells[index].mean
            if gain is None or gain.verdict != "better" or mean is None:
                continue
            budgets, control = _means(curve, index)
            if len(budgets) < 2:
                continue
            sign = 1.0 if column.higher_is_better else -1.0
            equal = equal_budget(budgets, sign * control, sign * mean)
            most = float(budgets[-1])
            ratio = break_even_ratio(cost, per_document, row.axes.budget, min(equal, most))
            beyond = equal > most
            needed = f"more than {most:,.0f}" if beyond else f"{equal:,.0f}"
            shown = "not known" if math.isinf(ratio) else f"{ratio:.2g}"
            lines.append(
                tuple(
                    TextCell(text)
                    for text in (
                        row.axes.label,
                        column.title,
                        needed,
                        f"at most {shown}" if beyond and not math.isinf(ratio) else shown,
                    )
                )
            )
    if not lines:
        return None
    return TextTable(
        "Where a selection pays",
        ("method", "measure", "documents of random for the same", "ratio at which it pays"),
        tuple(lines),
        note=(
            "Of methods that are better than their control: the documents that random selection "
            "needs for the same mean (interpolated between its budgets), and how many times the "
            "present model's training cost a document must take for the selection, at its present "
            "seconds, to cost less than those further documents."
        ),
        left=2,
    )


def _means(curve: Sequence[Row], column: int) -> NDArray[np.float64]:
    """Returns the (2, b) budgets and means of the rows that have a mean in a column."""
    means = [(row.axes.budget, row.cells[column].mean) for row in curve]
    known = [(budget, mean) for budget, mean in means if mean is not None]
    return np.array(known, dtype=np.float64).reshape(-1, 2).T


def _slope(curve: Sequence[Row], training: int) -> float | None:
    """Returns the seconds of training that a further document takes, by least squares."""
    budgets, seconds = _means(curve, training)
    if len(budgets) < 2:
        return None
    centred = budgets - budgets.mean()
    slope = float((centred * seconds).sum() / (centred**2).sum())
    return slope if slope > 0 else None
