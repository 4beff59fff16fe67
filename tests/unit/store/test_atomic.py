"""Files are whole or not there; directories can be written to or are refused by name."""

import os
from pathlib import Path

import pytest

from shortlist.errors import InvalidInput
from shortlist.store.atomic import (
    is_sealed,
    make_directory,
    read_jsonl,
    seal,
    write_jsonl,
    write_text,
)


def test_a_failing_write_leaves_the_old_contents_and_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_text(tmp_path / "a.txt", "old")

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        write_text(path, "new")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.txt", "old")]


def test_a_written_file_can_be_read_by_everybody(tmp_path: Path) -> None:
    assert write_text(tmp_path / "a.txt", "x").stat().st_mode & 0o777 == 0o644


def test_text_is_written_as_utf_8(tmp_path: Path) -> None:
    assert (
        write_text(tmp_path / "a.txt", "größer ≥ 中").read_bytes().decode("utf-8") == "größer ≥ 中"
    )


def test_rows_are_one_json_object_a_line_whatever_they_hold(tmp_path: Path) -> None:
    rows = [{"b": "größer\u2028 中\n", "a": 1.5}, {"text": "\x85\r", "list": [None, True]}]
    path = write_jsonl(tmp_path / "rows.jsonl", iter(rows))
    assert path.read_bytes().startswith('{"b": "größer\u2028 中\\n", "a": 1.5}\n'.encode())
    assert read_jsonl(path) == rows
    assert read_jsonl(write_jsonl(path, [])) == []


def test_rows_that_cannot_be_written_leave_the_old_file(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [{"a": 1}])
    with pytest.raises(TypeError):
        write_jsonl(path, [{"a": 2}, {"a": object()}])
    assert read_jsonl(path) == [{"a": 1}] and len(list(tmp_path.iterdir())) == 1


def test_a_directory_below_a_file_is_refused_in_one_line_with_its_setting(tmp_path: Path) -> None:
    # Below a file, because the tests may run as root, whom no permission stops.
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput) as refused:
        make_directory(tmp_path / "file" / "below", "paths.cache")
    assert str(refused.value) == (
        f"expected a directory that can be written to, found {tmp_path}/file/below "
        "(Not a directory); set paths.cache=DIR"
    )


def test_a_file_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="File exists"):
        make_directory(tmp_path / "file", "paths.runs")


def test_trying_a_directory_leaves_nothing_in_it(tmp_path: Path) -> None:
    assert list(make_directory(tmp_path / "a" / "b", "paths.runs").iterdir()) == []


def test_a_sealed_file_is_one_until_a_bit_of_it_or_of_its_seal_changes(tmp_path: Path) -> None:
    path = tmp_path / "shard"
    assert not is_sealed(path)
    path.write_bytes(b"rows")
    assert not is_sealed(path)
    seal(path)
    assert is_sealed(path)
    path.write_bytes(b"rowt")
    assert not is_sealed(path)
    path.write_bytes(b"rows")
    (tmp_path / "shard.sha256").write_bytes(b"\xff")
    assert not is_sealed(path)


def test_a_sealed_directory_is_one_until_a_file_of_it_changes(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    for name in ("a", "deep/b"):
        (folder / name).write_text("x")
    seal(folder)
    assert is_sealed(folder)
    (folder / "deep" / "b").write_text("y")
    assert not is_sealed(folder)
    (folder / "deep" / "b").write_text("x")
    assert is_sealed(folder)
    (folder / "c").write_text("")
    assert not is_sealed(folder)
