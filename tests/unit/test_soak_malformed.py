"""A taste of the soak of malformed files."""

from __future__ import annotations

from pathlib import Path

import pytest
from soak import malformed

from shortlist.data.pools import Files
from shortlist.data.readers import silent
from shortlist.data.sources import LocalSource


def test_malformed_files_are_read_with_every_row_accounted_for_or_refused_by_name(
    tmp_path: Path,
) -> None:
    found = malformed.taste(seed=5, tries=30, scratch=tmp_path)
    assert found.held, found.notes
    assert found.tried >= 60 and found.located > 10 and found.quarantined > 10


@pytest.mark.parametrize(
    ("ended", "kind"),
    [
        (KeyError("raw"), "tracebacks"),
        (AssertionError("rows merged"), "lost"),
        (malformed.ShortlistError("of another file"), "lost"),
        (malformed.ShortlistError("of pool.csv, which is broken"), "located"),
    ],
)
def test_how_a_try_ends_is_counted(ended: Exception, kind: str) -> None:
    tally = malformed.Tally()

    def attempt() -> int:
        raise ended

    tally.add("a try", Path("pool.csv"), attempt, "pool.csv")
    assert tally.counts == {"tried": 1, kind: 1}
    assert len(tally.notes) == (kind != "located")


def test_good_files_are_read_whole(tmp_path: Path) -> None:
    for name, raw in malformed.seeds().items():
        path = tmp_path / f"good{name}"
        path.write_bytes(raw)
        if name.startswith("v"):
            continue
        counts = Files([str(path)]).load(LocalSource(None), silent).counts
        assert counts["kept"] == (1 if name in (".txt.zst", ".pdf") else malformed.ROWS)
        assert counts["quarantined"] == 0
    assert malformed.read_vectors(tmp_path / "goodv.npy", tmp_path) == 0
    assert malformed.read_vectors(tmp_path / "goodv.parquet", tmp_path) == 0
