"""Tables: what is averaged, what stays separate, and why means are missing."""

import random
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import pytest

from shortlist.core import Metric, Record, Role, StageCost
from shortlist.leaderboard import ComparisonTable, build

Maker = Callable[..., Record]


def column(table: ComparisonTable, key: str) -> int:
    return [column.key for column in table.columns].index(key)


def test_mean_and_sd_are_over_seeds(record: Maker) -> None:
    values = [0.5, 0.625, 0.875]
    (table,) = build(record(value, seed=seed) for seed, value in enumerate(values))
    (row,) = table.rows
    cell = row.cells[column(table, "accuracy")]
    assert cell.values == tuple(values)
    assert cell.seeds == row.seeds == (0, 1, 2)
    assert cell.n == 3
    assert cell.mean == pytest.approx(sum(values) / 3, rel=1e-15)  # one rounding
    assert cell.sd == pytest.approx(statistics.stdev(values), rel=1e-15)


def test_one_seed_has_no_sd(record: Maker) -> None:
    (table,) = build([record(0.5)])
    assert {cell.sd for cell in table.rows[0].cells} == {None}


def test_permuting_the_records_changes_nothing(record: Maker) -> None:
    records = [
        record(0.1 + seed / 10, selector=selector, budget=budget, seed=seed)
        for selector in ("gotd", "dsir", "random")
        for budget in (100, 500)
        for seed in (0, 1, 2)
    ]
    records[3] = replace(records[3], status="failed", reason="no memory", metrics=())
    records[5] = replace(records[5], config={"selector": {"epsilon": 0.2}, "seed": 2})
    expected = build(records)
    for seed in range(5):
        random.Random(seed).shuffle(records)
        assert build(records) == expected


