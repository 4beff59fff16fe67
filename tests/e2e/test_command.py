"""`python -m shortlist` as a process of its own, in a folder without a checkout."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import toy

pytestmark = pytest.mark.whole


def test_a_process_reads_a_pipe_writes_a_file_and_ends_with_its_code(tmp_path: Path) -> None:
    toy.write_jsonl(tmp_path / "target.jsonl", [{"text": t} for t in toy.sentences("stars", 4)])
    pool = toy.write_jsonl(
        tmp_path / "pool.jsonl", [{"text": t} for t in toy.sentences("music", 9)]
    )

    def typed(*words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "shortlist", "select", *words, "--", "runtime.report=false"],
            cwd=tmp_path, env={**os.environ, "PYTHONWARNINGS": "error::ResourceWarning"},
            input=pool.read_bytes(), capture_output=True, check=False,
        )  # fmt: skip

    shared = ("-", "--target", "target.jsonl", "-m", "random", "-n")
    done = typed(*shared, "3", "--out", "picks.csv")
    assert (done.returncode, done.stderr) == (0, b"") and b"3 of 9 documents" in done.stdout
    with (tmp_path / "picks.csv").open(encoding="utf-8", newline="") as file:
        assert {row["domain"] for row in csv.DictReader(file)} == {"stdin"}
    refused = typed(*shared, "99")
    assert refused.returncode == 1 and refused.stdout == b""
    assert refused.stderr.startswith(b"error: --budget 99 documents is more than the pool's 9")
    assert {path.name for path in tmp_path.iterdir()} == {
        ".cache", "outputs", "picks.csv", "pool.jsonl", "target.jsonl",
    }  # fmt: skip
