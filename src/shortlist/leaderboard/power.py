"""Power of an experiment before it is run, from the variances of earlier records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shortlist.core import Record
from shortlist.leaderboard.build import build
from shortlist.leaderboard.significance import LEVEL, blocks
from shortlist.stats.comparison import seeds_needed, smallest_difference


@dataclass(frozen=True)
class Design:
    """What an experiment compares on one task.

    Attributes:
        task: name of the task.
        seeds: number of seeds.
        methods: number of methods that share them.
    """

    task: str
    seeds: int
    methods: int

    def __str__(self) -> str:
        return f"{self.task}: {self.methods} methods, {self.seeds} seeds"


@dataclass(frozen=True)
class Power:
    """What a design can show of one metric.

    Attributes:
        design: the design.
        metric: name of the metric.
        unit: its unit.
        items: number of test items; 0 where records hold no score of each.
        records: number of records whose variances were taken.
        seed_variance: variance of a difference of two methods at a single seed.
        item_variance: variance of it over samples of test items.
        smallest: the difference that is significant in four of five such experiments.
        seeds_needed: number of seeds for the difference asked for; None if 1,000 do not suffice.
    """

    design: Design
    metric: str
    unit: str
    items: int
    records: int
    seed_variance: float
    item_variance: float
    smallest: float
    seeds_needed: int | None

    def __str__(self) -> str:
        if self.design.seeds < 2:
            shows = "nothing: one seed"
        else:
            shows = f"{self.smallest:.4f} {self.unit} in four of five experiments"
        return f"{self.metric}: shows {shows}"


def powers(records: Sequence[Record], design: Design, difference: float) -> list[Power]:
    """Returns the power of a design for each metric that earlier records measured with two seeds
    and two methods or more, primary metrics first.

    A method is compared with the control at the level 0.05 / (methods - 1), the first step of
    Holm's correction. Variances are medians over all pairs of methods of the records.

    Args:
        records: earlier records, of any task.
        design: the design.
        difference: a difference of interest.
    """
    by_key = {
        record.key: record
        for record in records
        if record.status == "done" and record.axes.task == design.task
    }
    level = LEVEL / max(design.methods - 1, 1)
    found: dict[str, Power] = {}
    for table in build(by_key.values()):
        ordered = sorted(enumerate(table.columns), key=lambda one: not one[1].primary)
        for index, column in ordered:
            if column.kind != "metric" or column.higher_is_better is None:
                continue
            by_seed: list[float] = []
            by_item: list[float] = []
            used = items = 0
            for block in blocks(table, index, by_key):
                if block.differences is None:
                    continue
                pairs = np.triu_indices(len(block.rows), 1)
                by_seed += (block.differences.seed_variance[pairs] * len(block.seeds)).tolist()
                by_item += block.differences.item_variance[pairs].tolist()
                used += len(block.rows) * len(block.seeds)
                items = max(items, 0 if block.items is None else block.items.shape[-1])
            known = found.get(column.name)
            if not by_seed or (known is not None and known.records >= used):
                continue
            seed, item = float(np.median(by_seed)), float(np.median(by_item))
            if seed + item == 0:
                continue  # the metric does not vary
            found[column.name] = Power(
                design, column.name, column.unit, items, used, seed, item,
                smallest_difference(seed, item, design.seeds, design.methods, level),
                seeds_needed(difference, seed, item, design.methods, level),
            )  # fmt: skip
    return list(found.values())
