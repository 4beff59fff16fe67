"""Records keep item scores and the roles of stages, and refuse other schemas."""

import base64
import copy
import functools
import json
import math
import tracemalloc
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from shortlist.core import Axes, Metric, Record, StageCost, pack_item_scores, unpack_item_scores
from shortlist.errors import InvalidInput

AXES = Axes("t", "p", "s", "f", "m", 1, "documents", 0)


def test_zeros_and_ones_come_back_exactly_and_take_about_two_bits() -> None:
    right = (np.random.default_rng(0).random(10_000) < 0.8).astype(float)
    assert (unpack_item_scores(pack_item_scores(right), 10_000) == right).all()
    assert len(pack_item_scores(right)) < 10_000 * 2.5 / 8 * 4 / 3


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_numbers_come_back_to_a_part_in_four_thousand(scale: float) -> None:
    values = np.random.default_rng(1).normal(0, scale, 500)
    assert unpack_item_scores(pack_item_scores(values), 500) == pytest.approx(values, rel=1 / 4000)
    assert len(pack_item_scores(values)) < 500 * 3 * 4 / 3 + 100


@pytest.mark.parametrize("text", ["%", "AAAA", "eJwDAAAAAAE", "eJxjAAAAAQAB"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="item scores"):
        unpack_item_scores(text, 1)


def test_an_empty_array_stays_empty() -> None:
    assert len(unpack_item_scores(pack_item_scores(np.zeros(0)), 0)) == 0


def bomb(items: int) -> str:
    """Item scores that are all zero: a thousandth of their size."""
    return base64.b64encode(zlib.compress(bytes(4 * items), 9)).decode()


def test_no_more_scores_are_unpacked_than_there_are_items() -> None:
    packed = bomb(5_000_000)  # 20 MB
    tracemalloc.start()
    with pytest.raises(InvalidInput, match="item scores of 10 items, found those of more"):
        unpack_item_scores(packed, 10)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
    with pytest.raises(InvalidInput, match="at most 10,000,000 items, found 50,000,000"):
        unpack_item_scores(packed, 50_000_000)


@pytest.mark.parametrize("n", [-1, 9, 11, 2**62, 10**30])
def test_item_scores_of_another_number_of_items_are_refused(n: int) -> None:
    with pytest.raises(InvalidInput, match="item"):
        unpack_item_scores(pack_item_scores(np.ones(10)), n)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_item_scores_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(InvalidInput, match="finite"):
        unpack_item_scores(pack_item_scores(np.array([0.0, value])), 2)


RAW = json.loads(
    Record(
        "k", "done", AXES,
        metrics=(Metric("accuracy", "fraction", True, 0.5, 2, 0.1),),
        stages=(StageCost("warmup", "k", 1.0, 1.0, "cpu", "training"),),
        selection={"size": 1, "unique": 1, "domains": {"a": 1}, "fit": {}},
    ).to_json()
)  # fmt: skip


def test_numbers_may_be_written_as_integers() -> None:
    RAW["stages"][0]["seconds"] = 1
    assert Record.from_json(json.dumps(RAW)).stages[0].seconds == 1


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("axes",), [], "axes must be a mapping, found []"),
        (("axes", "pool"), None, "axes.pool must be text, found null"),
        (("axes", "budget"), "1", 'axes.budget must be an integer of 64 bits, found "1"'),
        (("axes", "budget"), True, "axes.budget must be an integer of 64 bits, found true"),
        (("axes", "budget"), 1.0, "axes.budget must be an integer of 64 bits, found 1.0"),
        (("axes", "seed"), 2**63, "axes.seed must be an integer of 64 bits, found 9223372036854775808"),
        (("axes", "taks"), "t", 'axes."taks" is unknown; did you mean `task`?'),
        (("status",), "fine", 'status must be one of done, skipped, failed, found "fine"'),
        (("status",), ["done"], 'status must be one of done, skipped, failed, found ["done"]'),
        (("metrics",), {}, "metrics must be a list, found {}"),
        (("metrics", 0), 1, "metrics[0] must be a mapping, found 1"),
        (("metrics", 0, "value"), "high", 'metrics[0].value must be a number, found "high"'),
        (("metrics", 0, "value"), 10**400, "metrics[0].value must be a number, found 1000"),
        (("metrics", 0, "value"), 50.0, "must lie in [0, 1], found: 50"),
        (("metrics", 0, "value"), math.nan, "must lie in [0, 1], found: nan"),
        (("metrics", 0, "unit"), "percent", "unit 'percent', expected one of: fraction"),
        (("metrics", 0, "primary"), 1, "metrics[0].primary must be true or false, found 1"),
        (("metrics", 0, "stderr"), [], "metrics[0].stderr must be a number, found []"),
        (("stages", 0, "role"), "warmup", "stages[0].role must be one of preparation"),
        (("stages", 0, "seconds"), None, "stages[0].seconds must be a number, found null"),
        (("selection", "size"), "1", 'selection.size must be an integer of 64 bits, found "1"'),
        (("selection", "unique"), None, "selection.unique must be an integer of 64 bits"),
        (("selection", "domains"), [], "selection.domains must be a mapping, found []"),
        (("selection", "domains", "a"), {}, "selection.domains.a must be an integer"),
        (("selection", "fit"), 7, "selection.fit must be a mapping, found 7"),
        (("counts",), None, "counts must be a mapping, found null"),
        (("counts",), {"a": 0.5}, "counts.a must be an integer of 64 bits, found 0.5"),
        (("warnings",), "none", 'warnings must be a list, found "none"'),
        (("warnings",), [1], "warnings[0] must be text, found 1"),
        (("overrides",), {}, "overrides must be a list, found {}"),
        (("code",), None, "code must be a mapping, found null"),
        (("config",), [], "config must be a mapping, found []"),
        (("inputs",), {"read.pool": 1}, "inputs.read.pool must be text, found 1"),
        (("item_scores",), {"accuracy": None}, "item_scores.accuracy must be text, found null"),
        (("reason",), "x" * 100_001, "texts of at most 100,000 characters, found"),
        (("reason",), "\udc80", "expected Unicode, found half of a pair"),
        (("warnings",), ["x" * 99_999] * 41, "at most 4,000,000 characters beside item scores"),
        (("unknown",), 1, '"unknown" is unknown'),
        (("digest",), "0" * 64, "its contents are not those of its digest"),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_refused_with_its_place(
    path: tuple[Any, ...], value: Any, message: str
) -> None:
    raw = copy.deepcopy(RAW)
    *outer, last = path
    node = functools.reduce(lambda node, step: node[step], outer, raw)
    node[last] = value
    with pytest.raises(InvalidInput) as error:
        Record.from_json(json.dumps(raw))
    assert message in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


