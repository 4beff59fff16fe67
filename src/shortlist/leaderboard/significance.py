"""Significance of the differences in a table: rows tied with the best, and gains over random.

Rows are compared within a block: one model, one budget, the same seeds. Two comparisons are made
for each metric:

- the best row with all others, corrected for all pairs (Holm), because the best is chosen from the
  same values;
- each method with its random control, corrected for the number of methods.

A difference up to the noise floor of a metric is no finding, whatever its p-value.
"""

from __future__ import annotations

import csv
import json
import logging
import math
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shortlist.core import Record, unpack_item_scores
from shortlist.core.typed import typed
from shortlist.errors import InvalidInput
from shortlist.leaderboard.columns import PREDICTED, PROBE
from shortlist.leaderboard.table import (
    Aggregate,
    Column,
    ComparisonTable,
    Gain,
    Row,
    Standing,
    Verdict,
)
from shortlist.stats.comparison import (
    Differences,
    all_pairs,
    compare,
    half_width,
    holm,
    seeds_needed,
)

log = logging.getLogger(__name__)
LEVEL = 0.05
MAX_ITEM_SCORES = 50_000_000  # methods x seeds x items of one comparison: 400 MB
VANILLA = "vanilla"  # the selector of no document: the model without a warm-up
CONTROL = "random"  # the selector, or the beginning of the names of matched random selectors

NOISE_FILE = "noise_floor.csv"
NOISE_FIELDS = ["task", "metric", "value", "how"]


# Largest difference between evaluations of one model, by task and metric; task `*` for every task.
NoiseFloors = Mapping[tuple[str, str], float]


def noise_floor(floors: NoiseFloors, task: str, metric: str) -> float:
    """Returns the floor of a metric on a task, else that on every task, else 0."""
    return floors.get((task, metric), floors.get(("*", metric), 0.0))


def read_noise_floors(results: Path) -> NoiseFloors:
    """Returns the floors in `results/noise_floor.csv`; none where there is no such file.

    Raises:
        InvalidInput: the file has other columns, or a value is not a number of 0 or more.
    """
    path = results / NOISE_FILE
    if not path.exists():
        return {}
    floors: dict[tuple[str, str], float] = {}
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if list(reader.fieldnames or ()) != NOISE_FIELDS:
            raise InvalidInput(f"{path}: expected the columns {', '.join(NOISE_FIELDS)}")
        for row in reader:
            try:
                value = float(row["value"])
            except (TypeError, ValueError):
                value = math.nan
            if not 0 <= value < math.inf:
                raise InvalidInput(
                    f"{path}, line {reader.line_num}: expected a value of 0 or more, "
                    f"found {row['value']!r}"
                )
            floors[row["task"], row["metric"]] = value
    return floors


@dataclass(frozen=True)
class Block:
    """The rows of one model and budget that share seeds.

    Attributes:
        rows: indices of the K rows in the table.
        seeds: the S shared seeds.
        values: (K, S), with the sign that makes larger better.
        items: (K, S, n) score of each test item, with the same sign; None where a record has none.
        differences: every row against every other; None for a single seed.
    """

    rows: tuple[int, ...]
    seeds: tuple[int, ...]
    values: NDArray[np.float64]
    items: NDArray[np.float64] | None
    differences: Differences | None


def with_significance(
    table: ComparisonTable, records: Mapping[str, Record], floors: NoiseFloors
) -> ComparisonTable:
    """Returns the table with `refused`, and with `standing` and `gain` of the cells of its metrics.

    Args:
        table: the table.
        records: its records, by key.
        floors: noise floors.
    """
    cells = [list(row.cells) for row in table.rows]
    refused = refusals(table, records)
    for index, column in enumerate(table.columns):
        if column.kind != "metric" or column.higher_is_better is None:
            continue
        floor = noise_floor(floors, table.task, column.name)
        for block in blocks(table, index, records):
            if refusal(refused, table.rows[block.rows[0]].axes.model, column.name):
                continue
            standings = _standings(block, floor)
            gains = _gains(block, [table.rows[place] for place in block.rows], records, floor)
            for position, place in enumerate(block.rows):
                cells[place][index] = replace(
                    cells[place][index],
                    standing=standings[position],
                    gain=gains.get(position),
                )
    rows = (replace(row, cells=tuple(own)) for row, own in zip(table.rows, cells, strict=True))
    return replace(table, rows=tuple(rows), refused=refused)


def predictions_of(metric: str) -> str | None:
    """Returns whose predictions a metric is made of: `PROBE`, or "" for the fine-tuned model; None
    for another metric.
    """
    if metric.startswith(PROBE):
        probed = metric.removeprefix(PROBE)
        return PROBE if probed in PREDICTED or probed == "log_loss" else None
    return "" if metric in PREDICTED else None


