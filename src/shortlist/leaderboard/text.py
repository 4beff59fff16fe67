"""Comparison tables as text: numbers and phrases, Markdown, CSV, LaTeX, terminal and W&B rows."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from shortlist.leaderboard.columns import COSTS, METHOD_COSTS
from shortlist.leaderboard.decisions import decision_table
from shortlist.leaderboard.payoff import payoff_table
from shortlist.leaderboard.table import Aggregate, Column, ComparisonTable, Gain, Row, Value
from shortlist.rendering.tables import (
    TextCell,
    TextTable,
    escape_markdown,
    latex_table,
    markdown_table,
    rich_table,
    visible,
)

if TYPE_CHECKING:
    import rich.table

DIGITS = {
    "fraction": 4, "fraction_gained": 4, "correlation": 4, "nats": 4, "nats_gained": 4,
    "perplexity": 2,
    "seconds": 1, "rank": 1, "MiB": 0,
}  # fmt: skip
WARNING = "⚠"
TIED = "≈"
MINUS = "\N{MINUS SIGN}"
COMPARISON = (
    "Methods are compared on the same seeds and, where the records have item scores, on the same "
    "test items, at the 5 % level with Holm's correction: over all pairs for the best method, over "
    "the methods for the gain. A single seed gives no comparison of methods: it compares two models."
)
COST_INTRODUCTION = (
    "Costs are seconds of stages as they were computed, by this cell or by an earlier one whose "
    "result was reused; a column is the sum over the stages of one role."
)


def number(value: float, unit: str) -> str:
    """Returns a value with the number of digits of its unit."""
    if not math.isfinite(value):
        return "∞" if value > 0 else f"{MINUS}∞" if value < 0 else "nan"
    if unit == "operations":
        return f"{value:.1e}".replace("e+0", "e").replace("e+", "e")
    if unit == "relative":
        return f"{value:.0e}".replace("e-0", "e-").replace("e+00", "")
    digits = DIGITS.get(unit, 4)
    if unit in ("seconds", "rank") and abs(value) >= 100:
        digits = 0
    elif unit == "count":
        digits = 0 if value == int(value) else 1
    sign = "+" if unit.endswith("_gained") and value >= 0 else ""
    return f"{sign}{value:,.{digits}f}".replace("-", MINUS)


def sortable(value: float) -> str:
    """Returns a value as JavaScript reads it; empty for NaN."""
    return "" if math.isnan(value) else repr(value).replace("inf", "Infinity")


def signed(value: float, unit: str) -> str:
    """Returns a difference with its sign."""
    text = number(value, unit).lstrip("+")
    return text if text.startswith(MINUS) else f"+{text}"


def sd_text(cell: Aggregate, unit: str) -> str:
    """Returns the standard deviation over seeds, or the empty string."""
    if cell.mean is None or cell.sd is None or unit in ("count", "operations", "relative", "MiB"):
        return ""
    return number(cell.sd, unit).lstrip("+") if cell.sd else "0"


def cell_text(cell: Aggregate, column: Column, with_sd: bool = True) -> str:
    """Returns `mean ± sd` and a mark where it is tied with the best, or why the mean is missing."""
    if cell.mean is None:
        return cell.missing
    sd = sd_text(cell, column.unit) if with_sd else ""
    text = number(cell.mean, column.unit) + (f" ± {sd}" if sd else "")
    return f"{text} {TIED}" if cell.standing == "tied" else text


def interval_text(gain: Gain, unit: str, form: str) -> str:
    """Returns the ends of the interval in a form such as `{} to {}`; empty without an interval."""
    if gain.low is None or gain.high is None:
        return ""
    return form.format(signed(gain.low, unit), signed(gain.high, unit))


def gain_text(gain: Gain | None, column: Column) -> str:
    """Returns `+0.0119 [-0.0030, +0.0268]`, or the difference alone where there is no interval."""
    if gain is None:
        return ""
    return signed(gain.value, column.unit) + interval_text(gain, column.unit, " [{}, {}]")


def gain_sentence(gain: Gain) -> str:
    """Returns the conclusion of a comparison as a sentence without a full stop."""
    if gain.reason:
        return f"{gain.verdict} with {gain.control}: {gain.reason}"
    p = f"p = {gain.p:.2g}" if gain.p is not None else ""
    if gain.significant:
        return f"{gain.verdict} than {gain.control} ({p})"
    if gain.verdict == "within the noise floor":
        return f"difference from {gain.control} is within the noise floor"
    if gain.seeds_needed is not None:
        more = f"{gain.seeds_needed:,} seeds would make a difference of this size significant"
    elif gain.items:
        more = f"{gain.items:,} test items are too few for a difference of this size"
    else:
        more = "no number of seeds up to 1,000 would make a difference of this size significant"
    return f"no significant difference from {gain.control} ({p}); {more}"


def gain_heading(table: ComparisonTable) -> str:
    """Returns the heading of the gains: the control, where all rows have the same."""
    controls = {gain.control for row in table.rows if (gain := table.gain(row))}
    return f"gain over {controls.pop()}" if len(controls) == 1 else "gain over matched random"


def legend(table: ComparisonTable) -> str:
    """Returns the caption of a table and the meaning of its marks."""
    standings = {cell.standing for row in table.rows for cell in row.cells}
    compared = any(gain.p is not None for row in table.rows if (gain := table.gain(row)))
    texts = [table.caption] if table.caption else []
    texts += [f"{reason[0].upper()}{reason[1:]}." for reason in table.refused.values()]
    if "best" in standings:
        texts.append(f"Bold: the best, and methods not significantly different from it ({TIED}).")
    elif table.headline is not None and not table.refused:
        texts.append("No mark: no method is significantly better than another.")
    if compared:
        texts.append("Gain: on the same seeds, with its 95 % interval; bold where significant.")
    if len(table.devices) == 1:
        texts.append(f"Measured on: {table.devices[0]}.")
    return " ".join(texts)


def arrow(column: Column) -> str:
    """Returns an arrow towards better values, or the empty string."""
    return {True: "↑", False: "↓", None: ""}[column.higher_is_better]


def method(row: Row) -> str:
    """Returns the method, marked where its numbers have a warning."""
    return f"{row.axes.method} {WARNING}" if row.warnings else row.axes.method


def budget(row: Row) -> str:
    """Returns the budget; without a unit it counts documents."""
    unit = "" if row.axes.budget_unit == "documents" else f" {row.axes.budget_unit}"
    return f"{row.axes.budget:,}{unit}"


def markdown(tables: Sequence[ComparisonTable]) -> str:
    """Returns the leaderboard as a Markdown document."""
    parts = ["# Leaderboard", "Generated from `records/` by `python -m shortlist.leaderboard`."]
    costs = "\n".join(f"- {cost.title}: {cost.description}" for cost in COSTS.values())
    parts += [COMPARISON, COST_INTRODUCTION, costs]
    for table in tables:
        remarks = "\n".join(f"- {escape_markdown(remark)}" for remark in table.remarks())
        axes = ["selector", "featurizer", "model"] + ["device"] * (len(table.devices) > 1)
        body = markdown_table(_text_table(table, axes, range(len(table.columns))))
        parts += [
            f"## {escape_markdown(table.title)}",
            escape_markdown(legend(table)),
            body,
        ]
        for further in further_tables(table):
            parts += [f"### {further.title}", markdown_table(further), further.note]
        parts.append(remarks)
    return "\n\n".join(part for part in parts if part) + "\n"


def further_tables(table: ComparisonTable) -> list[TextTable]:
    """Returns the tables that stand below a comparison, as far as it has numbers for them."""
    made = (payoff_table(table), decision_table(table))
    return [*table.further, *(one for one in made if one is not None)]


def _text_table(
    table: ComparisonTable, axes: Sequence[str], columns: Sequence[int], brief: bool = False
) -> TextTable:
    """Returns the rows as text: these axes, budget and seeds, these columns, and the gains.

    A reason that leaves several cells of a row empty is spelled out in the first.

    Args:
        table: the table.
        axes: of `selector`, `featurizer`, `model`, `device`.
        columns: indices of columns.
        brief: whether to leave out gains, reasons, and standard deviations of all but the primary
            metric.
    """
    gains = table.has_gains and not brief
    headings = [*axes, "budget", "n"]
    for index in columns:
        column = table.columns[index]
        headings.append(column.title if brief else f"{column.title} {arrow(column)}".strip())
        if gains and index == table.headline:
            headings.append(gain_heading(table))
    rows: list[tuple[TextCell, ...]] = []
    for row in table.rows:
        names = {
            "selector": method(row), "featurizer": row.axes.featurizer, "model": row.axes.model,
            "device": row.device,
        }  # fmt: skip
        texts = (*(names[axis] for axis in axes), budget(row), str(len(row.seeds)))
        cells = [TextCell(text) for text in texts]
        explained: set[str] = set()
        for index in columns:
            column, cell = table.columns[index], row.cells[index]
            text = cell_text(cell, column, with_sd=column.primary or not brief)
            if cell.missing and (brief or cell.missing in explained):
                text = cell.status
            if cell.status != "not applicable":
                explained.add(cell.missing)
            cells.append(_emphasised(text, cell.standing in ("best", "tied")))
            if gains and index == table.headline:
                gain = table.gain(row)
                significant = gain is not None and gain.significant
                cells.append(_emphasised(gain_text(gain, column), significant))
        rows.append(tuple(cells))
    return TextTable(table.title, tuple(headings), tuple(rows), left=len(axes))


def _emphasised(text: str, strong: bool) -> TextCell:
    return TextCell(text, kind="strong" if strong else "")


def latex(tables: Sequence[ComparisonTable]) -> str:
    """Returns a `table` environment for each table (packages booktabs and caption).

    Columns are ranks, metrics and the two costs of a method; the CSV has all.
    """
    return "\n".join(_latex(table) for table in tables if table.rows)


def _latex(table: ComparisonTable) -> str:
    columns = [
        index
        for index, column in enumerate(table.columns)
        if column.kind in ("rank", "metric") or column.name in METHOD_COSTS
    ]
    return latex_table(_text_table(table, ("selector", "model"), columns))


GAIN = ("gain", "gain_low", "gain_high", "gain_p", "gain_over", "verdict", "seeds_needed")


def _gain_values(gain: Gain | None) -> dict[str, Value]:
    """Returns the comparison with the control as columns; empty ones where there is none."""
    if gain is None:
        return dict.fromkeys(GAIN)
    # Eight digits: the last ones of quantiles of Student's t differ between processors, and the
    # files must regenerate byte for byte.
    low, high, p = (
        None if end is None else float(f"{end:.8g}") for end in (gain.low, gain.high, gain.p)
    )
    values = (gain.value, low, high, p, gain.control, gain.verdict, gain.seeds_needed)
    return dict(zip(GAIN, values, strict=True))


def _axes(table: ComparisonTable, row: Row) -> dict[str, Value]:
    settings = " ".join(row.axes.settings)
    return {"task": table.task, "pool": table.pool, **vars(row.axes), "settings": settings}


def value_rows(table: ComparisonTable) -> list[dict[str, Value]]:
    """Returns one flat row per row and column of the table."""
    return [
        {
            **_axes(table, row),
            "column": column.key,
            "unit": column.unit,
            "higher_is_better": {True: "true", False: "false", None: ""}[column.higher_is_better],
            "primary": "true" if column.primary else "false",
            "split": column.split,
            "protocol": column.protocol,
            "status": cell.status,
            "n": cell.n,
            "mean": cell.mean,
            "sd": cell.sd,
            "standing": cell.standing,
            **_gain_values(cell.gain),
            "seeds": " ".join(map(str, cell.seeds)),
            "values": " ".join(map(repr, cell.values)),
            "reason": cell.reason,
            "device": row.device,
            "records": " ".join(cell.record_keys),
        }
        for row in table.rows
        for column, cell in zip(table.columns, row.cells, strict=True)
    ]


def csv_text(rows: Sequence[Mapping[str, Value]], header: bool = True) -> str:
    """Returns rows as CSV: floats as their `repr`, None as an empty field; without rows nothing."""
    if not rows:
        return ""
    file = io.StringIO()
    writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return visible(file.getvalue())


def tables_csv(tables: Sequence[ComparisonTable]) -> str:
    """Returns every value of every table, one a line, in full precision."""
    return csv_text([row for table in tables for row in value_rows(table)])


def method_rows(table: ComparisonTable) -> list[dict[str, Value]]:
    """Returns one flat row per row of the table (for W&B)."""
    rows: list[dict[str, Value]] = []
    for row in table.rows:
        flat = {**_axes(table, row), "seeds": " ".join(map(str, row.seeds))}
        for column, cell in zip(table.columns, row.cells, strict=True):
            key = column.key
            flat |= {key: cell.mean, f"{key} sd": cell.sd, f"{key} n": cell.n}
        flat |= _gain_values(table.gain(row))
        warnings = "; ".join(text for text, _ in row.warnings)
        rows.append(
            {**flat, "device": row.device, "gaps": "; ".join(row.gaps), "warnings": warnings}
        )
    return rows


WIDTH = 100  # characters of a terminal
METHOD_WIDTH = 24  # longer names are folded
GUTTER = 2  # blanks between two columns
EDGES = 3


def console_table(table: ComparisonTable) -> rich.table.Table:
    """Returns the table for a terminal of 100 columns.

    The two costs of a method are always shown, then the metrics in their order as long as there is
    room, with the standard deviation of the primary one. The caption names the columns that are
    left out, the gains, and the reasons of missing means.
    """

    def urgency(index: int) -> tuple[int, int]:
        column = table.columns[index]
        if column.kind == "rank" or column.name in METHOD_COSTS:
            return 0, index
        return 1 if column.kind == "metric" else 2, index

    whole = _text_table(table, ("selector",), range(len(table.columns)), brief=True)
    widths = [
        max(map(len, [*heading.split(), *(row[place].text for row in whole.rows)]))
        for place, heading in enumerate(whole.headings)
    ]
    widths[0] = min(widths[0], METHOD_WIDTH)
    room = WIDTH - EDGES - 3 * GUTTER - sum(widths[:3])
    shown = [0, 1, 2]  # selector, budget, n
    for index in sorted(range(len(table.columns)), key=urgency):
        if widths[3 + index] + GUTTER <= room:
            shown.append(3 + index)
            room -= widths[3 + index] + GUTTER
    shown.sort()
    left_out = [column.title for i, column in enumerate(table.columns) if 3 + i not in shown]
    notes = [*table.refused.values()]
    notes += [f"also measured: {', '.join(left_out)}"] if left_out else []
    for row in table.rows:
        gain = table.gain(row)
        if gain is not None and table.headline is not None:
            text = gain_text(gain, table.columns[table.headline])
            notes.append(f"{row.axes.label}: {text}, {gain_sentence(gain)}")
    return rich_table(
        TextTable(
            table.title,
            tuple(whole.headings[place] for place in shown),
            tuple(tuple(row[place] for place in shown) for row in whole.rows),
            note="\n".join([*notes, *table.gaps(), *table.remarks()]),
        ),
        {number: widths[place] for number, place in enumerate(shown)},
    )
