"""Files by paths, patterns and folders: each real file once, and what is left out is counted."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shortlist.data.finding import find
from shortlist.data.pools import Files
from shortlist.data.readers import silent
from shortlist.data.sources import LocalSource
from shortlist.errors import InvalidInput, Missing

Write = Callable[..., Path]
NOWHERE = LocalSource(None)
ROWS: list[dict[str, object]] = [{"text": f"document {n}"} for n in range(6)]


def names(*patterns: str) -> list[str]:
    return [file.path.name for file in find(patterns, "pool.paths").files]


def test_a_path_that_exists_is_no_pattern(write: Write, tmp_path: Path) -> None:
    path = write("data [v1]/pool.jsonl", ROWS)
    assert names(str(path)) == ["pool.jsonl"]
    write("data v/pool.jsonl", ROWS[:1])
    assert Files([str(path)]).load(NOWHERE, silent).counts["kept"] == 6


def test_a_tilde_is_the_home_folder(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("pool/a.jsonl", ROWS)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert names("~/pool/*.jsonl") == names("~/pool/a.jsonl") == ["a.jsonl"]
    with pytest.raises(Missing, match=f"{tmp_path}/none/"):
        names("~/none/*.jsonl")


@pytest.mark.parametrize("address", ["s3://bucket/pool/*.parquet", "hf://datasets/x", "gs://b/a"])
def test_another_file_system_is_refused(address: str) -> None:
    with pytest.raises(InvalidInput, match=r"pool\.paths: .*only local files are read"):
        names(address)


def test_a_markdown_file_is_one_document_but_none_beside_other_files(tmp_path: Path) -> None:
    for name in ("a.md", "below/b.md", "below/blank.md"):
        path = tmp_path / "notes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("" if "blank" in name else f"# {name}\n\nfirst\n\n\nsecond\n")
    loaded = Files([f"{tmp_path}/notes"]).load(NOWHERE, silent)
    assert sorted(loaded.corpus.texts) == [
        f"# {name}\n\nfirst\n\n\nsecond" for name in ("a.md", "below/b.md")
    ]
    assert set(loaded.corpus.domains) == {"notes"} and loaded.counts["empty_files"] == 1
    (tmp_path / "notes/pool.txt").write_text("a document\n")
    for pattern in ("notes", "notes/**"):
        loaded = Files([f"{tmp_path}/{pattern}"]).load(NOWHERE, silent)
        assert list(loaded.corpus.texts) == ["a document"]
        assert loaded.counts["files_skipped"] == 3
    assert names(f"{tmp_path}/notes/**/*.md") == ["a.md", "b.md", "blank.md"]
    (tmp_path / "notes/a.md").write_bytes("caf\u00e9".encode("latin-1"))
    with pytest.raises(InvalidInput, match=r"no UTF-8 at byte 3 of the file; convert.*iconv"):
        Files([f"{tmp_path}/notes/*.md"]).load(NOWHERE, silent)


def test_a_folder_of_parts_is_one_data_set_and_its_markers_are_counted(
    write: Write, tmp_path: Path
) -> None:
    for part in range(2):
        write(f"out.parquet/part-{part}.parquet", ROWS[3 * part :][:3])
    for marker in ("_SUCCESS", "._part-0.parquet", ".part-0.parquet.crc"):
        (tmp_path / "out.parquet" / marker).write_bytes(b"")
    for pattern in ("out.parquet", "out.parquet/", "*.parquet"):
        loaded = Files([f"{tmp_path}/{pattern}"]).load(NOWHERE, silent)
        assert loaded.counts["kept"] == 6 and loaded.counts["files_skipped"] == 3
        assert set(loaded.corpus.domains) == {"out"}


@pytest.mark.parametrize(
    "pattern", ["out", "out/*/part-0.parquet", "out/**/*.parquet", "out/lang=*"]
)
def test_the_folders_of_hive_are_columns(write: Write, tmp_path: Path, pattern: str) -> None:
    for lang in ("en", "de", "__HIVE_DEFAULT_PARTITION__"):
        write(f"out/lang={lang}/part-0.parquet", [{"text": f"in {lang}"}])
    typed = f"{tmp_path}/{pattern}"
    loaded = Files([typed], domain="lang").load(NOWHERE, silent)
    found = dict(zip(loaded.corpus.texts, loaded.corpus.domains, strict=True))
    assert found == {"in en": "en", "in de": "de", "in __HIVE_DEFAULT_PARTITION__": "out"}
    assert set(Files([typed]).load(NOWHERE, silent).corpus.domains) == {"out"}


def test_another_key_of_a_folder_is_another_identity_where_it_is_read(
    write: Write, tmp_path: Path
) -> None:
    for run, lang in (("a", "en"), ("b", "de")):
        write(f"{run}/out/lang={lang}/part-0.jsonl", ROWS)
    read = [
        [Files([f"{tmp_path}/{run}/out"], domain=domain).identity(NOWHERE) for run in "ab"]
        for domain in ("lang", None)
    ]
    assert read[0][0] != read[0][1] and read[1][0] == read[1][1]


def test_an_empty_part_among_full_ones_is_counted(write: Write, tmp_path: Path) -> None:
    write("pool/a.jsonl", ROWS)
    for name in ("b.jsonl", "c.csv", "d.txt"):
        (tmp_path / "pool" / name).touch()
    (tmp_path / "pool/e.csv").write_text("id,text\n")
    empty = pa.table({"text": pa.array([], pa.string())})
    pq.write_table(empty, tmp_path / "pool/f.parquet")
    loaded = Files([f"{tmp_path}/pool/*"]).load(NOWHERE, silent)
    assert (loaded.counts["kept"], loaded.counts["empty_files"]) == (6, 5)
    with pytest.raises(InvalidInput, match=r"b\.jsonl: expected rows .* found none"):
        Files([f"{tmp_path}/pool/[b-e].*"]).load(NOWHERE, silent)


def test_a_file_is_read_once_however_it_is_spelled_or_linked(write: Write, tmp_path: Path) -> None:
    path = write("pool/a.jsonl", [{"text": "a", "n": 2.0}])
    (tmp_path / "pool/loop").symlink_to(tmp_path / "pool")
    (tmp_path / "pool/other").symlink_to(tmp_path / "pool")
    (tmp_path / "pool/b.jsonl").symlink_to(path)
    os.link(path, tmp_path / "pool/c.jsonl")
    spelled = [f"{tmp_path}/pool/**/*.jsonl", f"{tmp_path}/pool/../pool/a.jsonl", str(path)]
    found = find(spelled, "pool.paths")
    assert [file.name for file in found.files] == ["a"] and found.counts["files_repeated"] >= 2
    loaded = Files(spelled, mass="n").load(NOWHERE, silent)
    assert loaded.counts["rows_read"] == 1
    assert loaded.corpus.masses is not None and loaded.corpus.masses.tolist() == [2.0]


def test_any_depth_is_the_folder_itself_and_all_below(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.jsonl", "x/b.jsonl", "x/y/c.jsonl", ".hidden/d.jsonl"):
        write(name, ROWS)
    expected = ["a.jsonl", "b.jsonl", "c.jsonl"]
    assert names(f"{tmp_path}/**/*.jsonl") == expected
    assert names(f"{tmp_path}/**") == expected
    assert names(f"{tmp_path}/**/y/**/*.jsonl") == ["c.jsonl"]
    monkeypatch.chdir(tmp_path)
    assert names("**/*.jsonl") == expected and names("x/**/*.jsonl") == expected[1:]


def test_a_name_that_is_no_utf8_is_named_and_read(write: Write, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.jsonl"
    with open(path, "wb") as stream:  # noqa: PTH123
        stream.write(b'{"text": "a"}\nbroken\n')
    pool = Files([f"{tmp_path}/*.jsonl"])
    loaded = pool.load(NOWHERE, silent)
    assert loaded.corpus.domains == ["caf\\xe9"]
    assert loaded.quarantined[0].path.endswith("caf\\xe9.jsonl")
    assert list(pool.identity(NOWHERE)) == ["caf\\xe9"]


@pytest.mark.parametrize(
    ("name", "found"),
    [("x" * 300 + ".jsonl", "too long"), ("a\0b.jsonl", "null byte"), ("loop.jsonl", "symbolic")],
)
def test_a_path_that_cannot_be_looked_up_is_refused(tmp_path: Path, name: str, found: str) -> None:
    (tmp_path / "loop.jsonl").symlink_to(tmp_path / "loop.jsonl")
    with pytest.raises(InvalidInput, match=found):
        names(f"{tmp_path}/{name}")


def test_a_folder_among_the_matches_of_a_pattern_is_no_file(write: Write, tmp_path: Path) -> None:
    write("pool/sub/a.jsonl", ROWS)
    with pytest.raises(InvalidInput, match="sub: expected a file, found a folder"):
        names(f"{tmp_path}/pool/*")
    (tmp_path / "bare").mkdir()
    with pytest.raises(Missing, match=r"that end in one of \.jsonl"):
        names(f"{tmp_path}/bare")