def refusal(refused: Mapping[tuple[str, str], str], model: str, metric: str) -> str | None:
    """Returns why the values of a metric are not compared, by `ComparisonTable.refused`; None where
    they are.
    """
    predicted = predictions_of(metric)
    return None if predicted is None else refused.get((model, predicted))


def refusals(table: ComparisonTable, records: Mapping[str, Record]) -> dict[tuple[str, str], str]:
    """Returns the predictions that `ComparisonTable.refused` names, each with the reason.

    Of the vanilla model the 95 % interval over seeds and test items (Satterthwaite) must lie above
    the share of the largest class, by accuracy or micro-F1; where the records do not hold the
    classes, above 0 by Matthews' correlation, which a constant prediction has.
    """
    found: dict[tuple[str, str], str] = {}
    for row in table.rows:
        held = [records[key] for key in row.record_keys]
        if row.axes.selector != VANILLA or not held:
            continue
        for prefix in ("", PROBE):
            share = largest_class(held[0], prefix)
            names = ("matthews",) if share is None else ("accuracy", "micro_f1")
            for column, cell in zip(table.columns, row.cells, strict=True):
                metrics = [metric for one in held if (metric := one.metric(column.name))]
                if column.name not in [prefix + name for name in names] or cell.mean is None:
                    continue
                by_seed = (cell.sd or 0.0) ** 2 / len(cell.values)
                by_item = statistics.fmean((metric.stderr or 0.0) ** 2 for metric in metrics)
                both = by_seed + by_item
                weight = by_seed**2 / max(len(cell.values) - 1, 1)
                weight += by_item**2 / max(metrics[0].n - 1, 1)
                half = half_width(math.sqrt(both), both**2 / weight) if weight else 0.0
                if cell.mean - half > (share or 0.0):
                    continue
                found[row.axes.model, prefix] = (
                    f"predictions of {row.axes.model} are not compared: without a warm-up the "
                    f"{column.title} is {cell.mean:.4f}, 95 % interval {cell.mean - half:.4f} to "
                    f"{cell.mean + half:.4f}, not above that of the majority class, {share or 0.0:.4f}"
                )
    return found


def largest_class(record: Record, prefix: str) -> float | None:
    """Returns the share of the largest class among the test items; None where it is not known."""
    if prefix == PROBE:
        return record.selection.get("probe", {}).get("largest_class")
    confusion = record.selection.get("evaluation", {}).get("confusion")
    try:
        rows: Sequence[Sequence[int]] = typed(tuple[tuple[int, ...], ...], confusion, "confusion")
    except InvalidInput:  # none, or of another kind of task
        return None
    sizes = [sum(row) for row in rows]
    return max(sizes) / sum(sizes) if sum(sizes) > 0 else None


def blocks(table: ComparisonTable, index: int, records: Mapping[str, Record]) -> Iterator[Block]:
    """Yields the blocks of at least two rows with a finite mean in column `index`."""
    groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for place, row in enumerate(table.rows):
        mean = row.cells[index].mean
        if mean is not None and np.isfinite(mean):
            axes = row.axes
            groups[axes.model, axes.budget_unit, axes.budget].append(place)
    column = table.columns[index]
    for places in groups.values():
        seeds = _shared_seeds([table.rows[place].seeds for place in places])
        kept = [place for place in places if set(seeds) <= set(table.rows[place].seeds)]
        if not seeds or len(kept) < 2:
            continue
        sign = 1.0 if column.higher_is_better else -1.0
        cells = [table.rows[place].cells[index] for place in kept]
        by_seed = [dict(zip(cell.seeds, cell.values, strict=True)) for cell in cells]
        values = sign * np.array([[value[seed] for seed in seeds] for value in by_seed])
        items = _item_scores(cells, seeds, column, records)
        items = None if items is None else sign * items
        differences = compare(values, items) if len(seeds) > 1 else None
        yield Block(tuple(kept), seeds, values, items, differences)


