"""Rows of files: every format gives the same rows, and what cannot be read is refused by name."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shortlist.data.files import READABLE, file_digest, stem
from shortlist.data.readers import read
from shortlist.errors import InvalidInput, Missing

Write = Callable[..., Path]
TEXTS = ["The first document.", "Zweites, mit Umlaut: ä.", 'A "quoted", third\none.']


@pytest.mark.parametrize("suffix", READABLE)
def test_every_format_gives_the_same_documents(write: Write, suffix: str) -> None:
    path = write(f"rows{suffix}", [{"text": text, "n": 1} for text in TEXTS])
    assert read(path).corpus.texts == TEXTS


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".jsonl.zst", ".csv.gz", ".parquet"])
def test_a_truncated_file_is_refused_by_name(write: Write, suffix: str) -> None:
    path = write(f"rows{suffix}", [{"text": f"document {n * 7919}"} for n in range(300)])
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InvalidInput, match=f"rows{suffix}: expected a whole"):
        read(path)


def test_a_missing_file_names_what_is_beside_it(write: Write) -> None:
    path = write("train.jsonl", [{"text": "a"}])
    with pytest.raises(Missing, match=r"did you mean `train\.jsonl`"):
        read(path.with_name("trian.jsonl"))


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="found a folder"):
        read(tmp_path)


def test_an_unreadable_suffix_names_the_readable_ones(tmp_path: Path) -> None:
    path = tmp_path / "rows.xlsx"
    path.touch()
    with pytest.raises(InvalidInput, match=r"\.parquet"):
        read(path)


def test_bad_cells_of_a_csv_are_named_by_the_line_they_start_on(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b'text,n\n"two\nlines",1\nshort\nbad\xff,2\n,3\nfine,4\n')
    loaded = read(path)
    assert loaded.corpus.texts == ["two\nlines", "fine"]
    assert [(row.line, row.reason.split()[0]) for row in loaded.quarantined] == [
        (4, "expected"),
        (5, "column"),
        (6, "column"),
    ]


def test_a_csv_field_may_be_longer_than_the_default_limit(write: Write) -> None:
    assert read(write("rows.csv", [{"text": "x" * 200_000}])).counts["kept"] == 1


def test_one_undecodable_value_of_a_parquet_file_leaves_the_others(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    raw = pa.array([b"fine", b"\xff\xfe", None], pa.binary())
    strings = pa.StringArray.from_buffers(3, raw.buffers()[1], raw.buffers()[2], raw.buffers()[0])
    pq.write_table(pa.table({"text": strings}), path)
    loaded = read(path)
    assert loaded.corpus.texts == ["fine"]
    assert [row.line for row in loaded.quarantined] == [2, 3]


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    for name, raw in (("a.jsonl", b'{"text": "a"}'), ("a.csv", b"text\na"), ("a.txt", b"a")):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + raw)
        assert read(tmp_path / name).corpus.texts == ["a"]


def test_a_text_file_holds_a_document_per_block(tmp_path: Path) -> None:
    path = tmp_path / "rows.txt"
    path.write_text("\none\nstill one\n\n \ntwo\n")
    assert read(path).corpus.texts == ["one\nstill one", "two"]


def test_the_digest_of_a_file_depends_on_its_bytes_alone(tmp_path: Path) -> None:
    for name, raw in (("a.txt", b"same"), ("b.txt", b"same"), ("c.txt", b"other")):
        (tmp_path / name).write_bytes(raw)
    digests = [file_digest(tmp_path / name) for name in ("a.txt", "b.txt", "c.txt")]
    assert digests[0] == digests[1] != digests[2]


def test_the_stem_leaves_out_the_whole_suffix() -> None:
    assert stem("pools/news.v2.jsonl.gz") == "news.v2"


def test_gzip_content_under_a_plain_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(gzip.compress(b'{"text": "a"}\n'))
    with pytest.raises(InvalidInput, match="all bad"):
        read(path)
