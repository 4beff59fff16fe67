"""Estimated operations of a record, the plot against them, and where a selection pays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from shortlist.core import Record, StageCost
from shortlist.leaderboard import build
from shortlist.leaderboard.compute import operations
from shortlist.leaderboard.payoff import payoff_table
from shortlist.leaderboard.plots import plots
from shortlist.leaderboard.text import markdown

Maker = Callable[..., Record]
COUNTS = {
    "warmup_dense_parameters": 1000,
    "warmup_tokens": 5000,
    "warmup_documents": 50,
    "pool_kept": 400,
    "prefilter_left_out": 100,
}
MODEL = {"_target_": "PackagedModel", "package": "p"}


def config(kind: str, **changes: Any) -> dict[str, Any]:
    featurizer = {"_target_": f"shortlist.featurizers.{kind}", "model": MODEL, **changes}
    return {"model": MODEL, "warmup": {"epochs": 2}, "featurizer": featurizer, "seed": 0}


def test_operations_are_six_of_training_and_two_of_reading(record: Maker) -> None:
    def estimated(kind: str, counts: dict[str, int] = COUNTS, **changes: Any) -> float | None:
        return operations(record(counts=counts, config=config(kind, **changes)))

    training = 6 * 1000 * 2 * 5000
    read = 1000 * 300 * 100  # 300 documents of 100 tokens
    assert estimated("ngrams.NGrams") == training
    assert estimated("transformer.Transformer") == training + 2 * read
    assert estimated("gradients.Gradients") == training + 6 * read
    assert estimated("transformer.Transformer", model={"_target_": "another"}) is None
    assert estimated("mine.Unknown") is None
    assert estimated("ngrams.NGrams", {"warmup_tokens": 5000}) is None  # an earlier record


def test_gains_are_drawn_against_operations_where_records_hold_them(record: Maker) -> None:
    made = [
        record(0.5 + place / 20 + seed / 90, selector=name, seed=seed, counts=COUNTS,
               config=config(kind) | {"seed": seed})
        for place, (name, kind) in enumerate(
            (("random", "base.NoFeatures"), ("dsir", "ngrams.NGrams"), ("gotd", "transformer.Transformer"))
        )
        for seed in (0, 1)
    ]  # fmt: skip
    (table,) = build(made)
    assert [plot.title for plot in plots(table)] == ["Gain by cost", "Gain by compute"]
    assert "compute (FLOP)" in [column.title for column in table.columns]
    assert "| 6.0e7 |" in markdown([table]) and "| 1.2e8 |" in markdown([table])
    (table,) = build([replace(one, counts={}) for one in made])
    assert [plot.title for plot in plots(table)] == ["Gain by cost"]


def test_a_selection_pays_where_it_costs_less_than_what_random_needs_more(record: Maker) -> None:
    def at(name: str, budget: int, value: float, selection: float) -> list[Record]:
        stages = (
            StageCost("features", "f", selection, 1.0, "cpu", "selection"),
            StageCost("warmup", "w", 5 + 0.1 * budget, 1.0, "cpu", "training"),
        )
        spread = {"random": 1e-3, "gotd": -1e-3, "dsir": 2e-3}[name]
        return [
            record(
                value + (seed - 1) * spread, selector=name, seed=seed, budget=budget, stages=stages
            )
            for seed in (0, 1, 2)
        ]

    random = [*at("random", 100, 0.5, 0.0), *at("random", 300, 0.6, 0.0)]
    (table,) = build([*random, *at("gotd", 100, 0.55, 40.0), *at("dsir", 100, 0.7, 2.0)])
    found = payoff_table(table)
    assert found is not None and "Where a selection pays" in markdown([table])
    lines = {(row[0].text, row[1].text): [cell.text for cell in row[2:]] for row in found.rows}
    # 0.55 takes random 200 documents; a document takes 0.1 s; 40 / (0.1 * 100) = 4.
    assert lines["gotd, 100 documents", "accuracy"] == ["200", "4"]
    assert lines["dsir, 100 documents", "accuracy"] == ["more than 300", "at most 0.1"]
    assert payoff_table(build([*random[:3], *at("gotd", 100, 0.55, 40.0)])[0]) is None
    assert payoff_table(build([*random, *at("gotd", 100, 0.45, 40.0)])[0]) is None
