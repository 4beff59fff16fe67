"""Scorer files of whole cells: the record, the run's directory, and that nothing else moves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cells
import numpy as np
import pytest

from shortlist.distil.files import open_scorer
from shortlist.distil.static import StaticScorer

pytestmark = pytest.mark.whole


def test_a_cell_writes_a_scorer_file_and_selects_what_it_selects_without(
    run: Callable[..., Any], tiny_model: Path
) -> None:
    plain = ("until=select", "budget=3")
    asked = ("distil=static", "model@distil.model=local", f"distil.model.path={tiny_model}")
    record, directory = run(*cells.GOTD, *plain, *asked)
    assert record.status == "done", record.reason
    told = record.selection["distil"]
    assert told["trained"] + told["held_out"] + told["left_out"] == 50
    (path,) = Path(directory).glob("scorer.*")
    assert path.stat().st_size == told["bytes"]
    scorer = open_scorer(path)
    assert scorer.description.made["method"] == "GOTD" and isinstance(scorer, StaticScorer)
    assert scorer.table.shape[1] == 32 and len(scorer.target) > 0  # of GOT-D's vectors and target
    assert np.isfinite(scorer.score(["the captain sails", ""])).all()
    without, _ = run(*cells.GOTD, *plain)
    assert without.selection["sha256"] == record.selection["sha256"]
    assert without.key != record.key and "distil" not in without.selection
    again, _ = run(*cells.GOTD, *plain, *asked)
    assert [s.seconds for s in again.stages] == [s.seconds for s in record.stages]  # all stored
