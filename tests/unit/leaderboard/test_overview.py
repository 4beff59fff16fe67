"""Methods by tasks: ranks, why they are missing, and the records behind a cell."""

from collections.abc import Callable

import pytest

from shortlist.core import Record
from shortlist.leaderboard import build
from shortlist.leaderboard.build import overview

Maker = Callable[..., Record]


def suite(record: Maker, values: dict[str, dict[str, float]], **changes: object) -> list[Record]:
    return [
        record(value, task=task, selector=name, **changes)
        for task, found in values.items()
        for name, value in found.items()
    ]


def test_the_mean_rank_is_over_tasks_and_equal_means_share_their_places(record: Maker) -> None:
    values = {
        "one": {"a": 0.9, "b": 0.8, "c": 0.7},
        "two": {"a": 0.5, "b": 0.6, "c": 0.5},
    }
    (table,) = overview(build(suite(record, values)))
    assert {row.axes.selector: row.cells[0].mean for row in table.rows} == {
        "a": (1 + 2.5) / 2,
        "b": (2 + 1) / 2,
        "c": (3 + 2.5) / 2,
    }
    assert [column.title for column in table.columns[:3]] == [
        "mean rank",
        "one [accuracy]",
        "two [accuracy]",
    ]
    assert [cell.mean for cell in table.rows[0].cells[1:3]] == [0.9, 0.5]


def test_lower_is_better_where_the_metric_says_so(record: Maker) -> None:
    records = suite(record, {"one": {"a": 0.9, "b": 0.8}, "two": {"a": 0.9, "b": 0.8}})
    turned = [
        Record(**{**vars(r), "metrics": tuple(
            type(m)(**{**vars(m), "primary": m.name == "mlm_loss_after"}) for m in r.metrics
        )})
        for r in records
    ]  # fmt: skip
    (table,) = overview(build(turned))
    # The toy's loss is 3 minus its accuracy.
    assert {row.axes.selector: row.cells[0].mean for row in table.rows} == {"a": 1.0, "b": 2.0}


def test_a_missing_task_empties_the_mean_rank_and_is_named(record: Maker) -> None:
    records = suite(record, {"one": {"a": 0.9, "b": 0.8}, "two": {"a": 0.9}})
    (table,) = overview(build(records))
    ranks = {row.axes.selector: row.cells[0] for row in table.rows}
    assert ranks["a"].mean == 1.0
    assert (ranks["b"].mean, ranks["b"].missing) == (None, "not measured: no value on two")
    assert table.rows[1].cells[2].missing == "not run"


def test_models_and_budgets_have_tables_of_their_own(record: Maker) -> None:
    values = {"one": {"a": 0.9, "b": 0.8}, "two": {"a": 0.9, "b": 0.8}}
    records = [*suite(record, values), *suite(record, values, budget=500, model="large")]
    assert [table.pool for table in overview(build(records))] == [
        "100 documents, tiny",
        "500 documents, large",
    ]
    alone = suite(record, {"one": {"a": 0.9}}) + suite(record, {"two": {"a": 0.9}}, budget=500)
    assert overview(build(alone)) == []


def test_costs_are_means_over_the_tasks_and_cells_open_the_records_of_theirs(record: Maker) -> None:
    values = {"one": {"a": 0.9, "b": 0.8}, "two": {"a": 0.9, "b": 0.8}}
    tables = build(suite(record, values))
    (table,) = overview(tables)
    keys = [column.key for column in table.columns]
    row = table.rows[0]
    assert row.cells[keys.index("training_seconds")].mean == pytest.approx(80.0)
    assert row.cells[1].record_keys == tables[0].rows[0].record_keys
    assert set(row.record_keys) == {*tables[0].rows[0].record_keys, *tables[1].rows[0].record_keys}
