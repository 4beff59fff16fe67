"""Records keep item scores and the roles of stages, and refuse other schemas."""

import json

import numpy as np
import pytest

from shortlist.core import Axes, Record, StageCost, pack_item_scores, unpack_item_scores
from shortlist.errors import InvalidInput

AXES = Axes("t", "p", "s", "f", "m", 1, "documents", 0)


def test_zeros_and_ones_come_back_exactly_and_take_about_two_bits() -> None:
    right = (np.random.default_rng(0).random(10_000) < 0.8).astype(float)
    assert (unpack_item_scores(pack_item_scores(right)) == right).all()
    assert len(pack_item_scores(right)) < 10_000 * 2.5 / 8 * 4 / 3


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_numbers_come_back_to_a_part_in_four_thousand(scale: float) -> None:
    values = np.random.default_rng(1).normal(0, scale, 500)
    assert unpack_item_scores(pack_item_scores(values)) == pytest.approx(values, rel=1 / 4000)
    assert len(pack_item_scores(values)) < 500 * 3 * 4 / 3 + 100


@pytest.mark.parametrize("text", ["%", "AAAA", "eJwDAAAAAAE", "eJxjAAAAAQAB"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="item scores"):
        unpack_item_scores(text)


def test_an_empty_array_stays_empty() -> None:
    assert len(unpack_item_scores(pack_item_scores(np.zeros(0)))) == 0


def test_a_stage_of_an_unknown_role_is_refused() -> None:
    with pytest.raises(InvalidInput, match="role 'warmup', expected one of: preparation"):
        StageCost("warmup", "k", 1.0, 1.0, "cpu", "warmup")  # type: ignore[arg-type]


@pytest.mark.parametrize("schema", [1, 2, 4])
def test_a_record_of_another_schema_is_refused_and_the_migration_named(schema: int) -> None:
    raw = json.loads(Record("k", "done", AXES).to_json())
    with pytest.raises(InvalidInput, match=r"schema 3, found schema .; python results/migrate.py"):
        Record.from_json(json.dumps({**raw, "schema": schema}))
