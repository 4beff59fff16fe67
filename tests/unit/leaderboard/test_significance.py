"""Significance: rows tied with the best, gains over the right control, and the noise floor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from shortlist.core import Metric, Record, pack_item_scores, unpack_item_scores
from shortlist.errors import InvalidInput
from shortlist.leaderboard import ComparisonTable, build
from shortlist.leaderboard.build import overview
from shortlist.leaderboard.page import page
from shortlist.leaderboard.significance import NOISE_FILE, noise_floor, read_noise_floors
from shortlist.leaderboard.text import gain_sentence, markdown

Maker = Callable[..., Record]
ITEMS = 400


def run(maker: Maker, name: str, seed: int, right: np.ndarray, **changes: Any) -> Record:
    """A record whose accuracy is that of these items, with its item scores."""
    metric = Metric("accuracy", "fraction", True, float(right.mean()), len(right), primary=True)
    packed = {"accuracy": pack_item_scores(right.astype(float))}
    return maker(selector=name, seed=seed, metrics=(metric,), item_scores=packed, **changes)


def board(maker: Maker, rates: dict[str, float], seeds: int = 3, noise: int = 0) -> list[Record]:
    """Records of methods that get harder items right the better they are."""
    generator = np.random.default_rng(noise)
    hardness = generator.random(ITEMS)
    return [
        run(maker, name, seed, hardness + generator.normal(0, 0.1, ITEMS) < rate)
        for seed in range(seeds)
        for name, rate in rates.items()
    ]


def standings(table: ComparisonTable) -> dict[str, str]:
    return {row.axes.selector: row.cells[0].standing for row in table.rows}


def test_a_winner_stands_alone_and_those_like_it_are_tied(record: Maker) -> None:
    rates = {"a": 0.8, "b": 0.55, "random": 0.5}
    (table,) = build(board(record, rates))
    assert standings(table) == {"a": "best", "b": "behind", "random": "behind"}
    (table,) = build(board(record, {**rates, "c": 0.8}))
    found = standings(table)
    assert sorted([found["a"], found["c"]]) == ["best", "tied"]
    assert found["b"] == "behind"


def test_where_nothing_is_behind_nothing_is_marked(record: Maker) -> None:
    (table,) = build(board(record, dict.fromkeys(("a", "b", "c", "random"), 0.6)))
    assert set(standings(table).values()) == {""}


def test_boards_without_a_difference_hardly_ever_show_a_winner(record: Maker) -> None:
    shown = 0
    for noise in range(100):
        (table,) = build(board(record, dict.fromkeys("abcd", 0.6), noise=noise))
        shown += "best" in standings(table).values()
    # 5 of 100 are expected at most; 11 or more would happen once in 90 times.
    assert shown <= 10


def test_one_seed_decides_nothing(record: Maker) -> None:
    (table,) = build(board(record, {"a": 0.9, "random": 0.5}, seeds=1))
    assert set(standings(table).values()) == {""}
    gain = table.gain(table.rows[0])
    assert gain is not None
    assert (gain.verdict, gain.low, gain.p) == ("not compared", None, None)
    assert "one seed" in gain_sentence(gain)


def test_the_gain_is_the_mean_difference_with_an_interval_around_it(record: Maker) -> None:
    records = board(record, {"a": 0.75, "b": 0.6, "random": 0.5})
    (table,) = build(records)
    means = {row.axes.selector: row.cells[0].mean for row in table.rows}
    for row in table.rows[:2]:
        gain = table.gain(row)
        assert gain is not None and gain.low is not None and gain.high is not None
        assert gain.value == pytest.approx(means[row.axes.selector] - means["random"])
        assert gain.low < gain.value < gain.high
        assert (gain.control, gain.verdict, gain.items) == ("random", "better", ITEMS)
    assert table.gain(table.rows[2]) is None


def test_a_loss_that_is_lower_is_a_gain(record: Maker) -> None:
    def loss(name: str, value: float, seed: int) -> Record:
        metric = Metric("loss", "nats", False, value, 9, primary=True)
        return record(selector=name, seed=seed, metrics=(metric,))

    values = {"a": (2.0, 2.01, 2.02), "random": (3.0, 3.02, 3.01)}
    (table,) = build(loss(n, v, s) for n, vs in values.items() for s, v in enumerate(vs))
    gain = table.gain(table.rows[0])
    assert gain is not None and gain.value == pytest.approx(1.0)
    assert gain.verdict == "better"
    assert standings(table) == {"a": "best", "random": "behind"}


def test_items_widen_the_interval_by_their_variance(record: Maker) -> None:
    seeds = 4
    records = board(record, {"a": 0.6, "random": 0.5}, seeds)
    with_items = build(records)[0].rows[0].cells[0].gain
    without = build([replace(r, item_scores={}) for r in records])[0].rows[0].cells[0].gain
    assert with_items is not None and without is not None
    assert (with_items.items, without.items) == (ITEMS, 0)
    assert with_items.value == without.value

    # Two-way analysis of variance of the differences d (seeds x items), without replication.
    of = {
        (r.axes.selector, r.axes.seed): unpack_item_scores(r.item_scores["accuracy"], ITEMS)
        for r in records
    }
    d = np.array([of["a", seed] - of["random", seed] for seed in range(seeds)])
    residual = d - d.mean(0) - d.mean(1, keepdims=True) + d.mean()
    ms_residual = (residual**2).sum() / ((seeds - 1) * (ITEMS - 1))
    by_seed = d.mean(1).var(ddof=1) / seeds
    by_item = (seeds * d.mean(0).var(ddof=1) - ms_residual) / (seeds * ITEMS)
    df = (by_seed + by_item) ** 2 / (by_seed**2 / (seeds - 1) + by_item**2 / (ITEMS - 1))
    wide = stats.t.ppf(0.975, df) * (by_seed + by_item) ** 0.5
    narrow = stats.t.ppf(0.975, seeds - 1) * by_seed**0.5
    assert with_items.high is not None and without.high is not None
    assert with_items.high - with_items.value == pytest.approx(wide)
    assert without.high - without.value == pytest.approx(narrow)
    assert wide > 1.3 * narrow


def test_records_without_item_scores_of_every_row_are_compared_over_seeds(record: Maker) -> None:
    records = board(record, {"a": 0.6, "random": 0.5})
    records[0] = replace(records[0], item_scores={})
    gain = build(records)[0].rows[0].cells[0].gain
    assert gain is not None and gain.items == 0 and gain.p is not None


def test_the_matched_random_of_a_method_comes_before_others_and_those_before_plain_random(
    record: Maker,
) -> None:
    def config(target: str, inner: str | None = None) -> dict[str, Any]:
        selector: dict[str, Any] = {"_target_": target}
        if inner:
            selector["members"] = {"like": {"_target_": inner}}
        return {"seed": 0, "selector": selector}

    rows = {
        "a": config("A"),
        "b": config("B"),
        "random": config("Random"),
        "random_domain": config("Matched", "B"),
        "random_length": config("Matched", "A"),
    }
    records = [
        replace(r, config={**rows[r.axes.selector], "seed": r.axes.seed})
        for r in board(record, dict.fromkeys(rows, 0.6))
    ]
    (table,) = build(records)
    over = {row.axes.selector: gain.control for row in table.rows if (gain := table.gain(row))}
    assert over == {"a": "random_length", "b": "random_domain"}
    (table,) = build(r for r in records if r.axes.selector not in ("random_domain", "b"))
    assert table.rows[0].cells[0].gain.control == "random_length"  # type: ignore[union-attr]
    (table,) = build(r for r in records if not r.axes.selector.startswith("random_"))
    over = {row.axes.selector: gain.control for row in table.rows if (gain := table.gain(row))}
    assert over == {"a": "random", "b": "random"}


def test_without_a_random_selection_there_is_no_gain(record: Maker) -> None:
    (table,) = build(board(record, {"a": 0.6, "b": 0.5}))
    assert {table.gain(row) for row in table.rows} == {None}


def test_differences_below_the_noise_floor_are_no_findings(record: Maker) -> None:
    records = board(record, {"a": 0.66, "random": 0.5})
    (table,) = build(records, {("toy", "accuracy"): 0.5})
    gain = table.rows[0].cells[0].gain
    assert gain is not None and gain.verdict == "within the noise floor"
    assert set(standings(table).values()) == {""}
    (other,) = build(records, {("another", "accuracy"): 0.5})
    assert other.rows[0].cells[0].gain.verdict == "better"  # type: ignore[union-attr]
    (every,) = build(records, {("*", "accuracy"): 0.5})
    assert every.rows[0].cells[0].gain.verdict == "within the noise floor"  # type: ignore[union-attr]


def test_only_the_seeds_that_all_have_are_compared(record: Maker) -> None:
    records = board(record, {"a": 0.75, "random": 0.5}, seeds=4)
    records = [r for r in records if (r.axes.selector, r.axes.seed) != ("random", 3)]
    gain = build(records)[0].rows[0].cells[0].gain
    assert gain is not None and gain.seeds == (0, 1, 2)


def test_a_row_with_too_few_seeds_does_not_stop_the_others(record: Maker) -> None:
    records = board(record, {"a": 0.75, "b": 0.6, "random": 0.5}, seeds=3)
    records = [r for r in records if r.axes.selector != "b" or r.axes.seed == 0]
    (table,) = build(records)
    gains = {row.axes.selector: table.gain(row) for row in table.rows}
    assert gains["a"] is not None and gains["a"].seeds == (0, 1, 2)
    assert gains["b"] is None


def test_budgets_and_models_are_blocks_of_their_own(record: Maker) -> None:
    small = board(record, {"a": 0.8, "random": 0.5})
    large = [
        run(
            record,
            r.axes.selector,
            r.axes.seed,
            np.arange(ITEMS) % 2 == r.axes.seed % 2,
            budget=500,
        )
        for r in small
    ]
    (table,) = build([*small, *large])
    found = {(row.axes.selector, row.axes.budget): row.cells[0].standing for row in table.rows}
    assert found == {
        ("a", 100): "best",
        ("random", 100): "behind",
        ("a", 500): "",
        ("random", 500): "",
    }


def test_an_undecided_gain_says_how_many_seeds_would_decide(record: Maker) -> None:
    values = {"a": (0.52, 0.50, 0.56), "random": (0.50, 0.51, 0.50)}
    (table,) = build(
        record(v, selector=n, seed=s) for n, vs in values.items() for s, v in enumerate(vs)
    )
    gain = table.gain(table.rows[0])
    assert gain is not None and gain.verdict == "no significant difference"
    assert gain.seeds_needed is not None and gain.seeds_needed > 3
    assert f"{gain.seeds_needed} seeds would make" in gain_sentence(gain)


def test_no_file_is_no_floor(tmp_path: Path) -> None:
    assert read_noise_floors(tmp_path) == {}
    assert noise_floor({}, "toy", "accuracy") == 0.0


def test_a_task_has_its_own_floor_before_that_of_all(tmp_path: Path) -> None:
    (tmp_path / NOISE_FILE).write_text(
        "task,metric,value,how\n*,f1,0.1,x\ntoy,f1,0.2,other batches\n"
    )
    floors = read_noise_floors(tmp_path)
    assert floors == {("*", "f1"): 0.1, ("toy", "f1"): 0.2}
    assert [noise_floor(floors, t, "f1") for t in ("toy", "else")] == [0.2, 0.1]
    assert noise_floor(floors, "toy", "accuracy") == 0.0


@pytest.mark.parametrize(
    "content",
    [
        "task,metric,value\na,b,1\n",
        "task,metric,value,how\na,b,-1,x\n",
        "task,metric,value,how\na,b,nan,x\n",
        "task,metric,value,how\na,b,,x\n",
    ],
)
def test_a_broken_file_is_refused_by_name(tmp_path: Path, content: str) -> None:
    (tmp_path / NOISE_FILE).write_text(content)
    with pytest.raises(InvalidInput, match=NOISE_FILE):
        read_noise_floors(tmp_path)


def test_a_task_that_vanilla_has_not_learned_is_not_compared(record: Maker) -> None:
    generator = np.random.default_rng(3)
    seeds, largest = range(3), 0.6

    def records(task: str, vanilla: float, held: bool = True) -> list[Record]:
        facts = {"size": 9, "unique": 9, "domains": {}}
        if held:  # rows are the truth
            facts["evaluation"] = {"confusion": [[200, 40], [100, 60]]}
        found = [
            run(record, name, seed, generator.random(ITEMS) < rate, selection=facts, task=task)
            for name, rate in (("vanilla", vanilla), ("gotd", 0.95), ("random", 0.5))
            for seed in seeds
        ]
        return [
            replace(one, metrics=(replace(one.metrics[0], stderr=0.02), *one.metrics[1:]))
            for one in found
        ]

    tables = {
        table.task: table
        for table in build(
            [
                *records("learned", largest + 0.15),
                *records("not", largest),
                *records("near", largest + 0.03),  # above, but not by its interval
                *records("unknown", 0.1, held=False),
                *records("again", largest + 0.2),
            ]
        )
    }
    assert tables["learned"].refused == tables["again"].refused == tables["unknown"].refused == {}
    assert standings(tables["learned"])["gotd"] == standings(tables["unknown"])["gotd"] == "best"
    for name in ("not", "near"):
        ((where, reason),) = tables[name].refused.items()
        assert where == ("tiny", "") and "not above that of the majority class, 0.6000" in reason
        assert set(standings(tables[name]).values()) == {""} and not tables[name].has_gains
        shown = markdown([tables[name]])
        assert "without a warm-up the accuracy is 0." in shown and "No mark" not in shown
        assert reason[1:] in page([tables[name]], [])
    (ranked,) = overview(list(tables.values()))
    assert [column.title for column in ranked.columns if column.kind == "metric"] == [
        "again [accuracy]", "learned [accuracy]", "unknown [accuracy]",
    ]  # fmt: skip
    assert [note.split(",")[0] for note in ranked.notes] == ["left out: near", "left out: not"]


def test_what_a_majority_scores_is_compared_with_the_probe_and_with_matthews_too(
    record: Maker,
) -> None:
    def board_of(name: str, value: float, facts: dict[str, Any]) -> ComparisonTable:
        made = [
            record(
                selector=method,
                seed=seed,
                selection=facts,
                metrics=(
                    Metric("mlm_loss_drop", "nats_gained", True, 0.1 + seed / 100, 40, 0.01),
                    Metric(name, "correlation", True, value, 400, 0.03, primary=True),
                ),
            )
            for method in ("vanilla", "random")
            for seed in (0, 1)
        ]
        (table,) = build(made)
        return table

    assert {*board_of("matthews", 0.05, {}).refused} == {("tiny", "")}
    assert board_of("matthews", 0.1, {}).refused == {}
    probed = {"probe": {"inverse_penalty": 1.0, "largest_class": 0.5}}
    table = board_of("probe_accuracy", 0.55, probed)
    assert {*table.refused} == {("tiny", "probe_")}
    assert board_of("probe_accuracy", 0.6, probed).refused == {}
    assert board_of("pearson", 0.0, {}).refused == {}  # no classes
    drops = [row.cells[1].gain for row in table.rows if row.axes.selector == "vanilla"]
    assert table.columns[1].name == "mlm_loss_drop" and drops != [None]  # no prediction
