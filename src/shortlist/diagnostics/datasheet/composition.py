"""Composition of a selection beside that of the pool it was chosen from, as tables of shares."""

from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from shortlist.diagnostics.formatting import DASH, counted, percent, ratio
from shortlist.rendering.tables import TextCell, TextTable

SHOWN = 12  # categories of a table; the others are summed in one row
LENGTHS = (0, 100, 150, 200, 300, 400, 600, 800, 1000, 1500, 2000, 4000, 8000)  # characters
TOXICITY = (0.0, 0.1, 0.5)

Row = tuple[str, int, int]  # a category, its number of selected documents and of pool documents


def category_table(title: str, values: Sequence[Hashable], rows: NDArray[np.int64]) -> TextTable:
    """Returns the shares of each category in selection and pool, the most selected first.

    Args:
        title: what the categories are.
        values: (n,) category of each document of the pool.
        rows: (k,) selected rows.
    """
    pool, selected = Counter(values), Counter(values[row] for row in rows)
    ranked = sorted(pool, key=lambda value: (-selected[value], -pool[value], str(value)))
    shown: list[Row] = [(str(one) or "(none)", selected[one], pool[one]) for one in ranked]
    others: Row | None = None
    if len(shown) > SHOWN + 1:
        shown, rest = shown[:SHOWN], shown[SHOWN:]
        others = (f"{len(rest):,} others", sum(one[1] for one in rest), sum(one[2] for one in rest))
    return _share_table(title, shown, len(rows), len(values), others=others)


def binned_table(
    title: str,
    values: NDArray[np.float64] | NDArray[np.int64],
    rows: NDArray[np.int64],
    edges: Sequence[float],
    note: str = "",
) -> TextTable:
    """Returns the shares of each bin [edge, next edge) in selection and pool; empty bins are left
    out.
    """
    place = np.searchsorted(np.asarray(edges), values, side="right") - 1
    pool = np.bincount(place, minlength=len(edges))
    selected = np.bincount(place[rows], minlength=len(edges))
    names = [*(f"{low:,} to {high:,}" for low, high in pairwise(edges)), f"{edges[-1]:,} or more"]
    bins = zip(names, selected.tolist(), pool.tolist(), strict=True)
    return _share_table(title, [row for row in bins if row[2]], len(rows), len(values), note)


def length_table(lengths: NDArray[np.int64], rows: NDArray[np.int64]) -> TextTable:
    """Returns the distribution of lengths in characters, with medians and means as its note."""
    selected = lengths[rows]
    note = (
        f"Median {np.median(selected):,.0f} characters (pool {np.median(lengths):,.0f}), "
        f"mean {selected.mean():,.0f} (pool {lengths.mean():,.0f})."
    )
    return binned_table("Length in characters", lengths, rows, LENGTHS, note)


def copy_table(
    clusters: NDArray[np.int64], rows: NDArray[np.int64], not_compared: int
) -> TextTable:
    """Returns how many documents have near copies in the pool, and how many repeat another document
    of the pool, or of the selection.

    Args:
        clusters: (n,) cluster of near copies of each document.
        rows: (k,) selected rows.
        not_compared: number of candidate pairs that were not compared.
    """
    copied = np.bincount(clusters, minlength=len(clusters))[clusters] > 1
    repeats = [len(part) - len(np.unique(part)) for part in (clusters[rows], clusters)]
    shown = [
        ("with a near copy in the pool", int(copied[rows].sum()), int(copied.sum())),
        ("repeating another one listed", *repeats),
    ]
    note = "Near copies have a Jaccard similarity of at least 0.8 over runs of five words."
    if not_compared:
        note += f" At most {counted(not_compared, 'candidate pair')} were not compared."
    return _share_table("Near copies", shown, len(rows), len(clusters), note)


def property_table(
    title: str, values: Sequence[Hashable] | None, rows: NDArray[np.int64], missing: str = ""
) -> TextTable:
    """Returns the distribution of a property: of numbers from 0 to 1 in bins, of names by name.

    Args:
        title: name of the property.
        values: (n,) its value for each document of the pool; None where it is not known.
        rows: (k,) selected rows.
        missing: note of the (empty) table where it is not known.
    """
    if values is None:
        return TextTable(title, (), (), missing)
    if len(values) and isinstance(values[0], float):
        return binned_table(title, np.asarray(values, dtype=float), rows, TOXICITY)
    return category_table(title, values, rows)


def _share_table(
    title: str,
    shown: Sequence[Row],
    k: int,
    n: int,
    note: str = "",
    others: Row | None = None,
) -> TextTable:
    """Returns counts as shares of k selected and n pool documents; the longest bar is the largest
    share, and the row `others` has none.
    """
    longest = max((max(selected / k, pool / n) for _, selected, pool in shown), default=0.0)

    def cells(row: Row, bars: bool) -> tuple[TextCell, ...]:
        name, selected, pool = row
        here, there = selected / k, pool / n
        bar, pool_bar = (here / longest, there / longest) if bars and longest else (None, None)
        return (
            TextCell(name),
            TextCell(percent(here), bar, "chosen"),
            TextCell(percent(there), pool_bar, "pool"),
            TextCell(ratio(here / there) if pool else DASH),
        )

    rows = [cells(row, True) for row in shown] + ([cells(others, False)] if others else [])
    return TextTable(title, ("", "picks", "pool", "ratio"), tuple(rows), note)
