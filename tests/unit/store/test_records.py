"""Records on disk: the path is the identity, a file is whole or absent, a broken one is named."""

import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from shortlist.core import Axes, Metric, Record
from shortlist.errors import InvalidInput
from shortlist.store.records import (
    read_file,
    read_record,
    read_records,
    record_path,
    write_record,
)

RECORD = Record(
    key="abc123",
    status="done",
    axes=Axes("toy", "files", "gotd", "minilm", "tiny", 100, "documents", 0),
    metrics=(Metric("accuracy", "fraction", True, 0.1 + 0.2, 80),),
)


def test_a_record_reads_back_equal_from_the_path_that_names_it(tmp_path: Path) -> None:
    path = write_record(tmp_path, RECORD)
    assert path == tmp_path / "records" / "toy" / "gotd" / "abc123.json"
    assert read_records(tmp_path) == [RECORD]


def test_records_are_read_in_one_order_whatever_order_they_were_written_in(tmp_path: Path) -> None:
    keys = ["c", "a", "b"]
    for key in keys:
        write_record(tmp_path, replace(RECORD, key=key))
    assert [record.key for record in read_records(tmp_path)] == sorted(keys)


def test_no_directory_is_no_records(tmp_path: Path) -> None:
    assert read_records(tmp_path / "absent") == []


def test_a_record_written_again_replaces_the_file_and_leaves_no_other(tmp_path: Path) -> None:
    write_record(tmp_path, RECORD)
    path = write_record(tmp_path, replace(RECORD, status="failed", reason="no memory", metrics=()))
    assert [file.name for file in path.parent.iterdir()] == ["abc123.json"]
    assert read_records(tmp_path)[0].reason == "no memory"


def test_a_reader_never_reads_part_of_a_record(tmp_path: Path) -> None:
    path = write_record(tmp_path, RECORD)
    long = replace(RECORD, warnings=("w" * 100_000,))

    def write() -> None:
        for _ in range(20):
            write_record(tmp_path, long)

    writers = [threading.Thread(target=write) for _ in range(3)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert Record.from_json(path.read_text()) in (RECORD, long)
    assert read_records(tmp_path) == [long]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"schema": 3}',
        RECORD.to_json().replace('"done"', '"fine"').encode(),
        RECORD.to_json().replace('"budget": 100', '"budget": "100"').encode(),
        RECORD.to_json().replace("0.30000000000000004", "30.0").encode(),
    ],
    ids=["empty", "cut", "list", "null", "bytes", "schema", "status", "budget", "percent"],
)
def test_a_broken_file_is_refused_by_name_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = write_record(tmp_path, RECORD)
    path.write_bytes(content)
    with pytest.raises(InvalidInput) as error:
        read_record(tmp_path, path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_record_in_the_place_of_another_cell_is_refused(tmp_path: Path) -> None:
    path = write_record(tmp_path, RECORD)
    moved = path.with_name("other.json")
    path.rename(moved)
    with pytest.raises(InvalidInput, match=r"other\.json contains the record of another cell"):
        read_record(tmp_path, moved)


def test_a_bad_file_among_good_ones_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_record(tmp_path, RECORD)
    bad = write_record(tmp_path, replace(RECORD, key="bad"))
    bad.write_text("{")
    assert read_records(tmp_path) == [RECORD]
    (message,) = caplog.messages
    assert message.startswith(f"left out: {bad}: not a record") and "\n" not in message


def test_what_is_no_regular_file_or_too_large_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = record_path(tmp_path, RECORD)
    path.parent.mkdir(parents=True)
    for make, message in (
        (path.mkdir, "regular file"),
        (lambda: os.mkfifo(path), "regular file"),
        (lambda: path.symlink_to("/dev/zero"), "regular file"),
        (lambda: path.symlink_to(path), "regular file"),
        (lambda: path.write_bytes(b"") and None, "not a record"),
    ):
        make()
        with pytest.raises(InvalidInput, match=message):
            read_file(path)
        path.rmdir() if path.is_dir() else path.unlink()
    with path.open("wb") as file:
        file.truncate(65 * 2**20)
    with pytest.raises(InvalidInput, match="at most 67,108,864 bytes, found 68,157,440"):
        read_file(path)


def test_an_unwritable_directory_is_named_with_the_setting_that_chooses_it(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file where a directory belongs")
    with pytest.raises(InvalidInput, match=r"results/records.*paths\.results=DIR"):
        write_record(tmp_path / "results", RECORD)


@pytest.mark.parametrize(
    "name", ["../up", "a/b", "", ".hidden", "a\0b", "a\nb", "\x1b[2J", "x" * 201, "\udc80"]
)
def test_a_name_that_would_leave_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="can name a file"):
        record_path(tmp_path, replace(RECORD, key=name))


def test_the_file_is_sorted_json_that_ends_in_a_line_break(tmp_path: Path) -> None:
    text = write_record(tmp_path, RECORD).read_text()
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n"
