"""What the selection is made of, beside what the pool is made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from shortlist.diagnostics.datasheet.words import DASH, counted, percent, times
from shortlist.rendering.tables import TextCell, TextTable

SHOWN = 12  # kinds of a mix; the others are one row
LENGTHS = (0, 100, 150, 200, 300, 400, 600, 800, 1000, 1500, 2000, 4000, 8000)  # characters
TOXICITY = (0.0, 0.1, 0.5)

_Part: TypeAlias = tuple[str, int, int]  # a kind, how many of the picks, how many of the pool


@dataclass(frozen=True)
class Trait:
    """One property of every document of the pool.

    Attributes:
        name: what it is called.
        values: (n,) numbers or names; None where it is not known of this pool.
        why: what the page says where it is not known.
    """

    name: str
    values: Sequence[Hashable] | None
    why: str = ""


def mix(
    title: str, values: Sequence[Hashable], rows: NDArray[np.int64], note: str = ""
) -> TextTable:
    """Returns the shares of each kind among the picks and in the pool, the most chosen first.

    Args:
        title: what the kinds are.
        values: (n,) kind of each document of the pool.
        rows: (k,) rows that were chosen.
        note: what to say below.
    """
    pool, chosen = Counter(values), Counter(values[row] for row in rows)
    kinds = sorted(pool, key=lambda kind: (-chosen[kind], -pool[kind], str(kind)))
    parts = [(str(kind) or "(none)", chosen[kind], pool[kind]) for kind in kinds[:SHOWN]]
    rest = kinds[SHOWN:]
    if len(rest) == 1:
        parts.append((str(rest[0]), chosen[rest[0]], pool[rest[0]]))
    elif rest:
        sums = [sum(found[kind] for kind in rest) for found in (chosen, pool)]
        return _shares(
            title, parts, len(rows), len(values), note, (f"{len(rest):,} others", sums[0], sums[1])
        )
    return _shares(title, parts, len(rows), len(values), note)


def bins(
    title: str,
    values: NDArray[np.float64] | NDArray[np.int64],
    rows: NDArray[np.int64],
    edges: Sequence[float],
    unit: str = "",
    note: str = "",
) -> TextTable:
    """Returns the shares of each bin [edge, next edge) among the picks and in the pool."""
    place = np.searchsorted(np.asarray(edges), values, side="right") - 1
    pool = np.bincount(place, minlength=len(edges))
    chosen = np.bincount(place[rows], minlength=len(edges))
    names = [f"{low:,} to {high:,}" for low, high in pairwise(edges)]
    names.append(f"{edges[-1]:,} or more")
    parts = [
        (f"{name}{unit}", int(here), int(all_))
        for name, here, all_ in zip(names, chosen, pool, strict=True)
        if all_
    ]
    return _shares(title, parts, len(rows), len(values), note)


def lengths(values: NDArray[np.int64], rows: NDArray[np.int64]) -> TextTable:
    """Returns the mix of lengths in characters; below it medians and means."""
    chosen = values[rows]
    note = (
        f"Median {np.median(chosen):,.0f} characters (pool {np.median(values):,.0f}), "
        f"mean {chosen.mean():,.0f} (pool {values.mean():,.0f})."
    )
    return bins("Length in characters", values, rows, LENGTHS, note=note)


def copies(labels: NDArray[np.int64], rows: NDArray[np.int64], not_compared: int) -> TextTable:
    """Returns how many documents have near copies, and how many repeat one that is there already.

    Args:
        labels: (n,) cluster of each document.
        rows: (k,) rows that were chosen.
        not_compared: candidate pairs that were left unconfirmed.
    """
    sizes = np.bincount(labels, minlength=len(labels))[labels]
    repeats = len(labels) - len(np.unique(labels)), len(rows) - len(np.unique(labels[rows]))
    parts = [
        ("with a near copy in the pool", int((sizes[rows] > 1).sum()), int((sizes > 1).sum())),
        ("repeating another one listed", repeats[1], repeats[0]),
    ]
    note = "Near copies share 80 % of their runs of five words."
    if not_compared:
        note += f" At most {counted(not_compared, 'candidate pair')} were not compared."
    return _shares("Near copies", parts, len(rows), len(labels), note)


def trait(found: Trait, rows: NDArray[np.int64]) -> TextTable:
    """Returns the mix of a property: bins of numbers in [0, 1], shares of names, or why not."""
    if found.values is None:
        return TextTable(found.name, (), (), found.why)
    if len(found.values) and isinstance(found.values[0], float):
        return bins(found.name, np.asarray(found.values, dtype=float), rows, TOXICITY)
    return mix(found.name, found.values, rows)


def _shares(
    title: str,
    parts: Sequence[_Part],
    chosen: int,
    pool: int,
    note: str,
    others: _Part | None = None,
) -> TextTable:
    """Returns the table; the longest bar is the largest share, and `others` have none."""
    longest = max([here / chosen for _, here, _ in parts] + [all_ / pool for _, _, all_ in parts])

    def row(part: _Part, bars: bool) -> tuple[TextCell, ...]:
        name, here, all_ = part
        shares = here / chosen, all_ / pool
        length = [share / longest if bars and longest else None for share in shares]
        return (
            TextCell(name),
            TextCell(percent(shares[0]), length[0], "chosen"),
            TextCell(percent(shares[1]), length[1], "pool"),
            TextCell(times(shares[0] / shares[1]) if all_ else DASH),
        )

    rows = [row(part, True) for part in parts] + ([row(others, False)] if others else [])
    return TextTable(title, ("", "picks", "pool", "ratio"), tuple(rows), note)
