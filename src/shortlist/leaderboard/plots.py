"""Budget curves and cost against gain, as inline SVG in the page's own colours."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from shortlist.leaderboard.render import heading
from shortlist.leaderboard.table import Row, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 5.4, 3.5  # inches: letters stay legible on a phone
# Matplotlib wants colours where the page has names for them; these stand for its variables.
INK, SOFT, LINE = "#010101", "#020202", "#030303"
SERIES = tuple(f"#0404{number:02x}" for number in range(8))
VARIABLES = {
    INK: "var(--ink)",
    SOFT: "var(--soft)",
    LINE: "var(--line)",
    **{colour: f"var(--series-{number})" for number, colour in enumerate(SERIES)},
}
MARKERS = "oDs^vPX*"
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "shortlist",
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "text.color": INK,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


@dataclass(frozen=True)
class Plot:
    """A drawing.

    Attributes:
        title: what it shows.
        about: the same for those who cannot see it, and how to read it.
        series: how many names its legend has.
        draw: draws onto axes of matplotlib.
    """

    title: str
    about: str
    series: int
    draw: Callable[[Any], None]


def plots(table: Table) -> list[Plot]:
    """Returns the drawings that a table has enough numbers for."""
    if table.headline is None:
        return []
    return [plot for plot in (_budget_curve(table), _cost_and_gain(table)) if plot is not None]


def pareto(costs: Sequence[float], gains: Sequence[float]) -> list[int]:
    """Returns the points that no other beats: none is cheaper with as much gain, or gains more for
    as little; by cost.
    """
    order = sorted(range(len(costs)), key=lambda i: (costs[i], -gains[i]))
    front = list[int]()
    for index in order:
        if not front or gains[index] > gains[front[-1]]:
            front.append(index)
    return front


def _budget_curve(table: Table) -> Plot | None:
    index = table.headline
    assert index is not None
    lines: dict[str, list[Row]] = {}
    units = {row.axes.budget_unit for row in table.rows}
    for row in table.rows:
        if row.cells[index].mean is not None:
            lines.setdefault(_name(table, row), []).append(row)
    budgets = sorted({row.axes.budget for rows in lines.values() for row in rows})
    if len(units) != 1 or len(budgets) < 2:
        return None
    unit, column = units.pop(), table.columns[index]

    def draw(axes: Any) -> None:
        for place, (name, rows) in enumerate(sorted(lines.items())):
            x = [row.axes.budget for row in rows]
            y = [row.cells[index].mean or 0.0 for row in rows]
            bars = [row.cells[index].sd or 0.0 for row in rows]
            look = _look(place)
            axes.errorbar(
                x, y, yerr=bars if any(bars) else None, label=name, capsize=2, lw=1.6, ms=5, **look
            )
        if budgets[-1] >= 10 * budgets[0]:
            axes.set_xscale("log")
        axes.set_xticks(budgets, [f"{budget:,}" for budget in budgets])
        axes.minorticks_off()
        axes.set_xlabel(f"budget ({unit})")
        axes.set_ylabel(heading(column))
        _legend(axes, len(lines))

    about = f"Mean {heading(column)} of each method by budget; bars are one standard deviation."
    return Plot("Budget curve", about, len(lines), draw)


def _cost_and_gain(table: Table) -> Plot | None:
    index = table.headline
    assert index is not None
    keys = {column.key: place for place, column in enumerate(table.columns)}
    seconds = [keys[key] for key in ("selection_seconds", "training_seconds") if key in keys]
    found = list[tuple[str, float, float, float, int]]()
    controls = {gain.over for row in table.rows if (gain := table.gain(row)) is not None}
    for row in table.rows:
        costs = [row.cells[place].mean for place in seconds]
        gain = table.gain(row)
        if any(cost is None for cost in costs) or row.cells[index].mean is None:
            continue
        value = gain.value if gain else 0.0 if row.axes.method in controls else None
        if value is not None:
            half = 0.0 if gain is None or gain.high is None else gain.high - gain.value
            cost = math.fsum(cost for cost in costs if cost is not None)
            found.append((_name(table, row), cost, value, half, row.axes.budget))
    # Seconds on other devices are other seconds.
    if len(found) < 3 or len(table.devices) != 1 or any(cost <= 0 for _, cost, *_ in found):
        return None
    names = sorted({name for name, *_ in found})
    budgets = len({budget for *_, budget in found})

    def draw(axes: Any) -> None:
        axes.axhline(0, color=LINE, lw=1, zorder=0)
        front = pareto([cost for _, cost, *_ in found], [gain for _, _, gain, *_ in found])
        x, y = ([found[place][axis] for place in front] for axis in (1, 2))
        axes.step(x, y, where="post", color=SOFT, lw=1, ls=(0, (4, 3)), zorder=1)
        for place, name in enumerate(names):
            points = [point for point in found if point[0] == name]
            axes.errorbar(
                [point[1] for point in points],
                [point[2] for point in points],
                yerr=[point[3] for point in points] if any(p[3] for p in points) else None,
                label=name, ls="none", ms=6, lw=1, alpha=0.95, **_look(place),
            )  # fmt: skip
        # Labels are what takes time and room: the front has them.
        for _, cost, gain, _, budget in (found[place] for place in front if budgets > 1):
            axes.annotate(
                f"{budget:,}", (cost, gain), (5, 4), textcoords="offset points", color=SOFT,
                fontsize=8,
            )  # fmt: skip
        axes.set_xscale("log")
        _plain_seconds(axes, [cost for _, cost, *_ in found])
        axes.set_xlabel(f"selection and training (s), {table.devices[0]}")
        axes.set_ylabel(f"gain in {heading(table.columns[index])}")
        _legend(axes, len(names))

    about = (
        "Gain over the random selection by the seconds of selection and training. The dashed line "
        "joins what no other beats in both; bars are 95 % intervals."
    )
    return Plot("Cost and gain", about, len(names), draw)


def _plain_seconds(axes: Any, costs: Sequence[float]) -> None:
    """Labels a logarithmic axis with numbers that people count in."""
    low, high = min(costs) / 1.15, max(costs) * 1.15
    steps = [m * 10.0**e for e in range(-2, 8) for m in (1, 2, 3, 5)]
    ticks = [step for step in steps if low <= step <= high]
    if len(ticks) < 2:
        ticks = [min(costs), max(costs)] if min(costs) < max(costs) else [costs[0]]
    axes.set_xlim(low, high)
    axes.set_xticks(ticks, [f"{tick:,.3g}" if tick < 1000 else f"{tick:,.0f}" for tick in ticks])
    axes.minorticks_off()


def _name(table: Table, row: Row) -> str:
    """Returns a method, with model and featurizer where they tell rows apart."""
    same = [r.axes for r in table.rows if r.axes.method == row.axes.method]
    parts = [row.axes.method]
    for field in ("featurizer", "model"):
        if len({getattr(axes, field) for axes in same}) > 1:
            parts.append(getattr(row.axes, field))
    return ", ".join(parts)


def _look(place: int) -> dict[str, Any]:
    """Returns colour and shape of a series: shapes differ too, for those who see no colours."""
    return {
        "color": SERIES[place % len(SERIES)],
        "marker": MARKERS[(place + place // len(SERIES)) % len(MARKERS)],
    }


def _columns(series: int) -> int:
    return 3 if series < 10 else 5


def _legend(axes: Any, series: int) -> None:
    """Puts the names above the drawing."""
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=_columns(series),
        handletextpad=0.3, columnspacing=1.1, borderaxespad=0.2, fontsize=9 if series < 10 else 7,
    )  # fmt: skip


def figure(plot: Plot) -> Figure:
    """Returns the drawing as a figure of matplotlib."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Margins in inches, known beforehand: a layout engine would draw everything twice.
    left, right, bottom, top = 0.78, 0.12, 0.5, 0.12
    top += 0.2 * math.ceil(plot.series / _columns(plot.series))
    height = HEIGHT + top - 0.32
    width, inner = 1 - (left + right) / WIDTH, 1 - (bottom + top) / height
    with rc_context(STYLE):
        made = Figure(figsize=(WIDTH, height))
        FigureCanvasAgg(made)
        plot.draw(made.add_axes((left / WIDTH, bottom / height, width, inner)))
        return made


def standalone(plot: Plot) -> str:
    """Returns the drawing as HTML that brings the page's light colours with it."""
    style = resources.files("shortlist.leaderboard").joinpath("page.css").read_text("utf-8")
    return f"<style>{style[: style.index('}') + 1]}</style>\n{svg(plot)}"


def svg(plot: Plot) -> str:
    """Returns the drawing as SVG that takes its colours from the page; the same bytes every time."""
    from matplotlib import rc_context

    with rc_context(STYLE):
        file = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure(plot).savefig(file, format="svg", metadata=nothing, transparent=True)
    text = file.getvalue()
    text = text[text.index("<svg") :]
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, variable)
    text = re.sub(r"<(metadata|style)\b.*?</\1>\s*", "", text, flags=re.S)
    text = re.sub(r"; font-family: [^;\"]*", "", text)  # the page's letters
    # Drawings of one page must not share names; names that are referred to hash what they name.
    text = re.sub(r'<g id="[^"]*">', "<g>", text)
    text = re.sub(
        r'<svg [^>]*viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" role="img">', text, count=1
    )
    return "\n".join(line.rstrip() for line in text.splitlines())