def test_tables_are_per_task_and_pool(record: Maker) -> None:
    records = [record(task=t, pool=p) for t in ("b", "a") for p in ("y", "x")]
    names = [(table.task, table.pool) for table in build(records)]
    assert names == [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")]


def test_primary_metrics_come_first_and_cost_last(record: Maker) -> None:
    (table,) = build([record()])
    assert [column.title for column in table.columns] == [
        "accuracy",
        "mlm loss after",
        "preparation (s)",
        "selection (s)",
        "diagnostics (s)",
        "training (s)",
        "evaluation (s)",
        "peak memory (MiB)",
        "documents",
    ]
    assert [cell.mean for cell in table.rows[0].cells] == [
        0.5, 2.5, 2.0, 4.0, 0.0, 80.0, 5.0, 100.0, 90.0,
    ]  # fmt: skip


def test_a_cost_column_sums_the_stages_of_its_role(record: Maker) -> None:
    roles = get_args(Role)
    stages = tuple(
        StageCost("any", str(i), 2.0**i, 1.0, "cpu", role) for i, role in enumerate(2 * roles)
    )
    (table,) = build([record(stages=stages)])
    for i, role in enumerate(roles):
        cell = table.rows[0].cells[column(table, f"{role}_seconds")]
        assert cell.mean == 2.0**i + 2.0 ** (i + len(roles))


def test_the_sensitivity_that_was_timed_inside_the_fit_is_noted(record: Maker) -> None:
    fit = {"size": 100, "unique": 90, "fit": {"overlap_at_half_epsilon": 0.9}}
    made = record(selection=fit)
    (table,) = build([made])
    assert table.remarks()[0].startswith("selection (s) of gotd includes the second solve")
    apart = StageCost("sensitivity", "s", 1.0, 1.0, "cpu", "diagnostics")
    assert build([replace(made, stages=(*made.stages, apart))])[0].remarks() == ()


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": "bbbb2222"},
        {"split": "validation"},
        {"unit": "correlation"},
        {"higher_is_better": False},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_is_measured_in_two_ways_never_shares_a_column(record: Maker, change: dict) -> None:
    ours = record(0.5)
    metric = replace(ours.metric("accuracy") or pytest.fail("no accuracy"), **change)
    theirs = record(selector="dsir", metrics=(metric,))
    (table,) = build([ours, theirs])
    found = [i for i, c in enumerate(table.columns) if c.title.startswith("accuracy")]
    assert len({table.columns[index].title for index in found}) == 2
    assert len({table.columns[index].key for index in found}) == 2
    for row in table.rows:
        cells = [row.cells[index] for index in found]
        assert sorted(cell.status for cell in cells) == ["done", "not measured"]
        assert [c.missing for c in cells if c.mean is None] == [
            "not measured: measured in another way"
        ]


def test_the_headings_of_two_protocols_differ(record: Maker) -> None:
    metrics = [Metric("f1", "fraction", True, 0.5, 9, protocol=p) for p in ("abcdef99", "123456")]
    (table,) = build(
        record(selector=name, metrics=(metric,)) for name, metric in zip("ab", metrics, strict=True)
    )
    headings = {column.title for column in table.columns if column.kind == "metric"}
    assert headings == {"f1 [abcdef]", "f1 [123456]"}


@pytest.mark.parametrize("status", ["failed", "skipped"])
def test_a_cell_that_is_not_done_empties_the_mean_and_says_why(record: Maker, status: str) -> None:
    (table,) = build([record(0.5), record(seed=1, status=status, reason="no\n memory")])
    (row,) = table.rows
    for cell in row.cells:
        assert cell.mean is None
        assert cell.sd is None
        assert cell.missing == f"{status}: seed 1: no memory"
        assert cell.n == 1
    assert row.cells[0].values == (0.5,)
    assert table.gaps() == (f"gotd, 100 documents: {status}: seed 1: no memory",)


def test_a_reason_shared_by_all_seeds_is_given_without_them(record: Maker) -> None:
    skipped = [record(seed=s, status="skipped", reason="needs labels") for s in (0, 1)]
    (table,) = build([*skipped, record(selector="dsir")])
    assert {cell.missing for cell in table.rows[1].cells} == {"skipped: needs labels"}


def test_a_table_without_any_number_still_says_why(record: Maker) -> None:
    (table,) = build([record(status="failed", reason="no memory")])
    assert {cell.missing for cell in table.rows[0].cells} == {"failed: no memory"}
    assert table.gaps() == ("gotd, 100 documents: failed: no memory",)


def test_a_done_record_without_the_metric_empties_the_mean(record: Maker) -> None:
    short = record(seed=1)
    (table,) = build([record(), replace(short, metrics=short.metrics[:1])])
    assert table.rows[0].cells[column(table, "accuracy")].missing == "not measured: seed 1"
    assert table.rows[0].cells[column(table, "mlm_loss_after")].mean == 2.5


def test_a_method_not_run_at_a_budget_has_a_row_that_says_so(record: Maker) -> None:
    (table,) = build([record(), record(budget=500), record(selector="dsir")])
    assert [row.axes.label for row in table.rows] == [
        "dsir, 100 documents",
        "gotd, 100 documents",
        "dsir, 500 documents",
        "gotd, 500 documents",
    ]
    assert {cell.missing for cell in table.rows[2].cells} == {"not run"}
    assert table.rows[2].record_keys == ()


def test_fewer_seeds_show_in_n_and_keep_the_mean(record: Maker) -> None:
    (table,) = build([record(seed=0), record(seed=1), record(selector="dsir")])
    assert [(row.axes.selector, row.cells[0].n) for row in table.rows] == [("dsir", 1), ("gotd", 2)]
    assert all(row.cells[0].mean == 0.5 for row in table.rows)


def test_cells_stopped_early_are_counted_apart(record: Maker) -> None:
    early = record(seed=1, until="select", metrics=())
    (table,) = build([record(), early, replace(early, key="other", status="failed")])
    assert table.rows[0].seeds == (0,)
    assert table.notes == ("not in the table: cells with until=select (1 done, 1 failed)",)
    (alone,) = build([early])
    assert alone.rows == ()


def test_rows_of_equal_axes_and_unequal_settings_are_never_averaged(record: Maker) -> None:
    other = {"selector": {"epsilon": 0.2}, "seed": 0}
    (table,) = build([record(0.5), record(0.7, key="other", config=other)])
    assert [row.axes.settings for row in table.rows] == [
        ("epsilon=0.1",),
        ("epsilon=0.2",),
    ]
    assert [row.cells[0].mean for row in table.rows] == [0.5, 0.7]


def test_settings_are_listed_once_by_their_shortest_distinct_name(record: Maker) -> None:
    def config(epochs: int, rate: float) -> dict:
        model = {"head": {"epochs": epochs}}
        return {
            "model": model,
            "featurizer": {"model": model},
            "warmup": {"epochs": 2 * epochs, "rate": rate},
        }

    (table,) = build(
        [record(key="a", config=config(1, 0.1)), record(key="b", config=config(2, 0.2))]
    )
    assert [row.axes.settings for row in table.rows] == [
        ("head.epochs=1", "warmup.epochs=2", "rate=0.1"),
        ("head.epochs=2", "warmup.epochs=4", "rate=0.2"),
    ]


def test_rows_are_named_by_what_was_typed_where_that_tells_the_same_rows_apart(
    record: Maker,
) -> None:
    def of(practice: str, rate: float, seed: int) -> Record:
        config = {"finetune": {"rate": rate, "decay": 2 * rate}, "seed": seed}
        typed = (f"practice={practice}", f"seed={seed}", "task=toy")
        return record(key=f"{practice}{rate}{seed}", config=config, overrides=typed, seed=seed)

    runs = [of(name, rate, seed) for name, rate in (("a", 0.1), ("b", 0.2)) for seed in (0, 1)]
    (table,) = build(runs)
    assert [row.axes.settings for row in table.rows] == [("practice=a",), ("practice=b",)]
    assert [row.seeds for row in table.rows] == [(0, 1), (0, 1)]
    (table,) = build([*runs, of("b", 0.3, 0)])  # the same words for two rows
    assert [row.axes.settings for row in table.rows] == [
        (f"decay={2 * rate}", f"rate={rate}") for rate in (0.1, 0.2, 0.3)
    ]


def test_seeds_of_the_run_are_averaged_whatever_else_is_set(record: Maker) -> None:
    (table,) = build(record(seed=s, config={"seed": s, "lr": 1e-5}) for s in (0, 1))
    assert table.rows[0].cells[0].n == 2


def test_a_seed_that_follows_the_seed_of_the_run_is_no_setting(record: Maker) -> None:
    def of(seed: int, drawn: int) -> Record:
        return record(
            key=f"{seed}{drawn}", seed=seed, config={"seed": seed, "task": {"seed": drawn}}
        )

    (table,) = build([of(0, 0), of(1, 1), of(2, 2)])
    assert [(row.axes.settings, row.seeds) for row in table.rows] == [((), (0, 1, 2))]
    (table,) = build([of(0, 0), of(1, 1), of(2, 0)])  # the third does not follow
    assert len(table.rows) == 2


@pytest.mark.parametrize("part", ["task", "pool"])
def test_seeds_that_cut_other_data_are_settings_and_never_averaged(
    record: Maker, part: str
) -> None:
    (table,) = build(
        record(key=str(s), config={"seed": 0, part: {"name": "toy", "seed": s}}) for s in (0, 1)
    )
    assert [row.axes.settings for row in table.rows] == [("seed=0",), ("seed=1",)]


def test_the_certificate_of_a_solve_is_a_column_and_others_say_that_there_is_none(
    record: Maker,
) -> None:
    fit = {"size": 100, "unique": 90, "fit": {"marginal_error": 3e-3, "converged": True}}
    (table,) = build([record(selection=fit), record(selector="random")])
    index = column(table, "marginal_error")
    assert [row.cells[index].mean for row in table.rows] == [3e-3, None]
    assert table.rows[1].cells[index].missing == "no solve"
    assert table.gaps() == ()  # nothing went wrong


def test_of_several_solves_the_worst_stands_for_all(record: Maker) -> None:
    fit = {"clean.marginal_error": 3e-3, "toxic.marginal_error": 5e-3, "toxic.converged": True}
    (table,) = build([record(selection={"size": 100, "unique": 90, "fit": fit})])
    assert table.rows[0].cells[column(table, "marginal_error")].mean == 5e-3


def test_the_ends_of_a_cells_interval_are_not_averaged_over_seeds(record: Maker) -> None:
    made = record()
    ends = [
        replace(made.metrics[0], name=f"accuracy_{end}", primary=False) for end in ("from", "to")
    ]
    lone = replace(made.metrics[0], name="went_to", primary=False)
    (table,) = build([replace(made, metrics=(*made.metrics, *ends, lone))])
    names = [found.name for found in table.columns]
    assert "went_to" in names and not {"accuracy_from", "accuracy_to"} & set(names)


def test_seconds_of_several_devices_name_them(record: Maker) -> None:
    other = record(seed=1)
    other = replace(other, stages=tuple(replace(s, device="cuda") for s in other.stages))
    (table,) = build([record(), other])
    assert table.rows[0].device == "cpu; cuda"


def test_warnings_are_counted_and_listed_once_for_all_budgets(record: Maker) -> None:
    (table,) = build(
        record(budget=budget, seed=seed, warnings=("not converged",) * (seed == 0))
        for budget in (100, 500)
        for seed in (0, 1)
    )
    assert table.remarks() == ("gotd, 100 and 500 documents: not converged (1 of 2 seeds)",)


def test_two_thousand_records_build_in_seconds(record: Maker) -> None:
    records = [
        record(seed / 8, task=f"task{task}", selector=f"s{selector}", budget=budget, seed=seed)
        for task in range(10)
        for selector in range(10)
        for budget in (1, 2, 3, 4)
        for seed in range(5)
    ]
    start = time.process_time()
    tables = build(records)
    assert time.process_time() - start < 3  # a tenth of it on an idle core
    assert sum(len(row.record_keys) for table in tables for row in table.rows) == 2000


def test_operations_are_shown_by_their_names_and_apart_by_their_settings(record: Maker) -> None:
    def prepared(**length: int) -> list[dict[str, object]]:
        return [{"name": "repair_text"}, {"name": "length", **length}]

    records = [
        record(key=key, config={"seed": 0, "pool": {"prepare": value}})
        for key, value in zip(
            "abc", (None, prepared(min_words=3), prepared(min_words=5)), strict=True
        )
    ]
    (table,) = build(records)
    shown = [row.axes.settings for row in table.rows]
    assert len(set(shown)) == 3 and ("prepare=null",) in shown
    assert sum(one[0].startswith("prepare=[repair_text, length] ") for one in shown) == 2


def test_rows_that_differ_in_a_class_are_named_by_its_place_and_name(record: Maker) -> None:
    records = [
        record(key=kind, config={"calibration": {"_target_": f"package.module.{kind}"}})
        for kind in ("One", "Other")
    ]
    (table,) = build(records)
    assert {row.axes.settings for row in table.rows} == {
        ("calibration=One",),
        ("calibration=Other",),
    }
