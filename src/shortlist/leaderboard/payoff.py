"""Where a selection pays: what it costs against the training that random selection would need."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

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
    names = [column.name for column in table.columns]
    if SELECTION not in names or TRAINING not in names:
        return None
    selection, training = names.index(SELECTION), names.index(TRAINING)
    curves: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in table.rows:
        if row.axes.method == CONTROL:
            curves[row.axes.model, row.axes.budget_unit].append(row)
    lines: list[tuple[TextCell, ...]] = []
    for row in table.rows:
        curve = sorted(
            curves[row.axes.model, row.axes.budget_unit], key=lambda one: one.axes.budget
        )
        per_document = _slope(curve, training)
        cost = row.cells[selection].mean
        if per_document is None or cost is None:
            continue
        for index, column in enumerate(table.columns):
            gain = row.cells[index].gain
            if gain is None or gain.verdict != "better":
                continue
            sign = 1.0 if column.higher_is_better else -1.0
            ends = [(one.axes.budget, one.cells[index].mean) for one in curve]
            known = [(budget, sign * mean) for budget, mean in ends if mean is not None]
            mean = row.cells[index].mean
            if len(known) < 2 or mean is None:
                continue
            budgets, control = np.array(known, dtype=np.float64).T
            equal = equal_budget(budgets, control, sign * mean)
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


def _slope(curve: Sequence[Row], training: int) -> float | None:
    """Returns the seconds of training that a further document takes, by least squares."""
    points = [(row.axes.budget, row.cells[training].mean) for row in curve]
    known = [(budget, mean) for budget, mean in points if mean is not None]
    if len(known) < 2:
        return None
    budgets, seconds = np.array(known, dtype=np.float64).T
    centred = budgets - budgets.mean()
    slope = float((centred * seconds).sum() / (centred**2).sum())
    return slope if slope > 0 else None
