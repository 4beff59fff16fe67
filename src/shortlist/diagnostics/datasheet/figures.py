"""Plots of a datasheet as inline SVG."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shortlist.rendering.svg import CHOSEN, POOL, TARGET, legend, svg


def scatter(parts: Sequence[tuple[str, NDArray[Any]]], axes: tuple[str, str]) -> str:
    """Returns the map of pool, target and picks; shapes differ too, so that no colour is needed.

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
        for handle in legend(axis, 3, markerscale=1.6).legend_handles:
            handle.set_alpha(1)

    return svg(draw, 3, 3)


def histogram(pool: NDArray[np.float64], picks: NDArray[np.float64], bins: int = 40) -> str:
    """Returns the scores of the pool and of the picks, on a logarithmic axis of counts.

    Args:
        pool: (n,) scores of the pool.
        picks: (k,) scores of the picks.
        bins: number of bars.
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
        legend(axis, 2, handlelength=1)

    return svg(draw, 2, 2)


def curve(x: Sequence[float], y: Sequence[float], names: tuple[str, str], at: float | None) -> str:
    """Returns y over x, with a vertical line at the recommended x, if any."""

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

    return svg(draw)
