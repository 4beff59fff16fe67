"""Folds are parts of one measurement: joined by items, never counted as seeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from shortlist.core import Metric, Record, pack_item_scores, unpack_item_scores
from shortlist.leaderboard import build
from shortlist.leaderboard.cross_validation import join_folds

Maker = Callable[..., Record]
SIZES = (30, 20, 10)


def folds_of(record: Maker, right: list[np.ndarray], repeats: int = 1, **axes: Any) -> list[Record]:
    """Records of the folds of one cross-validation, whose items are right (1) or wrong (0)."""
    made: list[Record] = []
    for fold, items in enumerate(right):
        metric = Metric(
            "accuracy", "fraction", True, float(items.mean()), len(items),
            float(items.std(ddof=1) / np.sqrt(len(items))), protocol=f"p{fold}", primary=True,
        )  # fmt: skip
        config = {
            "selector": {"epsilon": 0.1},
            "seed": axes.get("seed", 0),
            "fold": fold,
            "task": {"folds": len(right) // repeats, "cross_validation": {"repeats": repeats}},
        }
        one = record(metrics=(metric,), config=config, **axes)
        key = f"{one.key}-{fold}"
        made.append(replace(one, key=key, item_scores={"accuracy": pack_item_scores(items)}))
    return made


def answers(seed: int, shift: float = 0.0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [(rng.random(size) < 0.5 + shift).astype(float) for size in SIZES]


def test_the_metric_over_folds_is_the_mean_over_all_items(record: Maker) -> None:
    right = answers(1)
    (joined,) = join_folds(folds_of(record, right))
    metric, every = joined.metrics[0], np.concatenate(right)
    assert metric.n == 60 and metric.value == pytest.approx(every.mean(), rel=1e-12)
    np.testing.assert_array_equal(unpack_item_scores(joined.item_scores["accuracy"], 60), every)
    within = np.sqrt(sum(np.var(part, ddof=1) * len(part) for part in right)) / 60
    assert metric.stderr == pytest.approx(within, rel=1e-12)
    assert "fold" not in joined.config


def test_folds_are_no_seeds_in_a_table(record: Maker) -> None:
    records = [
        one
        for selector, shift in (("gotd", 0.4), ("random", 0.0))
        for seed in (0, 1)
        for one in folds_of(record, answers(seed, shift), selector=selector, seed=seed)
    ]
    (table,) = build(records)
    assert [row.seeds for row in table.rows] == [(0, 1), (0, 1)]
    cell = table.rows[0].cells[0]
    assert cell.n == 2 and cell.sd is not None
    assert cell.gain is not None and cell.gain.items == 60 and cell.gain.seeds == (0, 1)


def test_the_order_of_the_records_has_no_effect(record: Maker) -> None:
    made = folds_of(record, answers(3))
    assert join_folds(made) == join_folds(made[::-1])


def test_a_missing_fold_is_named_and_empties_the_mean(record: Maker) -> None:
    made = folds_of(record, answers(3))
    broken = replace(made[1], status="failed", reason="out of memory", metrics=(), item_scores={})
    for records, said in (
        ([made[0], made[2]], "fold 1 of 3 is missing"),
        ([made[0], broken, made[2]], "fold 1 of 3 is missing; out of memory"),
    ):
        (joined,) = join_folds(records)
        assert (joined.status, joined.reason) == ("failed", said)
        (table,) = build(records)
        assert all(cell.mean is None for cell in table.rows[0].cells)


def test_repeats_do_not_multiply_the_test_items(record: Maker) -> None:
    once, twice = answers(4), [*answers(4), *answers(4)]
    (single,) = join_folds(folds_of(record, once))
    (double,) = join_folds(folds_of(record, twice, repeats=2))
    one, two = single.metrics[0], double.metrics[0]
    assert (two.n, two.value) == (one.n, pytest.approx(one.value))
    assert two.stderr == pytest.approx(one.stderr) and not double.item_scores


def test_folds_that_test_the_same_items_count_them_once(record: Maker) -> None:
    items = [answers(seed)[0] for seed in range(3)]
    folds = folds_of(record, items)
    dealt = {"folds": 3, "cross_validation": {"repeats": 1, "test": "own"}}
    (joined,) = join_folds([replace(one, config={**one.config, "task": dealt}) for one in folds])
    metric = joined.metrics[0]
    assert (metric.n, metric.value) == (30, pytest.approx(np.mean(items)))
    variances = [one.metrics[0].stderr or 0.0 for one in folds]
    assert metric.stderr == pytest.approx(np.sqrt(np.mean(np.square(variances))))
    assert not joined.item_scores


def test_records_without_folds_stay_as_they_are(record: Maker) -> None:
    records = [record(0.5, seed=seed) for seed in range(3)]
    assert join_folds(records) == records
