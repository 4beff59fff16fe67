"""`shortlist prepare` and `shortlist check` as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import toy

from shortlist.cli import main

pytestmark = pytest.mark.whole


@pytest.fixture
def posts(tmp_path: Path) -> Path:
    rows = [
        {"text": "I wrote to <b>ann@example.org</b> about the boat &amp; the harbour yesterday."},
        {"text": "I wrote to ann@example.org about the boat & the harbour yesterday."},
        {"text": "short"},
        {"text": "The night was clear and we could see the comet above the roofs of the town."},
    ]
    return toy.write_jsonl(tmp_path / "posts.jsonl", rows)


def test_prepare_writes_documents_and_a_page_and_counts_rows(
    posts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, report = tmp_path / "clean.parquet", tmp_path / "prep.html"
    typed = ["prepare", str(posts), "-p", "forum", "-p", "anonymise", "--out", str(out)]
    assert main([*typed, "--report", str(report), "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)
    assert (counts["rows_read"], counts["kept"], counts["documents"]) == (4, 2, 2)
    assert counts["failed.length.too_few_words"] == 1 and counts["edited.anonymise"] == 1
    assert counts["personal_data"] == {"email": {"replaced": 1, "documents": 1}}
    texts = pq.read_table(out)["text"].to_pylist()
    assert "I wrote to [EMAIL_1] about the boat & the harbour yesterday." in texts
    page = report.read_text()
    assert "Personal data" in page and "email" in page and "Report of a preparation" in page


@pytest.mark.parametrize("pool", ["{}", "{}/*.jsonl", "{}/posts.jsonl"])
def test_no_command_writes_over_what_it_reads(
    posts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], pool: str
) -> None:
    before, named = posts.read_bytes(), pool.format(tmp_path)
    commands = [
        ["prepare", named, "--out", str(posts)],
        ["score", named, "--scorer", "any", "--out", str(posts)],
        ["select", named, "--target", "other.jsonl", "--budget", "1", "--out", str(posts)],
        ["select", "other.jsonl", "--target", str(posts), "--budget", "1", "--out", str(posts)],
    ]
    for command in commands:
        assert main(command) == 1
        assert "found one of the files that are read; name another" in capsys.readouterr().err
    assert posts.read_bytes() == before


def test_prepare_that_keeps_nothing_writes_no_documents(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool, out = toy.write_jsonl(tmp_path / "pool.jsonl", [{"text": "short"}]), tmp_path / "o.jsonl"
    assert main(["prepare", str(pool), "-p", "forum", "--out", str(out)]) == 1
    assert "expected documents to write, found none of 1 kept" in capsys.readouterr().err
    assert not out.exists()


def test_prepare_names_the_files_without_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], posts: Path
) -> None:
    pytest.importorskip("pypdf")
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.4")
    assert main(["prepare", str(posts), str(tmp_path / "broken.pdf"), "-p", "none"]) == 0
    out = capsys.readouterr().out
    assert "4 documents read, 4 kept" in out and "left out before: 1 quarantined" in out
    assert f"{tmp_path}/broken.pdf:1: a damaged PDF file" in out


def test_prepare_refuses_an_unknown_preset_in_one_line(
    posts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prepare", str(posts), "--preset", "forun"]) == 1
    assert (
        "there is no operation or preset `forun`; did you mean `forum`" in capsys.readouterr().err
    )


def test_operations_are_named_in_one_place(posts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", str(posts), "-p", "length", "--", "pool.prepare=[forum]"]) == 1
    assert "found --preset length and -- pool.prepare=[forum]" in capsys.readouterr().err
    assert (
        main(["prepare", str(posts), "--", "pool.prepare=[{length: {min_words: 9, max_words: 2}}]"])
        == 1
    )
    assert "expected min_words of at most max_words, found 9 and 2" in capsys.readouterr().err
    assert main(["prepare", str(posts), "--", "pool.prepare=[{length: {min_words: -1}}]"]) == 1
    assert "min_words" in capsys.readouterr().err


def test_collect_refuses_options_that_chats_do_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["collect", "chats", str(tmp_path / "c.jsonl"), "--out", str(tmp_path / "o.jsonl")]
    assert main([*typed, "--question", "topic"]) == 1
    assert "chats have no --text-column and no --question" in capsys.readouterr().err


def test_check_writes_a_page_and_all_findings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [
        {"text": f"{text} {row}", "label": topic}
        for topic in ("music", "stars")
        for row, text in enumerate(toy.sentences(topic, 40))
    ]
    path = toy.write_jsonl(tmp_path / "own.jsonl", rows)
    typed = [f"task.train={path}", "task.label=label", "runtime.progress=false"]
    assert main(["check", "own", "--", *typed]) == 0
    said = capsys.readouterr().out
    assert "likely label errors" in said and "check-own.html" in said
    found = json.loads((tmp_path / "check-own.json").read_text())
    assert found["counts"]["contradictory_texts"] == 0 and sum(found["sizes"].values()) == 80
    assert (
        main(["check", "own", "--", *typed, "task.split.by=text", "task.split.test_share=0.5"]) == 0
    )
    assert json.loads((tmp_path / "check-own.json").read_text())["sizes"]["test"] == 40
    assert main(["check", "own", "--", *typed, "task.folds=5", "fold=9"]) == 1
    assert "expected a fold from 0 to 4, found fold=9" in capsys.readouterr().err
