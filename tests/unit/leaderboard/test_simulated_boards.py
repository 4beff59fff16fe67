"""Whole leaderboards of simulated records whose truth is known: false winners, planted effects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from shortlist.core import Record, pack_item_scores
from shortlist.leaderboard.build import build
from shortlist.leaderboard.power import Design, powers

Maker = Callable[..., Record]
METHODS = ("random", "dsir", "gotd", "tapt", "tsds")
DESIGN = Design("toy", 4, 5)
ITEMS, BY_SEED, BY_ITEM, NOISE = 80, 0.02, 0.2, 0.35


def board(
    record: Maker, generator: np.random.Generator, seeds: int, effects: Sequence[float] = (0.0,) * 5
) -> list[Record]:
    """Records of five methods; items, seeds and methods x seeds vary as in `stats.comparison`."""
    shared = generator.normal(0.5, 0.3, ITEMS) + generator.normal(0, 0.1, (seeds, 1))
    records: list[Record] = []
    for name, effect in zip(METHODS, effects, strict=True):
        own = generator.normal(0, BY_ITEM, ITEMS) + generator.normal(0, BY_SEED, (seeds, 1))
        scores = shared + own + effect + generator.normal(0, NOISE, (seeds, ITEMS))
        for seed, items in enumerate(scores):
            one = record(0.5, selector=name, seed=seed)
            metric = replace(
                one.metrics[1], name="rouge", unit="nats_gained", n=ITEMS, value=items.mean()
            )
            packed = {metric.name: pack_item_scores(items)}
            records.append(replace(one, metrics=(metric,), item_scores=packed))
    return records


def findings(records: Sequence[Record]) -> tuple[bool, dict[str, str]]:
    """Whether a best row is told from another, and the verdict of each method on random."""
    (table,) = build(records)
    assert table.headline is not None
    cells = {row.axes.selector: row.cells[table.headline] for row in table.rows}
    told = any(cell.standing for cell in cells.values())
    return told, {name: cell.gain.verdict for name, cell in cells.items() if cell.gain}


@pytest.mark.slow
def test_at_most_one_in_twenty_of_a_thousand_null_boards_has_a_false_winner(record: Maker) -> None:
    generator = np.random.default_rng(11)
    found = [findings(board(record, generator, seeds=3)) for _ in range(1000)]
    assert sum(told for told, _ in found) <= 50
    assert sum({"better", "worse"} & set(gains.values()) != set() for _, gains in found) <= 50


@pytest.mark.slow
def test_planted_effects_of_the_promised_size_are_found_at_the_promised_power(
    record: Maker,
) -> None:
    generator = np.random.default_rng(12)
    pilots = [board(record, generator, seeds=10) for _ in range(20)]
    promised = [found.smallest for pilot in pilots for found in powers(pilot, DESIGN, 0.01)]
    size = float(np.mean(promised))  # of one pilot it is known to a tenth
    number, effects = 400, (0.0, size, 0.0, 0.0, 0.0)
    found = [findings(board(record, generator, 4, effects))[1] for _ in range(number)]
    share = sum(gains["dsir"] == "better" for gains in found) / number
    assert 0.75 < share < 0.85  # the standard error of 400 boards is 0.02
    third = (0.0, size / 3, 0.0, 0.0, 0.0)
    found = [findings(board(record, generator, 4, third))[1] for _ in range(number // 4)]
    assert sum(gains["dsir"] == "better" for gains in found) / (number // 4) < 0.3
