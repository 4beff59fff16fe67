"""PDF and HTML files: one document each, and one reason each for those without text."""

from __future__ import annotations

import builtins
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import pdf

from shortlist.data.files import Reading, is_whole
from shortlist.data.finding import find
from shortlist.data.pages import NoText, html_text, pdf_text
from shortlist.data.readers import Columns, read_files
from shortlist.errors import InvalidInput, Missing

pypdf = pytest.importorskip("pypdf")
MOST = 1 << 20


def encrypted(raw: bytes, password: str) -> bytes:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(raw))
    writer.encrypt(password, "owner", algorithm="RC4-128")
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


GOOD = pdf("A harbour at night", "and its boats")


def test_pages_are_joined_and_a_file_without_a_user_password_is_read() -> None:
    assert pdf_text(GOOD, MOST) == "A harbour at night\n\nand its boats"
    assert pdf_text(encrypted(GOOD, ""), MOST) == pdf_text(GOOD, MOST)


@pytest.mark.parametrize(
    ("raw", "most", "reason"),
    [
        (encrypted(GOOD, "secret"), MOST, "protected by a password"),
        (pdf("", ""), MOST, "2 pages and no text, as of a scan"),
        (GOOD, 20, "more than 20 characters of text"),
        (b"%PDF-1.4\n", MOST, "a damaged PDF file"),
        (b"no PDF at all", MOST, "a damaged PDF file"),
        (GOOD.replace(b"/Kids[3 0 R", b"/Kids[2 0 R"), MOST, "damaged|no text"),
    ],
)
def test_a_file_without_text_has_a_reason(raw: bytes, most: int, reason: str) -> None:
    with pytest.raises(NoText, match=reason):
        pdf_text(raw, most)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=12),
       st.integers(0, len(GOOD)))  # fmt: skip
def test_a_damaged_file_has_text_or_a_reason(edits: list[tuple[int, int]], stop: int) -> None:
    raw = bytearray(GOOD)
    for place, value in edits:
        raw[place] = value
    try:
        assert pdf_text(bytes(raw[:stop]), MOST).strip()
    except NoText as reason:
        assert len(str(reason)) < 250 and "\n" not in str(reason)


def test_files_of_a_pool_are_one_document_each_and_the_others_are_counted(tmp_path: Path) -> None:
    for name, raw in {
        "a.pdf": GOOD, "b.PDF": pdf("Bread and butter"), "locked.pdf": encrypted(GOOD, "x"),
        "scan.pdf": pdf(""), "broken.pdf": GOOD[:200], "empty.pdf": b"",
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(raw)
    found = find([str(tmp_path)], "pool.paths")
    loaded = read_files(found.files, Columns())
    assert sorted(loaded.corpus.texts) == [
        "A harbour at night\n\nand its boats",
        "Bread and butter",
    ]
    assert set(loaded.corpus.domains) == {tmp_path.name}
    assert dict(loaded.counts) == {
        "rows_read": 5, "kept": 2, "quarantined": 3, "exact_copies": 0, "empty_files": 1,
    }  # fmt: skip
    assert {Path(row.path).name: row.reason.split()[0] for row in loaded.quarantined} == {
        "locked.pdf": "protected", "scan.pdf": "1", "broken.pdf": "a",
    }  # fmt: skip


def test_a_pool_without_any_text_names_the_first_reason(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.pdf").write_bytes(pdf(""))
    files = find([str(tmp_path)], "pool.paths").files
    with pytest.raises(
        InvalidInput, match=r"a\.pdf: expected a document, found 1 pages .*; 1 more files"
    ):
        read_files(files, Columns())


def test_a_file_larger_than_the_limit_is_counted_and_not_opened(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(GOOD)
    (tmp_path / "large.pdf").write_bytes(GOOD + b" " * MOST)
    files = find([str(tmp_path)], "pool.paths").files
    loaded = read_files(files, Columns(), reading=Reading(longest_mb=1, group="pool"))
    (rejected,) = loaded.quarantined
    assert rejected.reason == "more than 1 MB; part it or set pool.longest_mb=N"


def test_pages_beside_rows_are_skipped_unless_they_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "a row"}\n')
    (tmp_path / "paper.pdf").write_bytes(GOOD)
    found = find([str(tmp_path)], "pool.paths")
    assert [file.path.name for file in found.files] == ["rows.jsonl"]
    assert found.counts["files_skipped"] == 1
    asked = find([f"{tmp_path}/*.pdf"], "pool.paths")
    assert [file.path.name for file in asked.files] == ["paper.pdf"]
    assert is_whole("x.HTML") and is_whole("x.htm") and not is_whole("x.txt")


@pytest.mark.parametrize(("kind", "read"), [("PDF", pdf_text), ("HTML", html_text)])
def test_a_missing_package_is_named_with_its_extra(
    kind: str, read: Callable[[bytes, int], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = builtins.__import__

    def absent(name: str, *arguments: Any, **named: Any) -> Any:
        if name in ("pypdf", "trafilatura"):
            raise ImportError(f"No module named {name!r}", name=name)
        return whole(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(Missing, match=rf"{kind} files need packages .*pip install 'shortlist\[doc"):
        read(b"x", MOST)


PAGE = (
    "<html><head><title>Boats</title><script>var x = 1;</script></head><body><nav><a href='/'>Menu</a>"
    "</nav><article><h1>Boats</h1><p>{}</p></article><footer>All rights reserved</footer></body></html>"
)
SENTENCES = "The boats of the harbour lie at their moorings, and the café is open. " * 6


def _has_trafilatura() -> bool:
    try:
        import trafilatura  # noqa: F401
    except ImportError:  # of a package that it needs, too
        return False
    return True


@pytest.mark.skipif(not _has_trafilatura(), reason="trafilatura cannot be imported")
class TestHtml:
    @pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
    def test_the_main_text_alone_is_read(self, encoding: str) -> None:
        text = html_text(PAGE.format(SENTENCES).encode(encoding), MOST)
        assert text.count("the café is open") == 6
        assert not any(word in text for word in ("Menu", "var x", "rights reserved", "<p>"))

    @pytest.mark.parametrize(
        "raw", [b"<html></html>", b"\x00\x01\x02" * 99, b"<div>" * 20_000 + b"deep", b" "]
    )
    def test_a_page_without_main_text_has_a_reason(self, raw: bytes) -> None:
        with pytest.raises(NoText, match=r"no main text|damaged"):
            html_text(raw, MOST)

    def test_a_page_of_too_much_text_has_a_reason(self) -> None:
        with pytest.raises(NoText, match="more than 100 characters"):
            html_text(PAGE.format(SENTENCES).encode(), 100)
