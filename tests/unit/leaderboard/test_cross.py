"""Representation by selector: which rows make a cross, and what its cells show."""

from collections.abc import Callable

from shortlist.core import Record
from shortlist.leaderboard import build
from shortlist.leaderboard.cross import crosses

Maker = Callable[..., Record]
VALUES = {
    ("static", "gotd"): 0.6, ("static", "centroid"): 0.5,
    ("minilm", "gotd"): 0.9, ("minilm", "centroid"): 0.7,
}  # fmt: skip


def board(record: Maker, values: dict[tuple[str, str], float], **changed: object) -> list[Record]:
    return [
        record(value, featurizer=vectors, selector=name, key=f"{vectors}{name}{changed}", **changed)
        for (vectors, name), value in values.items()
    ]


def test_a_cross_has_a_row_a_representation_and_a_column_a_selector(record: Maker) -> None:
    (table,) = build(board(record, VALUES))
    (cross,) = crosses(table)
    assert cross.headings == ("representation", "centroid", "gotd")
    assert [[cell.text for cell in row] for row in cross.rows] == [
        ["minilm", "0.7000", "0.9000"],
        ["static", "0.5000", "0.6000"],
    ]


def test_selectors_of_one_representation_are_no_column_and_two_of_each_are_needed(
    record: Maker,
) -> None:
    more = {**VALUES, ("none", "random"): 0.4, ("static", "dsir"): 0.3}
    (table,) = build(board(record, more))
    assert crosses(table)[0].headings == ("representation", "centroid", "gotd")
    del more["minilm", "centroid"]
    (table,) = build(board(record, more))
    assert crosses(table) == []


def test_budgets_are_crosses_of_their_own_and_a_missing_cell_is_empty(record: Maker) -> None:
    values = {**VALUES, ("static", "soft_knn"): 0.2, ("gradients", "soft_knn"): 0.1}
    records = [*board(record, VALUES, budget=10), *board(record, values, budget=20)]
    (table,) = build(records)
    small, large = crosses(table)
    assert "10 documents" in small.title and len(small.rows) == 2
    shown = {row[0].text: [cell.text for cell in row[1:]] for row in large.rows}
    assert shown["gradients"] == ["", "", "0.1000"] and shown["minilm"][2] == ""
