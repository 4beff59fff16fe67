"""`shortlist drift` on files, on the log of a server and on a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import toy
from test_feedback_commands import typed, write_log

pytestmark = pytest.mark.whole


def write(path: Path, *topics: str, seed: int = 1, n: int = 12) -> Path:
    texts = [text for topic in topics for text in toy.sentences(topic, n, seed)]
    return toy.write_jsonl(path, [{"text": text} for text in texts])


QUICK = ("--permutations", 19, "--clusters", 3)


def test_new_topics_are_found_in_their_cluster_and_old_ones_are_no_drift(
    small: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = write(tmp_path / "old.jsonl", "sailing", "baking")
    same = write(tmp_path / "same.jsonl", "sailing", "baking", seed=2)
    moved = write(tmp_path / "moved.jsonl", "sailing", "stars", seed=2)
    page = tmp_path / "drift.html"
    code, out, err = typed(capsys, "drift", old, moved, "--out", page, *QUICK, "--", *small)
    assert code == 0, err
    assert out.startswith(
        "The new texts differ from the old ones (24 old and 24 new texts, p = 0.05)"
    )
    assert "elect again" in out and "24 old rows read" in out
    text = page.read_text(encoding="utf-8")
    assert text.count("<svg") == 2 and "Cluster 1" in text
    code, out, err = typed(capsys, "drift", old, moved, "--json", *QUICK, "--", *small)
    found = json.loads(out)
    assert found["drift"] is True and found["p"] == 0.05 and found["vectors"] == "static"
    assert sum(one["old"] for one in found["clusters"]) == 24
    new_texts = {json.loads(line)["text"] for line in moved.read_text().splitlines()}
    assert all(set(one["new_texts"]) <= new_texts for one in found["clusters"])
    code, out, _ = typed(capsys, "drift", old, same, "--json", *QUICK, "--", *small)
    found = json.loads(out)
    assert found["drift"] is False and "no reason to select again" in found["sentence"]
    low, high = found["null_interval"]
    assert low <= found["divergence"] <= high


def test_a_log_is_compared_with_the_training_texts_of_a_run(
    run: Any, small: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, directory = run("selector=random", "advice=null")
    texts = [
        *toy.sentences("stars", 20, 6),
        *toy.sentences("stars", 5, 6),
    ]  # five were served twice
    rows = [(str(n), [text], "sailing", 0.5) for n, text in enumerate(texts)]
    log = write_log(tmp_path / "log.sqlite", rows, [])
    code, out, err = typed(
        capsys, "drift", directory, log, "--json", "--documents", 20, *QUICK, "--", *small
    )
    assert code == 0, err
    found = json.loads(out)
    assert found["drift"] is True
    assert found["counts"] == {
        "old_training_texts": 24, "old_sampled": 20,
        "new_rows_read": 25, "new_kept": 20, "new_exact_copies": 5, "new_sampled": 20,
    }  # fmt: skip


def test_personal_data_that_a_log_has_masked_is_no_drift(
    small: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [f"{text}, joe{n}@example.org" for n, text in enumerate(toy.sentences("stars", 12, 6))]
    old = toy.write_jsonl(tmp_path / "old.jsonl", [{"text": text} for text in texts])
    rows = [(str(n), [text], "sailing", 0.5) for n, text in enumerate(texts)]
    log = write_log(tmp_path / "log.sqlite", rows, [])
    code, out, err = typed(capsys, "drift", old, log, "--json", *QUICK, "--", *small)
    assert code == 0, err
    found = json.loads(out)
    assert found["counts"]["old_masked"] == 12 and found["divergence"] == pytest.approx(0, abs=1e-6)


def test_sides_that_cannot_be_compared_are_refused_in_one_line(
    small: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write(tmp_path / "old.jsonl", "sailing")
    (tmp_path / "empty.jsonl").write_bytes(b"")
    (tmp_path / "damaged.sqlite").write_bytes(b"SQLite format 3\x00" + bytes(200))
    toy.write_jsonl(tmp_path / "one.jsonl", [{"text": "rope"}])
    log = write_log(tmp_path / "empty.sqlite", [], [])
    cases = (
        ((good, tmp_path / "none.jsonl"), "expected a file, found none"),
        ((good, tmp_path / "empty.jsonl"), "found none"),
        ((good, tmp_path / "damaged.sqlite"), "expected the log of shortlist serve"),
        ((good, log), "found a log without any"),
        ((good, tmp_path / "one.jsonl"), "two texts or more"),
        ((good, good, "--permutations", 3), "expected 19 or more"),
        ((good, good, "--vectors", "nothing"), "nothing"),
        ((good, good, "--vectors", "gradients"), "nothing has to be learned"),
        ((good, good, "--documents", 1), "expected 2 or more"),
        ((good, good, "-c", "body"), "body"),
    )
    for arguments, reason in cases:
        code, out, err = typed(capsys, "drift", *arguments, "--", *small)
        assert code == 1 and out == "", arguments
        assert err.startswith("error:") and err.count("\n") == 1 and reason in err, err
