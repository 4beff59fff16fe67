"""Around many cells: which are checked, how they are named and read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.core import Axes, Record
from shortlist.errors import InvalidInput, Missing
from shortlist.pipeline.sweep import check, name_of, one_at_a_time, read_run

AXES = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True), max_size=4)


def grid(axes: list[list[int]]) -> list[list[str]]:
    import itertools

    names = [f"axis{number}" for number in range(len(axes))]
    return [
        [f"{name}={value}" for name, value in zip(names, cell, strict=True)]
        for cell in itertools.product(*axes)
    ]


@given(AXES)
def test_the_cells_that_are_checked_hold_every_value_of_every_axis(axes: list[list[int]]) -> None:
    checked = one_at_a_time(grid(axes))
    assert {item for cell in checked for item in cell} == {i for cell in grid(axes) for i in cell}


@given(AXES)
def test_as_many_cells_are_checked_as_the_axes_have_values_and_not_their_product(
    axes: list[list[int]],
) -> None:
    assert len(one_at_a_time(grid(axes))) <= max(1, sum(len(axis) for axis in axes))


def test_one_cell_without_overrides_is_not_checked_twice() -> None:
    assert len(one_at_a_time([[]])) <= 1


def record(budget: int) -> Record:
    return Record("k", "done", Axes("t", "p", "s", "f", "m", budget, "documents", 0))


def test_records_of_a_sweep_are_read_in_the_order_of_its_cells(tmp_path: Path) -> None:
    for number in (10, 2, 0):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "record.json").write_text(record(number + 1).to_json())
    assert [one.axes.budget for one in read_run(tmp_path).values()] == [1, 3, 11]


def test_a_run_without_a_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="found none; look at its log files"):
        read_run(tmp_path)


def test_a_cell_is_named_in_the_words_of_the_command_line() -> None:
    assert name_of(record(5)) == "task=t selector=s budget=5 seed=0"


def test_an_input_that_is_not_there_is_found_before_anything_is_computed(
    composed: Any, tmp_path: Path
) -> None:
    config = composed(
        "task=own", "task.train=/nowhere.jsonl", "selector=random", f"paths.cache={tmp_path}/cache"
    )
    with pytest.raises(Missing, match=r"/nowhere\.jsonl"):
        check(config)
    assert list(tmp_path.iterdir()) == []
