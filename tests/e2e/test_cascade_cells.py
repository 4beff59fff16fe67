"""The cascade in a cell: what is encoded, what the record says, and which methods it leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cells
import numpy as np
import pytest

from shortlist.store.formats import load_features, load_selection

pytestmark = pytest.mark.whole

ON = ("cascade=on", "cascade.sample=6", "cascade.factor=2", "budget=3", "until=select")


def test_a_cascade_encodes_a_part_of_the_pool_and_selects_among_it(
    run: Callable[..., Any], tmp_path: Any
) -> None:
    record, _ = run(*cells.GOTD, *ON)
    assert record.status == "done", record.reason
    told, stages = record.selection["cascade"], {s.stage: s.key for s in record.stages}
    assert told["applied"] and told["encoded"] + told["predicted"] == 50
    assert told["encoded"] == record.counts["pool_encoded"] <= 6 + 2 * 3
    assert 0 <= told["expected_overlap"] <= 1
    home = tmp_path / "cache"
    encoded = np.load(home / "cascade" / stages["cascade"] / "encoded.npy")
    values = np.asarray(load_features(home / "cascade" / stages["cascade"]).values)
    assert np.allclose(np.linalg.norm(values, axis=1), 1, atol=1e-5)
    assert (values[encoded, -1] == 0).all() and values[~encoded, -1].all()
    (key,) = (s.key for s in record.stages if s.stage == "selection" and s.role == "selection")
    assert len(load_selection(home / "selection" / key / "selection.parquet")) == 3
    assert [s.stage for s in record.stages].count("cascade") == 1  # soft-kNN reads the same vectors
    assert record.selection["against_soft_knn"]["of"] == 3


def test_a_cascade_that_encodes_nearly_the_whole_pool_selects_what_its_absence_selects(
    run: Callable[..., Any],
) -> None:
    all_read = ("cascade.sample=45", "cascade.factor=20", "cascade.overlap=1.0")
    record, _ = run(*cells.GOTD, *ON, *all_read)
    without, _ = run(*cells.GOTD, *ON[3:])
    assert record.selection["cascade"]["predicted"] <= 2
    assert record.selection["sha256"] == without.selection["sha256"]
    assert "cascade" not in without.config and "cascade" not in without.selection


def test_a_method_that_reads_no_encoder_is_as_it_is_without_a_cascade(
    run: Callable[..., Any],
) -> None:
    record, _ = run("selector=dsir", *ON)
    without, _ = run("selector=dsir", *ON[3:])
    assert record.selection["cascade"] == {
        "applied": False, "reason": "the method's vectors are not those of an encoder",
    }  # fmt: skip
    assert record.selection["sha256"] == without.selection["sha256"]
    assert [s.key for s in record.stages] == [s.key for s in without.stages]
