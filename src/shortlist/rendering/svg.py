"""Plots as inline SVG in the colours of the page, light or dark.

Matplotlib needs colours where the style sheet has variables: each constant below stands for one
variable and is replaced by it in the SVG.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, SOFT, LINE, POOL, TARGET, CHOSEN = (f"#0101{number:02x}" for number in range(1, 7))
SERIES = tuple(f"#0202{number:02x}" for number in range(8))
VARIABLES = {
    INK: "var(--ink)",
    SOFT: "var(--soft)",
    LINE: "var(--line)",
    POOL: "var(--pool)",
    TARGET: "var(--target)",
    CHOSEN: "var(--chosen)",
    **{colour: f"var(--series-{number})" for number, colour in enumerate(SERIES)},
}
MARKERS = "oDs^vPX*"
WIDTH, HEIGHT = 5.2, 3.5  # inches; text of 10 points stays legible at the width of a phone
LEGEND_ROW = 0.22  # inches
LEFT, RIGHT, BOTTOM, TOP = 0.78, 0.12, 0.5, 0.12  # margins in inches
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "shortlist",
    "font.family": "sans-serif",
    "font.size": 10,
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

Draw = Callable[[Any], None]


def series_style(number: int) -> dict[str, Any]:
    """Returns colour and marker of a series; markers differ too, so that no colour is needed."""
    return {
        "color": SERIES[number % len(SERIES)],
        "marker": MARKERS[(number + number // len(SERIES)) % len(MARKERS)],
    }


def legend(axes: Any, columns: int, **options: Any) -> Any:
    """Returns the legend, placed above the axes."""
    return axes.legend(
        loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=columns,
        handletextpad=0.3, columnspacing=1.1, borderaxespad=0.2, **options,
    )  # fmt: skip


def figure(draw: Draw, entries: int = 0, columns: int = 1) -> Figure:
    """Returns a Matplotlib figure with one pair of axes that `draw` has drawn on.

    Args:
        draw: draws onto the axes.
        entries: number of entries of the legend, for which room is left above the axes.
        columns: number of columns of the legend.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Fixed margins: a layout engine would draw everything twice.
    top = TOP + LEGEND_ROW * math.ceil(entries / columns)
    height = HEIGHT + top - TOP
    with rc_context(STYLE):
        made = Figure(figsize=(WIDTH, height))
        FigureCanvasAgg(made)
        width, inner = 1 - (LEFT + RIGHT) / WIDTH, 1 - (BOTTOM + top) / height
        draw(made.add_axes((LEFT / WIDTH, BOTTOM / height, width, inner)))
        return made


def svg(draw: Draw, entries: int = 0, columns: int = 1) -> str:
    """Returns the plot as SVG; arguments as for `figure`. Equal plots give equal bytes.

    Colours are variables of the page, fonts are the page's, coordinates have one decimal, and only
    elements that are referred to keep their ids, so that several plots can stand on one page.
    """
    from matplotlib import rc_context

    file = io.StringIO()
    with rc_context(STYLE):
        figure(draw, entries, columns).savefig(
            file,
            format="svg",
            metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")),
            transparent=True,
        )
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<(metadata|style)\b.*?</\1>\s*", "", text, flags=re.DOTALL)
    text = re.sub(
        r'<svg [^>]*viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" role="img">', text, count=1
    )
    text = re.sub(r";? font-family: [^;\"]*", "", text)
    # Digits of attributes only: those of texts are labels.
    text = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d+\.\d)\d+", r"\1", tag[0]), text)
    text = text.replace("xlink:href", "href")
    text = re.sub(r"<g clip-path=[^>]*>\s*(?:<use [^>]*/>\s*)+", _with_common_style, text)
    used = set(re.findall(r"#([\w-]+)", text))
    text = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, variable)
    return re.sub(r">\s+<", "><", text).strip()


def _with_common_style(marks: re.Match[str]) -> str:
    """Returns a group of equal marks whose style is given once, at the group."""
    styles = set(re.findall(r' style="[^"]*"', marks[0]))
    if len(styles) != 1:
        return marks[0]
    (style,) = styles
    return marks[0].replace(style, "").replace("<g ", f"<g{style} ", 1)
