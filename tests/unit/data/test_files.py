"""Rows of files: every format gives the same rows, and what cannot be read is refused by name."""

from __future__ import annotations

import datetime
import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shortlist.data.files import READABLE, Reading, file_digest, is_whole, stem
from shortlist.data.readers import Columns, Loaded, read, read_files
from shortlist.errors import InvalidInput, Missing

Write = Callable[..., Path]
TEXTS = ["The first document.", "Zweites, mit Umlaut: ä.", 'A "quoted", third\none.']


@pytest.mark.parametrize("suffix", [suffix for suffix in READABLE if not is_whole(f"x{suffix}")])
def test_every_format_gives_the_same_documents(write: Write, suffix: str) -> None:
    path = write(f"rows{suffix}", [{"text": text, "n": 1} for text in TEXTS])
    assert read(path).corpus.texts == TEXTS


@pytest.mark.parametrize("suffix", [suffix for suffix in READABLE if ".md" in suffix])
def test_a_markdown_file_is_one_document(write: Write, suffix: str) -> None:
    path = write(f"rows{suffix}", [{"text": text, "n": 1} for text in TEXTS])
    assert read(path).corpus.texts == ["\n\n".join(TEXTS)]


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


def test_what_unused_columns_hold_has_no_effect(tmp_path: Path) -> None:
    raw = pa.array([b"\xff"] * 3, pa.binary())
    texts = pa.StringArray.from_buffers(3, raw.buffers()[1], raw.buffers()[2])
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3], pa.int32()), texts)
    late = pa.array([2**60] * 3, pa.timestamp("ms"))
    zone = pa.array([0, 1, 2], pa.timestamp("us", "Mars/Olympus_Mons"))
    table = pa.table([pa.array(TEXTS), late, lists, zone, pa.array([1, 2, 3]), pa.array([1, 2, 3])],
                     names=["text", "late", "lists", "zone", "n", "n"])  # fmt: skip
    pq.write_table(table, tmp_path / "pool.parquet")
    with pa.ipc.new_stream(str(tmp_path / "pool.arrow"), table.schema) as stream:
        stream.write_table(table)
    for name in ("pool.parquet", "pool.arrow"):
        assert read(tmp_path / name).corpus.texts == TEXTS
        with pytest.raises(InvalidInput, match=rf"{name}: expected one column 'n', found 2"):
            read(tmp_path / name, domain="n")


def test_a_name_with_a_dot_is_no_nested_column(tmp_path: Path) -> None:
    nested = pa.array([{"text": "inner"}] * 3)
    table = pa.table({"a": nested, "a.text": ["dotted"] * 3, "text": TEXTS})
    pq.write_table(table, tmp_path / "pool.parquet")
    assert read(tmp_path / "pool.parquet").corpus.texts == TEXTS
    assert set(read(tmp_path / "pool.parquet", text="a.text").corpus.texts) == {"dotted"}


def test_times_are_text_without_another_library(tmp_path: Path) -> None:
    moment = datetime.datetime(2024, 5, 6, 7, 8, 9)
    nano = pa.array([1_714_979_289_000_000_001], pa.timestamp("ns", "Europe/Berlin"))
    table = pa.table({"text": ["a"], "day": [moment.date()], "at": [moment], "nano": nano})
    pq.write_table(table, tmp_path / "pool.parquet")
    found = {
        name: read(tmp_path / "pool.parquet", domain=name).corpus.domains[0]
        for name in ("day", "at", "nano")
    }
    assert found["day"] == "2024-05-06" and found["at"].startswith("2024-05-06 07:08:09")
    assert found["nano"] == "2024-05-06 07:08:09.000000001"


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda path: path.symlink_to("/dev/null"), "a character device"),
        (lambda path: path.symlink_to("/dev/zero"), "a character device"),
        (os.mkfifo, "a FIFO"),
    ],
    ids=["null", "zero", "fifo"],
)
@pytest.mark.parametrize("suffix", [".jsonl", ".csv.gz", ".parquet", ".txt"])
def test_what_is_no_regular_file_is_refused_at_once(
    tmp_path: Path, make: Callable[[Path], None], found: str, suffix: str
) -> None:
    make(tmp_path / f"pool{suffix}")
    with pytest.raises(
        InvalidInput, match=rf"pool{suffix}: expected a regular file, found {found}"
    ):
        read(tmp_path / f"pool{suffix}")
    with pytest.raises(InvalidInput, match="regular file"):
        file_digest(tmp_path / f"pool{suffix}")


