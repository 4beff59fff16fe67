"""The log of predictions and corrections: its tables, and no personal data in them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from shortlist.deploy.serving.interactions import COLUMNS, Interactions
from shortlist.errors import InvalidInput


def rows(path: Path, table: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(path) as file:
        found = file.execute(f"SELECT {', '.join(COLUMNS[table])} FROM {table} ORDER BY id")
        return found.fetchall()


def test_texts_are_kept_without_personal_data_and_labels_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    log = Interactions(path, "m", "d")
    log.add(
        [
            ("1", ["mail joe@example.org or +49 170 1234567"], "sailing", 0.75),
            ("2", ["joe@example.org", "again joe@example.org"], ["a", "b"], None),
            ("3", ["a"], 2.5, None),
        ]
    )
    assert log.correct("1", "baking") and log.correct("2", ["b"]) and not log.correct("9", "x")
    log.close()
    assert [file.name for file in tmp_path.iterdir()] == ["log.sqlite"]
    first, second, third = rows(path, "predictions")
    assert first[2:] == ("mail [EMAIL_1] or [PHONE_1]", "sailing", 0.75, "m", "d")
    assert second[2:5] == ('["[EMAIL_1]", "again [EMAIL_1]"]', '["a", "b"]', None)
    assert third[3] == "2.5"
    assert [row[2:] for row in rows(path, "corrections")] == [("1", "baking"), ("2", '["b"]')]
    assert b"example.org" not in path.read_bytes()


def test_a_later_server_adds_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    for version in ("m1", "m2"):
        log = Interactions(path, version, "d")
        log.add([(version, ["a"], "x", 1.0)])
        log.close()
    assert [row[5] for row in rows(path, "predictions")] == ["m1", "m2"]


def test_a_file_of_something_else_is_refused_by_name(tmp_path: Path) -> None:
    text, other = tmp_path / "text.sqlite", tmp_path / "other.sqlite"
    text.write_text("no database, but long enough to be taken for one " * 9)
    with sqlite3.connect(other) as file:
        file.execute("CREATE TABLE predictions(id, text)")
    for path in (text, other, tmp_path / "none" / "x.sqlite", tmp_path):
        with pytest.raises(InvalidInput, match=rf"\A--log {path}: [^\n]*\Z"):
            Interactions(path, "m", "d")
