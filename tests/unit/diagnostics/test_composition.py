"""Shares of the selection beside shares of the pool."""

from __future__ import annotations

import numpy as np
import pytest

from shortlist.diagnostics.datasheet.composition import (
    SHOWN,
    category_table,
    copy_table,
    length_table,
    property_table,
)
from shortlist.diagnostics.formatting import TIMES
from shortlist.rendering.tables import TextTable


def texts(table: TextTable) -> list[list[str]]:
    return [[cell.text.replace(TIMES, "x") for cell in row] for row in table.rows]


def test_a_table_has_the_shares_of_picks_and_pool_the_most_selected_first() -> None:
    domains = ["a"] * 5 + ["b"] * 3 + ["c"] * 2
    table = category_table("Domain", domains, np.array([5, 6, 0, 8]))
    assert texts(table) == [
        ["b", "50.0 %", "30.0 %", "1.7x"],
        ["a", "25.0 %", "50.0 %", "0.5x"],
        ["c", "25.0 %", "20.0 %", "1.2x"],
    ]
    assert [row[1].share for row in table.rows] == [1.0, 0.5, 0.5]  # the largest share is 50 %
    assert [row[2].share for row in table.rows] == [0.6, 1.0, 0.4]


def test_categories_that_are_not_listed_are_one_row_and_nothing_is_lost() -> None:
    kinds = [f"kind {n % 40}" for n in range(400)]
    table = category_table("Domain", kinds, np.arange(100))
    assert len(table.rows) == SHOWN + 1
    assert table.rows[-1][0].text == "28 others"
    for column in (1, 2):
        shares = [float(row[column].text.removesuffix(" %")) for row in table.rows]
        assert sum(shares) == pytest.approx(100, abs=0.5)


def test_bins_hold_their_lower_edge_and_not_their_upper_one() -> None:
    lengths = np.array([0, 99, 100, 149, 150, 9000])
    table = length_table(lengths, np.array([2, 5]))
    assert [row[:2] for row in texts(table)] == [
        ["0 to 100", "0.0 %"],
        ["100 to 150", "50.0 %"],
        ["150 to 200", "0.0 %"],
        ["8,000 or more", "50.0 %"],
    ]
    assert [row[2].text for row in table.rows] == ["33.3 %", "33.3 %", "16.7 %", "16.7 %"]
    assert table.note.startswith("Median 4,550 characters (pool 124)")


def test_a_repeat_is_counted_among_what_is_listed_with_it() -> None:
    labels = np.array([0, 0, 0, 3, 4, 4])
    table = copy_table(labels, np.array([0, 3, 4, 5]), not_compared=7)
    # Of the four picks 0, 4 and 5 have a near copy in the pool, but only 5 repeats another pick.
    assert texts(table) == [
        ["with a near copy in the pool", "75.0 %", "83.3 %", "0.9x"],
        ["repeating another one listed", "25.0 %", "50.0 %", "0.5x"],
    ]
    assert "7 candidate pairs were not compared" in table.note


def test_a_property_is_binned_if_it_is_a_number_and_has_a_note_if_it_is_not_known() -> None:
    rows = np.array([0, 1])
    toxic = property_table("Toxicity", [0.05, 0.9, 0.2], rows)
    assert [row[:2] for row in texts(toxic)] == [
        ["0.0 to 0.1", "50.0 %"], ["0.1 to 0.5", "0.0 %"], ["0.5 or more", "50.0 %"],
    ]  # fmt: skip
    licence = property_table("Licence", ["MIT", "MIT", ""], rows)
    assert [row[0].text for row in licence.rows] == ["MIT", "(none)"]
    missing = property_table("Toxicity", None, rows, "Not scored.")
    assert (missing.rows, missing.note) == ((), "Not scored.")