def _shared_seeds(seeds: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Returns the seeds that all rows have; if fewer than two, the most frequent set of several."""
    shared = set(seeds[0]).intersection(*map(set, seeds))
    if len(shared) >= 2 or all(len(own) == 1 for own in seeds):
        return tuple(sorted(shared))
    several = Counter(own for own in seeds if len(own) > 1)
    return max(several, key=lambda own: (several[own], len(own), own))


def _item_scores(
    cells: Sequence[Aggregate],
    seeds: Sequence[int],
    column: Column,
    records: Mapping[str, Record],
) -> NDArray[np.float64] | None:
    """Returns (K, S, n) item scores; None if a record has none, or if they are too many; with a
    warning, if those of a record cannot be read.

    A column has one protocol, which determines the test items and their order.
    """
    scores: list[NDArray[np.float64]] = []
    for cell in cells:
        by_seed = {records[key].axes.seed: records[key] for key in cell.record_keys}
        for seed in seeds:
            record = by_seed[seed]
            packed, metric = record.item_scores.get(column.name), record.metric(column.name)
            if not packed or metric is None:
                return None
            n = len(scores[0]) if scores else metric.n
            if metric.n != n or n * len(cells) * len(seeds) > MAX_ITEM_SCORES:
                return None
            try:
                scores.append(unpack_item_scores(packed, n))
            except InvalidInput as error:
                log.warning("record %s, %s: %s", record.key, column.name, error)
                return None
    return np.stack(scores).reshape(len(cells), len(seeds), -1)


def _standings(block: Block, floor: float) -> list[Standing]:
    """Returns `best`, `tied` or `behind` for each row; empty standings where none is behind."""
    none: list[Standing] = [""] * len(block.rows)
    if block.differences is None:
        return none
    means = block.values.mean(1)
    best = int(means.argmax())
    p = all_pairs(block.differences.p)[best]
    behind = (p < LEVEL) & (means[best] - means > 0) & (means[best] - means > floor)
    if not behind.any():
        return none
    standings: list[Standing] = ["behind" if lower else "tied" for lower in behind]
    standings[best] = "best"
    return standings


def _gains(
    block: Block, rows: Sequence[Row], records: Mapping[str, Record], floor: float
) -> dict[int, Gain]:
    """Returns the gain of each row of a block over its control, by position in the block."""
    controls = {
        position: control
        for position in range(len(rows))
        if (control := _control(position, rows, records)) is not None
    }
    corrected: dict[int, float] = {}
    for control in set(controls.values()):
        methods = [position for position in controls if controls[position] == control]
        if block.differences is not None:
            p = holm(block.differences.p[methods, control])
            corrected |= dict(zip(methods, p.tolist(), strict=True))
    return {
        position: _gain(
            block, position, control, rows[control].axes.method,
            corrected.get(position), LEVEL / len(controls), floor,
        )
        for position, control in controls.items()
    }  # fmt: skip


def _control(position: int, rows: Sequence[Row], records: Mapping[str, Record]) -> int | None:
    """Returns the row of the random control; None for a random selection itself.

    A random selection that is matched to this method (the method is among its members) comes first,
    then any matched random selection, then `random`.
    """
    if rows[position].axes.selector.startswith(CONTROL):
        return None
    own = _selector_classes(rows[position], records)[:1]
    ranked = sorted(
        (
            not (own and own[0] in _selector_classes(row, records)[1:]),
            row.axes.selector == CONTROL,
            row.axes.method,
            place,
        )
        for place, row in enumerate(rows)
        if row.axes.selector == CONTROL or row.axes.selector.startswith(f"{CONTROL}_")
    )
    return ranked[0][-1] if ranked else None


def _selector_classes(row: Row, records: Mapping[str, Record]) -> list[str]:
    """Returns the class of a row's selector, then those of its members."""
    if not row.record_keys:
        return []
    selector = records[row.record_keys[0]].config.get("selector")
    # `_target_` sorts before the other settings, so a class comes before those inside it.
    return re.findall(r'"_target_": "([^"]*)"', json.dumps(selector, sort_keys=True))


def _gain(
    block: Block,
    position: int,
    control: int,
    name: str,
    p: float | None,
    level: float,
    floor: float,
) -> Gain:
    """Returns the gain of one row.

    Args:
        block: the block.
        position: the row, by position in the block.
        control: its control, likewise.
        name: the control as a reader names it.
        p: corrected p-value; None for a single seed.
        level: significance level of one comparison, for `seeds_needed`.
        floor: noise floor of the metric.
    """
    value = float(block.values[position].mean() - block.values[control].mean())
    gain = Gain(name, value, seeds=block.seeds)
    differences = block.differences
    if differences is None or p is None:
        return replace(gain, reason="one seed compares two models, not two methods")
    stderr = float(differences.stderr[position, control])
    if stderr == 0:
        return replace(gain, reason="the values have no spread over the seeds")
    half = half_width(stderr, float(differences.df[position, control]))
    verdict: Verdict = "no significant difference"
    needed = None
    if floor and abs(value) <= floor:
        verdict = "within the noise floor"
    elif p < LEVEL:
        verdict = "better" if value > 0 else "worse"
    else:
        needed = seeds_needed(
            value,
            float(differences.seed_variance[position, control]) * len(block.seeds),
            float(differences.item_variance[position, control]),
            len(block.rows),
            level,
        )
    return replace(
        gain,
        low=value - half,
        high=value + half,
        p=p,
        items=0 if block.items is None else block.items.shape[-1],
        seeds_needed=needed,
        verdict=verdict,
    )
