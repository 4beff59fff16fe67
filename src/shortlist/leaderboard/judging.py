"""What may be said of a table: which methods are tied for the best, and which beat random.

Methods are compared within a block: one model, one budget, the same seeds. Two questions are asked
of each metric. Which rows cannot be told from the best? There the best is chosen first, so every
pair counts in the correction. And does a method beat the random selection that is its fair control?
There only the methods count.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shortlist.core import Record, unpack_item_scores
from shortlist.leaderboard.noise import Floor, floor_of
from shortlist.leaderboard.table import Cell, Column, Gain, Row, Table, Verdict
from shortlist.stats.comparison import (
    Differences,
    all_pairs,
    compare,
    half_width,
    holm,
    mcnemar,
    seeds_needed,
)

LEVEL = 0.05
MOST_NUMBERS = 50_000_000  # methods x seeds x items of one comparison: 400 MB
CONTROL = "random"


@dataclass(frozen=True)
class Block:
    """The rows of one model and budget that share their seeds.

    Attributes:
        rows: where they stand in the table.
        seeds: the seeds that all of them have.
        values: (K, S), turned so that larger is better.
        items: (K, S, n) contributions by test item, turned likewise; None where not all have them.
        differences: every row against every other; None for a single seed or a single row.
    """

    rows: tuple[int, ...]
    seeds: tuple[int, ...]
    values: NDArray[np.float64]
    items: NDArray[np.float64] | None
    differences: Differences | None


def judged(table: Table, records: Mapping[str, Record], floors: Sequence[Floor]) -> Table:
    """Returns the table with the standings and the gains of its cells."""
    rows = [list(row.cells) for row in table.rows]
    for index, column in enumerate(table.columns):
        if column.kind != "metric" or column.higher_is_better is None:
            continue
        floor = floor_of(floors, table.task, column.name)
        for block in _blocks(table, index, records):
            for place, cell in _cells(table, index, block, records, floor):
                rows[place][index] = cell
    made = (replace(row, cells=tuple(cells)) for row, cells in zip(table.rows, rows, strict=True))
    return replace(table, rows=tuple(made))


def _blocks(table: Table, index: int, records: Mapping[str, Record]) -> Iterator[Block]:
    groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for place, row in enumerate(table.rows):
        mean = row.cells[index].mean
        if mean is not None and np.isfinite(mean):
            axes = row.axes
            groups[axes.model, axes.budget_unit, axes.budget].append(place)
    column = table.columns[index]
    for places in groups.values():
        rows = [table.rows[place] for place in places]
        seeds = _shared_seeds([row.seeds for row in rows])
        kept = [p for p, row in zip(places, rows, strict=True) if set(seeds) <= set(row.seeds)]
        if not seeds or len(kept) < 2:
            continue
        sign = 1.0 if column.higher_is_better else -1.0
        cells = [table.rows[place].cells[index] for place in kept]
        values = sign * np.array([_by_seed(cell, seeds) for cell in cells])
        items = _items(cells, seeds, column, records)
        items = None if items is None else sign * items
        found = compare(values, items) if len(seeds) > 1 else None
        yield Block(tuple(kept), seeds, values, items, found)


def _shared_seeds(seeds: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Returns the seeds that all rows have; where those are fewer than two, the commonest set."""
    shared = set(seeds[0]).intersection(*map(set, seeds))
    if len(shared) >= 2 or all(len(found) == 1 for found in seeds):
        return tuple(sorted(shared))
    several = Counter(found for found in seeds if len(found) > 1)
    return max(several, key=lambda found: (several[found], len(found), found))


def _by_seed(cell: Cell, seeds: Sequence[int]) -> list[float]:
    found = dict(zip(cell.seeds, cell.values, strict=True))
    return [found[seed] for seed in seeds]


def _items(
    cells: Sequence[Cell], seeds: Sequence[int], column: Column, records: Mapping[str, Record]
) -> NDArray[np.float64] | None:
    """Returns (K, S, n) contributions, or None if a record has none or they would be too many.

    A column holds one protocol, which covers the test items: contributions pair up by position.
    """
    found: list[NDArray[np.float64]] = []
    for cell in cells:
        by_seed = {records[key].axes.seed: records[key] for key in cell.record_keys}
        for seed in seeds:
            packed = by_seed[seed].item_scores.get(column.name)
            if not packed:
                return None
            found.append(unpack_item_scores(packed))
            if len(found[-1]) != len(found[0]):
                return None
            if len(found[0]) * len(cells) * len(seeds) > MOST_NUMBERS:
                return None
    return np.stack(found).reshape(len(cells), len(seeds), -1)


