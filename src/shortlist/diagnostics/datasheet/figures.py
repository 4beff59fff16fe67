"""Drawings as inline SVG, in the page's own colours and letters, light or dark."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Matplotlib wants colours; the page has names for them. Each stands for a variable of the style.
_VARIABLES = {
    "#010203": "var(--ink)",
    "#040506": "var(--soft)",
    "#070809": "var(--line)",
    "#0a0b0c": "var(--pool)",
    "#0d0e0f": "var(--target)",
    "#101112": "var(--chosen)",
}
INK, SOFT, LINE, POOL, TARGET, CHOSEN = _VARIABLES
WIDTH, HEIGHT = 5.2, 3.5  # inches: as wide as a phone, so that letters stay legible there
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "shortlist",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "text.color": INK,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


def scatter(parts: Sequence[tuple[str, NDArray[Any]]], axes: tuple[str, str]) -> str:
    """Returns the map of pool, target and picks, drawn in that order.

    Shapes differ as colours do, so that neither colour sight nor colour print is needed.

    Args:
        parts: (name, (n, 2) places) of pool, target and picks.
        axes: names of the axes.
    """
    looks = ((POOL, "o", 8, 0.55), (TARGET, "^", 16, 0.75), (CHOSEN, "D", 9, 0.75))

    def draw(axis: Any) -> None:
        for (name, places), (colour, marker, size, alpha) in zip(parts, looks, strict=True):
            axis.scatter(
                *places.T, s=size, c=colour, marker=marker, alpha=alpha, linewidths=0, label=name
            )
        axis.set_xlabel(axes[0])
        axis.set_ylabel(axes[1])
        axis.set_xticks([])
        axis.set_yticks([])
        legend = axis.legend(
            loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, markerscale=1.6,
            handletextpad=0.1, columnspacing=1.2,
        )  # fmt: skip
        for handle in legend.legend_handles:
            handle.set_alpha(1)

    return _draw(draw, HEIGHT + 0.6)


def histogram(pool: NDArray[np.float64], picks: NDArray[np.float64], bins: int = 40) -> str:
    """Returns the scores of the pool and of the picks, on a logarithmic axis of counts.

    Args:
        pool: (n,) scores of the pool.
        picks: (k,) the picks' own.
        bins: how many bars.
    """
    edges = np.histogram_bin_edges(pool, bins)

    def draw(axis: Any) -> None:
        axis.hist(pool, edges, color=POOL, alpha=0.6, label="pool")
        axis.hist(picks, edges, color=CHOSEN, label="picks")
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter("{x:,.0f}")
        axis.minorticks_off()
        axis.set_xlabel("score (larger is chosen first)")
        axis.set_ylabel("documents")
        axis.legend(
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            ncols=2,
            handlelength=1,
            columnspacing=1.2,
        )

    return _draw(draw, HEIGHT)


def curve(x: Sequence[float], y: Sequence[float], names: tuple[str, str], at: float | None) -> str:
    """Returns y over x; `at` marks the place that is recommended."""

    def draw(axis: Any) -> None:
        axis.plot(x, y, color=CHOSEN, linewidth=1.6, marker="o", markersize=3.5)
        if at is not None:
            axis.axvline(at, color=TARGET, linewidth=1.2, linestyle=(0, (4, 3)))
        if min(x) > 0 and max(x) / min(x) > 30:
            axis.set_xscale("log")
            axis.xaxis.set_major_formatter("{x:,.0f}")
            axis.minorticks_off()
        axis.set_xlabel(names[0])
        axis.set_ylabel(names[1])

    return _draw(draw, HEIGHT)


def _draw(draw: Any, height: float) -> str:
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.subplots())
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return _inline(file.getvalue())


def _one_style(found: re.Match[str]) -> str:
    """Returns a group of equal marks with their style once, where they have one in common."""
    styles = set(re.findall(r' style="[^"]*"', found[0]))
    if len(styles) != 1:
        return found[0]
    (style,) = styles
    return found[0].replace(style, "").replace("<g ", f"<g{style} ", 1)


def _inline(svg: str) -> str:
    """Returns the drawing without its own fonts, colours and needless digits."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    svg = re.sub(r" font-family: [^;\"]*;", "", svg)
    svg = re.sub(r"(\d+\.\d)\d+", r"\1", svg).replace("xlink:href", "href")
    svg = re.sub(r"<g clip-path=[^>]*>\s*(?:<use [^>]*/>\s*)+", _one_style, svg)
    used = set(re.findall(r"#([\w-]+)", svg))
    svg = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    return re.sub(r">\s+<", "><", svg).strip()
