"""Plots of a comparison table: metric by budget, and gain by cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from shortlist.leaderboard.columns import METHOD_COSTS, OPERATIONS
from shortlist.leaderboard.table import ComparisonTable, Row
from shortlist.rendering.svg import LINE, SOFT, legend, series_style, svg


@dataclass(frozen=True)
class Plot:
    """A plot.

    Attributes:
        title: heading.
        description: what it shows and how to read it.
        series: number of entries of the legend.
        draw: draws onto Matplotlib axes.
    """

    title: str
    description: str
    series: int
    draw: Callable[[Any], None]

    @property
    def columns(self) -> int:
        """Number of columns of the legend."""
        return 3 if self.series < 10 else 5

    def svg(self) -> str:
        """Returns the plot as SVG in the colours of the page."""
        return svg(self.draw, self.series, self.columns)


def plots(table: ComparisonTable) -> list[Plot]:
    """Returns the plots that a table has enough numbers for."""
    if table.headline is None:
        return []
    gains = (_cost_and_gain(table, cost) for cost in (_SECONDS, _COMPUTE))
    return [plot for plot in (_budget_curve(table), *gains) if plot is not None]


def pareto(costs: Sequence[float], gains: Sequence[float]) -> list[int]:
    """Returns the indices of the Pareto-optimal points, by cost: no other is at most as expensive
    and at least as good, with one of the two strictly.
    """
    order = sorted(range(len(costs)), key=lambda i: (costs[i], -gains[i]))
    front = list[int]()
    for index in order:
        if not front or gains[index] > gains[front[-1]]:
            front.append(index)
    return front


def _budget_curve(table: ComparisonTable) -> Plot | None:
    """Returns the metric by budget; None for one budget, or budgets of several units."""
    index = table.headline
    assert index is not None
    lines: dict[str, list[Row]] = {}
    for row in table.rows:
        if row.cells[index].mean is not None:
            lines.setdefault(_series_name(table, row), []).append(row)
    units = {row.axes.budget_unit for row in table.rows}
    budgets = sorted({row.axes.budget for rows in lines.values() for row in rows})
    if len(units) != 1 or len(budgets) < 2:
        return None
    title = table.columns[index].title

    def draw(axes: Any) -> None:
        for place, (name, rows) in enumerate(sorted(lines.items())):
            deviations = [row.cells[index].sd or 0.0 for row in rows]
            axes.errorbar(
                [row.axes.budget for row in rows],
                [row.cells[index].mean or 0.0 for row in rows],
                yerr=deviations if any(deviations) else None,
                label=name, capsize=2, lw=1.6, ms=5, **series_style(place),
            )  # fmt: skip
        if budgets[-1] >= 10 * budgets[0]:
            axes.set_xscale("log")
        axes.set_xticks(budgets, [f"{budget:,}" for budget in budgets])
        axes.minorticks_off()
        axes.set_xlabel(f"budget ({', '.join(units)})")
        axes.set_ylabel(title)
        legend(axes, plot.columns, fontsize=_legend_size(plot))

    about = f"Mean {title} of each method by budget; bars are one standard deviation."
    plot = Plot("Metric by budget", about, len(lines), draw)
    return plot


class _Point(NamedTuple):
    name: str
    cost: float
    gain: float
    half: float  # of the 95 % interval
    budget: int


class _Cost(NamedTuple):
    """What a plot of gains has on its axis of costs."""

    columns: Sequence[str]  # names of those whose sum is the cost
    title: str  # of the plot
    axis: str
    what: str  # the costs as a reader names them
    ticks: tuple[int, ...]  # labelled multiples of a power of ten
    number: str  # format of their labels
    timed: bool  # whether it is time, which cannot be compared between devices


_SECONDS = _Cost(
    METHOD_COSTS, "Gain by cost", "selection and training (s)", "seconds of selection and training",
    (1, 2, 3, 5), "{x:,g}", timed=True,
)  # fmt: skip
_COMPUTE = _Cost(
    (OPERATIONS.name,), "Gain by compute", "selection and warm-up (FLOP, estimated)",
    "estimated operations of selection and warm-up", (1, 3), "{x:.0e}", timed=False,
)  # fmt: skip


def _cost_and_gain(table: ComparisonTable, cost: _Cost) -> Plot | None:
    """Returns the gain by cost; None for fewer than three points, or for time on several devices."""
    index = table.headline
    assert index is not None
    summed = [i for i, column in enumerate(table.columns) if column.name in cost.columns]
    controls = {gain.control for row in table.rows if (gain := table.gain(row)) is not None}
    points = list[_Point]()
    for row in table.rows:
        costs = [mean for i in summed if (mean := row.cells[i].mean) is not None]
        gain = table.gain(row)
        if not costs or len(costs) < len(summed) or row.cells[index].mean is None:
            continue
        value = gain.value if gain else 0.0 if row.axes.method in controls else None
        if value is not None:
            half = 0.0 if gain is None or gain.high is None else gain.high - gain.value
            name = _series_name(table, row)
            points.append(_Point(name, math.fsum(costs), value, half, row.axes.budget))
    comparable = len(table.devices) == 1 or not cost.timed
    if len(points) < 3 or not comparable or any(point.cost <= 0 for point in points):
        return None
    names = sorted({point.name for point in points})
    several_budgets = len({point.budget for point in points}) > 1

    def draw(axes: Any) -> None:
        from matplotlib.ticker import LogLocator

        axes.axhline(0, color=LINE, lw=1, zorder=0)
        optimal = pareto([point.cost for point in points], [point.gain for point in points])
        front = [points[place] for place in optimal]
        axes.step(
            [point.cost for point in front], [point.gain for point in front],
            where="post", color=SOFT, lw=1, ls=(0, (4, 3)), zorder=1,
        )  # fmt: skip
        for place, name in enumerate(names):
            own = [point for point in points if point.name == name]
            axes.errorbar(
                [point.cost for point in own], [point.gain for point in own],
                yerr=[point.half for point in own] if any(point.half for point in own) else None,
                label=name, ls="none", ms=6, lw=1, alpha=0.95, **series_style(place),
            )  # fmt: skip
        for point in front if several_budgets else ():
            axes.annotate(
                f"{point.budget:,}", (point.cost, point.gain), (5, 4),
                textcoords="offset points", color=SOFT, fontsize=8,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=cost.ticks))
        axes.xaxis.set_major_formatter(cost.number)
        axes.minorticks_off()
        axes.set_xlabel(f"{cost.axis}, {table.devices[0]}" if cost.timed else cost.axis)
        axes.set_ylabel(f"gain in {table.columns[index].title}")
        legend(axes, plot.columns, fontsize=_legend_size(plot))

    about = (
        f"Gain over the random control by the {cost.what}. The dashed line joins the Pareto-optimal "
        "points; bars are 95 % intervals."
    )
    plot = Plot(cost.title, about, len(names), draw)
    return plot


def _legend_size(plot: Plot) -> int:
    return 9 if plot.series < 10 else 7


def _series_name(table: ComparisonTable, row: Row) -> str:
    """Returns the method, with featurizer and model where rows of the method differ in them."""
    same = [other.axes for other in table.rows if other.axes.method == row.axes.method]
    parts = [row.axes.method]
    for field in ("featurizer", "model"):
        if len({getattr(axes, field) for axes in same}) > 1:
            parts.append(getattr(row.axes, field))
    return ", ".join(parts)