def limited(path: Path, longest_mb: int = 1, expansion: int = 200) -> Loaded:
    reading = Reading(longest_mb=longest_mb, expansion=expansion, group="pool")
    return read_files([path], Columns(), reading=reading)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".txt", ".tsv"])
def test_a_line_without_end_is_refused_by_its_number(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"pool{suffix}"
    path.write_bytes(b"text\n\n")
    with path.open("ab") as stream:
        stream.truncate(1 << 34)  # zeros that take no room
    with pytest.raises(InvalidInput, match=r"more than 1 MB .* line 3; .*set pool\.longest_mb=N"):
        limited(path)


@pytest.mark.parametrize("name", ["pool.jsonl.gz", "pool.csv.zst", "pool.txt.gz"])
def test_what_unpacks_to_too_much_is_refused(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shortlist.data.files._FREE", 1 << 14)
    raw = b'{"text": "a"}\n' + b"\n" * (1 << 18)
    codec = "gzip" if name.endswith(".gz") else "zstd"
    with pa.output_stream(str(tmp_path / name), compression=codec) as stream:
        stream.write(raw)
    with pytest.raises(InvalidInput, match=rf"{name}: .*unpacks to more than .*pool\.expansion=N"):
        limited(tmp_path / name)
    if ".jsonl" in name:
        assert limited(tmp_path / name, expansion=100_000).corpus.texts == ["a"]


def test_a_long_window_of_zstd_is_named(tmp_path: Path) -> None:
    raw = b'{"text": "a"}\n'
    path = tmp_path / "pool.jsonl.zst"
    for exponent in (22, 31):  # of the window: zstd, zstd --long=31 (RFC 8878, section 3.1.1)
        header = b"\x28\xb5\x2f\xfd\x00" + bytes([(exponent - 10) << 3])
        path.write_bytes(header + ((len(raw) << 3) | 1).to_bytes(3, "little") + raw)
        if exponent == 22:
            assert read(path).corpus.texts == ["a"]
    with pytest.raises(
        InvalidInput, match=r"pool\.jsonl\.zst: .*zstd with a long window.*--long=31"
    ):
        read(path)


def test_utf16_is_named(tmp_path: Path) -> None:
    (tmp_path / "pool.csv").write_bytes("text\na\n".encode("utf-16"))
    with pytest.raises(InvalidInput, match=r"pool\.csv: expected UTF-8, found UTF-16"):
        read(tmp_path / "pool.csv")


def test_a_text_file_of_one_document_a_line_is_hinted_at_and_read(tmp_path: Path) -> None:
    path = tmp_path / "pool.TXT"
    path.write_text("".join(f"document {n}\n" for n in range(60)))
    loaded = read_files([path], Columns(), reading=Reading(group="pool"))
    assert loaded.counts["kept"] == 1
    (hint,) = loaded.warnings
    assert "read as 1 documents of 60 lines" in hint and "pool.lines=true" in hint
    by_line = read_files([path], Columns(), reading=Reading(lines=True, group="pool"))
    assert by_line.counts["kept"] == 60 and by_line.warnings == ()
    path.write_text("a poem\nof two lines\n\nand\nanother\n")
    assert read(path).warnings == ()


def test_a_name_that_stands_twice_in_an_object_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    path.write_text('{"text": "a", "text": "b"}\n{"text": "c", "n": {"text": 1}}\n')
    loaded = read(path)
    assert loaded.corpus.texts == ["c"]
    assert loaded.quarantined[0].reason == "the name 'text' stands twice"


def test_numbers_of_hundreds_of_digits_are_rejected_rows(tmp_path: Path) -> None:
    path = tmp_path / "pool.jsonl"
    path.write_text(f'{{"text": "a", "n": {"9" * 400}}}\n{{"text": "b", "n": 1}}\n')
    for column in ({"mass": "n"}, {"toxicity": "n"}, {"label": "n", "numeric": True}):
        assert [bad.line for bad in read(path, **column).quarantined] == [1]


def test_columns_and_domains_that_look_like_numbers_are_names(tmp_path: Path) -> None:
    path = tmp_path / "pool.csv"
    path.write_text("0,1\na,2024\n")
    loaded = read(path, text="0", domain="1")
    assert (loaded.corpus.texts, loaded.corpus.domains) == (["a"], ["2024"])
    pq.write_table(pa.table({"0": ["a", "b"], "1": [2024, None]}), tmp_path / "pool.parquet")
    found = read_files(
        [tmp_path / "pool.parquet"], Columns(text="0", domain="1"), default_domain="pool"
    )
    assert found.corpus.domains == ["2024", "pool"]
