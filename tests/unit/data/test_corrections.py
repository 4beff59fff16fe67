"""Corrections out of files: what they are worth, and what is no correction."""

from __future__ import annotations

import itertools
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from shortlist.data.corrections import error_of, read_corrections, served_texts
from shortlist.deploy.serving.interactions import TABLES
from shortlist.errors import InvalidInput


@pytest.mark.parametrize(
    ("predicted", "probability", "probabilities", "expected"),
    [
        ("sailing", 0.9, {"sailing": 0.9, "baking": 0.1}, 0.9),
        ("baking", 0.6, {"sailing": 0.4, "baking": 0.6}, 0.4),
        ("baking", 0.7, None, 0.3),
        ("sailing", 0.7, None, 0.7),  # p of another class: a lower bound
        ("sailing", None, None, 1.0),
        ("baking", None, None, 0.0),
        (None, None, None, None),
    ],
)
def test_the_error_is_one_less_the_probability_of_the_right_class(
    predicted: Any, probability: Any, probabilities: Any, expected: Any
) -> None:
    assert error_of("baking", predicted, probability, probabilities) == pytest.approx(expected)


@pytest.mark.parametrize("value", [1.5, -0.1, True, "0.5"])
def test_a_probability_outside_its_range_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput, match="from 0 to 1"):
        error_of("baking", "baking", value)


def test_annotations_have_one_class_each_and_several_annotators_are_kept_apart(
    tmp_path: Path,
) -> None:
    def annotation(annotator: Any, *labels: str, **more: Any) -> dict[str, Any]:
        return {"completed_by": annotator, "result": [{"value": {"choices": list(labels)}}], **more}

    tasks = [
        {"data": {"text": "a cake"}, "annotations": [annotation(1, "baking"), annotation(2, "music")]},
        {"data": {"text": "a boat"}, "annotations": [annotation(1, "sailing", "music")]},
        {"data": {"text": "a sail"}, "annotations": []},
        {"data": {"text": " "}, "annotations": [annotation(1, "sailing")]},
        {"data": {"text": "x", "probabilities": {"music": 7}}, "annotations": [annotation(1, "music")]},
        {"data": {"text": "y"}, "annotations": [annotation(1), annotation(1, "music", was_cancelled=True)]},
        {"annotations": [annotation(1, "music")]},
        ["no task"],
        {"data": {"text": "z"}, "annotations": "none"},
    ]  # fmt: skip
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps(tasks), encoding="utf-8")
    done = read_corrections(path)
    assert [(one.text, one.label, one.annotator) for one in done.corrections] == [
        ("a cake", "baking", "1"), ("a cake", "music", "2")
    ]  # fmt: skip
    assert done.counts == {
        "read": 11, "corrections": 2, "rejected": 6, "without_label": 2, "skipped": 1
    }  # fmt: skip
    assert done.counts["read"] == sum(n for name, n in done.counts.items() if name != "read")
    reasons = [row.reason for row in done.rejected]
    for expected, found in itertools.zip_longest(
        ("one class, found sailing, music", "expected a text", "from 0 to 1", "with `data`", "with `data`",
         "a list of objects"), reasons,
    ):  # fmt: skip
        assert expected in found


def test_two_texts_of_a_log_are_a_pair(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    with closing(sqlite3.connect(path)) as log, log:
        log.executescript(TABLES)
        row = ("p", "t", '["a cake", "a loaf"]', "music", 0.6, "m", "d")
        log.execute("INSERT INTO predictions VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        log.execute("INSERT INTO corrections VALUES (1, 't', 'p', 'baking')")
    (made,) = read_corrections(path, pairs=True).corrections
    assert (made.text, made.text_b, made.joined) == ("a cake", "a loaf", "a cake\na loaf")
    assert served_texts(path, pairs=True) == [("a cake", "a loaf")]
    assert served_texts(path, pairs=False) == [('["a cake", "a loaf"]',)]
    with closing(sqlite3.connect(path)) as log, log:
        log.execute("UPDATE predictions SET text = 'one text'")
    (rejected,) = read_corrections(path, pairs=True).rejected
    assert "two texts as a JSON list" in rejected.reason
    with pytest.raises(InvalidInput, match=r"prediction 1: expected two texts"):
        served_texts(path, pairs=True)
