"""Damaged files of a finished cell: a taste of `make soak` (tests/soak/damage.py)."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from soak.damage import damage
from soak.ground import difference, digests, numbers

from shortlist.store import cache, manifest

pytestmark = pytest.mark.whole


def test_every_damaged_artifact_is_computed_again_to_the_same_bytes(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    typed, random_ = ("until=select", "selector=random", "advice=null"), random.Random(0)
    run(*typed)
    whole, said = digests(tmp_path / "cache"), numbers(tmp_path / "results")
    for artifact in sorted((tmp_path / "cache").glob("*/[!.]*/")):
        files = [path for path in sorted(artifact.rglob("*")) if path.is_file()]
        damage(random_.choice(files), random_)
    monkeypatch.setattr(cache, "_computed", set())  # as another process
    monkeypatch.setattr(manifest, "_digests", {})
    caplog.clear()
    record, _ = run(*typed)
    again = [line for line in caplog.messages if line.endswith("; computing the stage again")]
    assert (record.status, len(again)) == ("done", len(record.stages))
    assert difference(digests(tmp_path / "cache"), whole) == ""
    assert numbers(tmp_path / "results") == said
