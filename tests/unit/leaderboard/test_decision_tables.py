"""Which sizes of a table are compared, by which metric, and what is shown of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from shortlist.core import Metric, Record
from shortlist.leaderboard import build
from shortlist.leaderboard.decisions import decision_table, decisions
from shortlist.leaderboard.page import page
from shortlist.leaderboard.text import markdown

Maker = Callable[..., Record]
NAMES = ("random", "a", "b", "c")


def sized(
    record: Maker, budget: int, accuracies: list[float], losses: list[float], **changes: str
) -> list[Record]:
    made: list[Record] = []
    for name, accuracy, loss in zip(NAMES, accuracies, losses, strict=True):
        metrics = (
            Metric("accuracy", "fraction", True, accuracy, 80, 0.01, primary=True),
            Metric("mlm_loss_after", "nats", False, loss, 40),
        )
        key = f"{name}-{budget}-{changes}"
        made.append(record(selector=name, budget=budget, metrics=metrics, key=key, **changes))
    return made


def test_budgets_of_a_model_are_compared_by_every_metric_of_the_small_one(record: Maker) -> None:
    large = sized(record, 1000, [0.5, 0.6, 0.7, 0.8], [1, 1, 1, 1])
    small = sized(record, 100, [0.6, 0.5, 0.7, 0.8], [4, 3, 2, 1])  # one pair of six is reversed
    (table,) = build([*large, *small])
    (found,) = decisions(table)
    assert (found.small, found.large) == ("tiny, 100 documents", "tiny, 1,000 documents")
    assert (found.methods, found.by_metric["accuracy"].pairs) == (4, 6)
    assert found.by_metric["accuracy"].value == pytest.approx(5 / 6)
    assert found.by_metric["mlm loss after"].value == 1  # smaller is better
    shown = decision_table(table)
    assert shown is not None and shown.rows[0][3].text.startswith("0.83 [")
    assert shown.title in markdown([table]) and "0.83 [" in page([table], [])


def test_models_are_ordered_by_their_training(record: Maker) -> None:
    quick = sized(record, 100, [0.1, 0.2, 0.3, 0.4], [1, 2, 3, 4], model="a_quick")
    slow = sized(record, 100, [0.1, 0.2, 0.3, 0.4], [1, 2, 3, 4], model="slow")
    longer = [
        replace(one, stages=tuple(replace(s, seconds=9 * s.seconds) for s in one.stages))
        for one in quick
    ]
    for records, large in (([*quick, *slow], "slow"), ([*longer, *slow], "a_quick")):
        if large == "slow":
            records[4:] = [
                replace(one, stages=tuple(replace(s, seconds=2 * s.seconds) for s in one.stages))
                for one in slow
            ]
        (found,) = decisions(build(records)[0])
        assert found.large == f"{large}, 100 documents"


def test_two_methods_or_one_size_decide_nothing(record: Maker) -> None:
    one = sized(record, 100, [0.1, 0.2, 0.3, 0.4], [1, 2, 3, 4])
    assert decision_table(build(one)[0]) is None
    two = [
        r for r in sized(record, 500, [0.1, 0.2, 0.3, 0.4], [1, 2, 3, 4]) if r.axes.selector < "c"
    ]
    two = [r for r in two if r.axes.selector != "random"]
    assert decisions(build([*one, *two])[0]) == []
