"""Power of a design from earlier records."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from shortlist.core import Record, pack_item_scores
from shortlist.leaderboard.power import Design, powers
from shortlist.stats.comparison import smallest_difference

Maker = Callable[..., Record]


def test_variances_are_those_that_the_records_were_drawn_with(record: Maker) -> None:
    generator = np.random.default_rng(0)
    by_seed, by_item, items, seeds = 0.02, 0.3, 400, 40
    own = {name: generator.normal(0, by_item, items) for name in ("a", "b", "random")}
    records: list[Record] = []
    for name, method in own.items():
        for seed in range(seeds):
            scores = 0.5 + method - method.mean() + generator.normal(0, by_seed)
            one = record(float(scores.mean()), selector=name, seed=seed)
            metric = replace(one.metrics[1], n=items)
            packed = {metric.name: pack_item_scores(scores)}
            records.append(replace(one, metrics=(metric,), item_scores=packed))
    (found,) = powers(records, Design("toy", 5, 4), 0.01)
    assert (found.metric, found.records, found.items) == ("accuracy", 3 * seeds, items)
    assert found.seed_variance == pytest.approx(2 * by_seed**2, rel=0.4)
    assert found.item_variance == pytest.approx(2 * by_item**2 / items, rel=0.4)
    expected = smallest_difference(found.seed_variance, found.item_variance, 5, 4, 0.05 / 3)
    assert found.smallest == expected
    (more,) = powers(records, Design("toy", 50, 4), 0.01)
    assert more.smallest < found.smallest


def test_one_seed_or_one_method_tells_nothing(record: Maker) -> None:
    assert powers([record(0.5, selector="a"), record(0.6)], Design("toy", 5, 2), 0.01) == []
    alone = [record(0.5 + seed / 10, selector="a", seed=seed) for seed in range(3)]
    assert powers(alone, Design("toy", 5, 2), 0.01) == []
    assert powers(alone, Design("another", 5, 2), 0.01) == []