@pytest.mark.parametrize("name", ["axes", "key", "status"])
def test_a_field_that_is_missing_is_named(name: str) -> None:
    with pytest.raises(InvalidInput, match=f"^{name} is missing$"):
        Record.from_json(json.dumps({n: value for n, value in RAW.items() if n != name}))


@pytest.mark.parametrize("depth", [60, 400, 10_000, 1_000_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    nested = f'{{"schema": 3, "config": {"[" * depth}{"]" * depth}}}'
    with pytest.raises(InvalidInput, match=r"recursion|levels of nesting"):
        Record.from_json(nested)


def test_a_sealed_record_is_read_and_an_edited_one_is_not() -> None:
    sealed = Record("k", "done", AXES, warnings=("é \u2028",), config={"a": [0.1, None]}).sealed()
    assert Record.from_json(sealed.to_json()) == sealed
    assert sealed.sealed() == sealed
    for name in ("task", "pool", "selector", "featurizer", "model"):
        axes = replace(AXES, **{name: "other"})
        with pytest.raises(InvalidInput, match="changed after it was written"):
            Record.from_json(replace(sealed, axes=axes).to_json())


@pytest.mark.parametrize("schema", [1, 2, 4])
def test_a_record_of_another_schema_is_refused_and_the_migration_named(schema: int) -> None:
    raw = json.loads(Record("k", "done", AXES).to_json())
    with pytest.raises(InvalidInput, match=r"schema 3, found schema .; python results/migrate.py"):
        Record.from_json(json.dumps({**raw, "schema": schema}))