def _cells(
    table: Table, index: int, block: Block, records: Mapping[str, Record], floor: float
) -> Iterator[tuple[int, Cell]]:
    """Yields the cells of a block with what may be said of them."""
    standings = _standings(block, floor)
    gains = _gains(table, block, records, floor)
    for position, place in enumerate(block.rows):
        cell = table.rows[place].cells[index]
        yield place, replace(cell, standing=standings[position], gain=gains.get(position))


def _standings(block: Block, floor: float) -> list[Any]:
    """Returns `best`, `tied` or `behind` of each row; nothing where none is behind."""
    nothing = [""] * len(block.rows)
    if block.differences is None:
        return nothing
    means = block.values.mean(1)
    best = int(means.argmax())
    p = all_pairs(block.differences.p)[best]
    behind = (p < LEVEL) & (means[best] - means > 0) & (means[best] - means > floor)
    if not behind.any():
        return nothing
    found = ["behind" if lost else "tied" for lost in behind]
    found[best] = "best"
    return found


def _gains(
    table: Table, block: Block, records: Mapping[str, Record], floor: float
) -> dict[int, Gain]:
    """Returns the gain of each row of a block over its random selection, by position."""
    rows = [table.rows[place] for place in block.rows]
    controls = {
        position: control
        for position, row in enumerate(rows)
        if (control := _control(position, rows, records)) is not None
    }
    corrected = dict[int, float]()
    for control in set(controls.values()):
        against = [position for position in controls if controls[position] == control]
        if block.differences is not None:
            p = holm(block.differences.p[against, control])
            corrected |= dict(zip(against, p.tolist(), strict=True))
    return {
        position: _gain(block, rows, position, control, corrected, len(controls), floor)
        for position, control in controls.items()
    }


def _control(position: int, rows: Sequence[Row], records: Mapping[str, Record]) -> int | None:
    """Returns the row that is the fair control of another; None for a random selection itself.

    A matched random that names this method among its parts comes first (it has its lengths, or
    its domains), then any matched random, then plain `random`. A matched random is compared with
    nothing: it is a yardstick.
    """
    if rows[position].axes.selector.startswith(CONTROL):
        return None
    mine = _targets(rows[position], records)[:1]
    ranked = sorted(
        (
            not (mine and mine[0] in _targets(row, records)[1:]),
            row.axes.selector == CONTROL,
            row.axes.method,
            place,
        )
        for place, row in enumerate(rows)
        if row.axes.selector == CONTROL or row.axes.selector.startswith(f"{CONTROL}_")
    )
    return ranked[0][-1] if ranked else None


def _targets(row: Row, records: Mapping[str, Record]) -> list[str]:
    """Returns the class of a row's selector, then those of the selectors inside it."""

    def walk(node: Any) -> Iterator[str]:
        if isinstance(node, Mapping):
            if isinstance(target := node.get("_target_"), str):
                yield target
            for value in node.values():
                yield from walk(value)
        elif isinstance(node, list | tuple):
            for value in node:
                yield from walk(value)

    if not row.record_keys:
        return []
    return list(walk(records[row.record_keys[0]].config.get("selector")))


def _gain(
    block: Block,
    rows: Sequence[Row],
    position: int,
    control: int,
    corrected: Mapping[int, float],
    methods: int,
    floor: float,
) -> Gain:
    value = float(block.values[position].mean() - block.values[control].mean())
    made = Gain(
        over=rows[control].axes.method,
        value=value,
        seeds=block.seeds,
        flips=tuple(_flips(block, position, control)),
    )
    found = block.differences
    if found is None:
        return replace(made, reason="one seed: two models are compared, not two methods")
    stderr = float(found.stderr[position, control])
    if stderr == 0:
        return replace(made, reason="no spread over the seeds to judge by")
    df, p = float(found.df[position, control]), corrected[position]
    half = half_width(stderr, df)
    verdict: Verdict = "not told apart"
    if floor and abs(value) <= floor:
        verdict = "below the noise"
    elif p < LEVEL:
        verdict = "better" if value > 0 else "worse"
    needed = None
    if verdict == "not told apart":
        needed = seeds_needed(
            value,
            float(found.seed_variance[position, control]) * len(block.seeds),
            float(found.item_variance[position, control]),
            len(block.rows),
            LEVEL / methods,
        )
    return replace(
        made,
        low=value - half,
        high=value + half,
        p=p,
        items=0 if block.items is None else block.items.shape[-1],
        needed=needed,
        verdict=verdict,
    )


def _flips(block: Block, position: int, control: int) -> Iterator[tuple[int, int, int, float]]:
    """Yields McNemar's counts and p-value by seed, where every item is right or wrong."""
    if block.items is None or not np.isin(block.items[[position, control]], (0.0, 1.0)).all():
        return
    for place, seed in enumerate(block.seeds):
        first, second = block.items[position, place] == 1, block.items[control, place] == 1
        yield (seed, *mcnemar(first, second))
