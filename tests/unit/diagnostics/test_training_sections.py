"""What a run's page says about trainings and classes."""

from __future__ import annotations

import re

from shortlist.diagnostics.datasheet.page import Datasheet, Section, html, markdown
from shortlist.diagnostics.training_sections import (
    CONFUSIONS,
    Training,
    evaluation_section,
    training_section,
)
from shortlist.trainers.curves import Curve

ROWS = [
    {"class": "<b>", "precision": 0.5, "recall": 1.0, "f1": 2 / 3, "true": 1, "predicted": 2},
    {"class": "c", "precision": 1.0, "recall": 0.5, "f1": 2 / 3, "true": 2, "predicted": 1},
]


def sheet(section: Section) -> Datasheet:
    return Datasheet("title", "lead", (), (), (section,))


def test_curves_are_drawn_and_described() -> None:
    warm = Training("warm-up", Curve([3.0, 2.0, 1.0] * 300, 300), held_out=(2.5, 1.5))
    tuned = Training("fine-tuning", Curve([1.0, 0.5], 1, [0.9, None], [-0.4, -0.3], 2), "rmse", -1)
    section = training_section([warm, tuned])
    page, text = html(sheet(section)), markdown(sheet(section))
    assert [figure.title for figure in section.figures] == [
        "Loss of the warm-up", "Loss of the fine-tuning", "rmse on validation"
    ]  # fmt: skip
    assert page.count("<svg") == 3 and 'id="training"' in page
    assert "900 steps, 300 an epoch; each point of the training loss is the mean of 5 steps" in text
    assert "held-out" in section.figures[0].svg and "held-out" not in section.figures[1].svg
    assert "The weights of epoch 2 of 2 were kept." in text
    assert "0.40" in section.figures[2].svg and "\N{MINUS SIGN}0.4" not in section.figures[2].svg


def test_classes_and_confusions_are_tables_and_escaped() -> None:
    details = {"per_class": ROWS, "classes": ["<b>", "c"], "confusion": [[1, 0], [1, 1]]}
    page = html(sheet(evaluation_section(details)))
    assert "<b>" not in page and page.count("&lt;b&gt;") == 3
    cells = re.findall(r"--share:([\d.]+)\">(\d+)<", page)
    assert cells == [("1.0000", "1"), ("0.0000", "0"), ("0.5000", "1"), ("0.5000", "1")]
    assert "<table" not in html(sheet(evaluation_section({})))
    section = evaluation_section({"per_class": ROWS, "threshold": 0.4})
    assert len(section.tables) == 1 and "at a probability of at least 0.4" in section.tables[0].note


def test_of_many_classes_the_most_frequent_confusions_are_told_and_the_rest_counted() -> None:
    classes = [f"class {number}" for number in range(30)]
    confusion = [
        [number if place == (number + 1) % 30 else 5 * (place == number) for place in range(30)]
        for number in range(30)
    ]
    (table,) = evaluation_section({"classes": classes, "confusion": confusion}).tables
    assert len(table.rows) == CONFUSIONS and "20 most frequent of 29 pairs, of 30" in table.note
    first = [cell.text for cell in table.rows[0]]
    assert first == ["class 29", "class 0", "29", f"{29 / 34:.1%}"]
