"""What is odd about files of the user's own stands in the record, and odd files do not stop a cell."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cells
import pytest
import toy

from shortlist.core import Record

pytestmark = pytest.mark.whole

Run = Callable[..., Record]


@pytest.fixture
def record(small: tuple[str, ...], tmp_path: Path, composed: Callable[..., Any]) -> Run:
    """A function from overrides to the record of a cell that selects three documents at random."""
    typed = ("selector=random", "until=select", "advice=null", "pool=files", "task=own", "budget=3")

    def run(*more: str) -> Record:
        config = copy.deepcopy(composed(*small, *typed, *more))
        return cells.execute(config, tmp_path / "runs" / "1")

    return run


def labelled(path: Path) -> str:
    rows = [
        {"text": text, "label": topic}
        for topic in ("sailing", "music")
        for text in toy.sentences(topic, 20)
    ]
    return str(toy.write_jsonl(path, rows))


def test_train_repeated_in_test_and_unbalanced_quotes_are_warnings_of_the_record(
    record: Run, tmp_path: Path
) -> None:
    lab = labelled(tmp_path / "lab.jsonl")
    pool = tmp_path / "pool.csv"
    rows = "".join(f"{n},case {n} of a study\n" for n in range(30))
    pool.write_text("id,text\n" + rows.replace("4,c", '4,"c', 1))
    made = record(
        f"task.train={lab}", f"task.test={lab}", "task.label=label", f"pool.paths=[{pool}]"
    )
    assert made.counts["pool_kept"] == 29 and made.counts["pool_quotes_unbalanced"] == 1
    repeated = [made.counts[f"task_test_repeats_{of}_exact"] for of in ("train", "validation")]
    assert sum(repeated) == made.counts["task_test"] == 40
    quotes, overlap = sorted(made.warnings, key=len)
    assert quotes.startswith("pool.csv: 1 lines with unbalanced quotes") and "lenient" in quotes
    assert f"{repeated[0]} of 40 test examples repeat train examples" in overlap
    assert all(str(tmp_path) not in warning for warning in made.warnings)


def test_a_pool_of_odd_names_parts_and_links_is_read_once(record: Run, tmp_path: Path) -> None:
    lab = labelled(tmp_path / "lab.jsonl")
    folder = tmp_path / "pool [1]"
    toy.write_jsonl(
        folder / "lang=en" / "part-0.jsonl", [{"text": f"in English {n}"} for n in range(9)]
    )
    toy.write_jsonl(
        folder / "lang=de" / "part-0.jsonl", [{"text": f"auf Deutsch {n}"} for n in range(9)]
    )
    (folder / "lang=de" / "part-1.jsonl").touch()
    (folder / "_SUCCESS").touch()
    (folder / "loop").symlink_to(folder)
    with open(os.fsencode(folder) + b"/caf\xe9.txt", "wb") as stream:  # noqa: PTH123
        stream.write(b"one line\n" * 25)
    made = record(f"task.train={lab}", f"pool.paths=['{folder}']", "pool.domain=lang")
    counts = {name: made.counts.get(f"pool_{name}") for name in ("kept", "rows_read")}
    assert counts == {"kept": 19, "rows_read": 19}
    assert made.counts["pool_empty_files"] == made.counts["pool_files_skipped"] == 1
    (hint,) = made.warnings
    assert hint.startswith("caf\\xe9.txt: read as 1 documents of 25 lines")
