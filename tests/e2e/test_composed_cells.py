"""Cells of methods made of others, of methods that repeat documents, and of orders that end."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import cells
import pytest

from shortlist.store.cache import executions
from shortlist.store.formats import load_selection

pytestmark = pytest.mark.whole

SHORT = ("until=select", "budget=10")


def fast(*members: str) -> list[str]:
    """Overrides that make the members' transformer features small."""
    return [
        f"selector.members.{name}.featurizer.{setting}=32"
        for name in members
        for setting in ("max_length", "precision")
    ]


def test_a_method_made_of_others_computes_nothing_that_their_own_cells_have_computed(
    run: Any, tmp_path: Path
) -> None:
    for alone in (cells.GOTD, ("selector=dsir",)):
        assert run(*alone, *SHORT)[0].status == "done"
    before = len(list(executions(tmp_path / "cache")))
    small = ("featurizer.max_length=32", "featurizer.precision=32")
    for name, extra in (("ensemble", fast("gotd")), ("gotd_diverse", small)):
        record, _ = run(f"selector={name}", *SHORT, *extra)
        assert (record.status, record.reason) == ("done", "")
        assert "gotd.marginal_error" in record.selection["fit"]
    new = Counter(stage for stage, _ in list(executions(tmp_path / "cache"))[before:])
    # Both of their own, and that of soft-kNN thinned out alike, which GOT-D's diverse form is held to.
    assert new == {"selection": 3, "advice": 2}


def test_members_are_weighed_by_held_out_target_texts(run: Any, tmp_path: Path) -> None:
    learned = ("selector=ensemble", "selector.rule=learned", *SHORT, *fast("gotd"))
    record, _ = run(*learned)
    assert (record.status, record.reason) == ("done", "")
    found = record.selection["members"]
    assert (
        sum(found["weights"].values()) == pytest.approx(1) and min(found["weights"].values()) >= 0
    )
    assert found["probes"] == 12 and found["area_alone"]["dsir"] > 0.7
    # Half of the target is read again by both members; weights and selection follow from it alone.
    before = len(list(executions(tmp_path / "cache")))
    other, _ = run(*learned, "selector.probes=0.4")
    new = Counter(stage for stage, _ in list(executions(tmp_path / "cache"))[before:])
    assert new["weights"] == 1 and new["selection"] == 1 and not new["fit"]
    assert other.selection["members"]["probes"] == 10
    refused, _ = run(*learned, "selector@selector.members.gotd.selector=facility_location")
    assert refused.status == "failed" and "gotd scores the pool alone" in refused.reason


def test_a_document_drawn_twice_is_in_the_selection_twice(run: Any, tmp_path: Path) -> None:
    record, directory = run(
        "selector=tsds", "featurizer.max_length=32", "featurizer.precision=32", "until=select",
        "budget=40", "selector.alpha=1",
    )  # fmt: skip
    assert (record.status, record.reason) == ("done", "")
    assert record.selection["size"] == 40 > record.selection["unique"]
    lines = (directory / "shortlist.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 40
    (path,) = (tmp_path / "cache" / "selection").glob("*/selection.parquet")
    assert len(load_selection(path).ids) == 40


def test_a_budget_beyond_an_order_is_refused_by_the_name_of_the_setting(run: Any) -> None:
    small = ("featurizer.max_length=32", "featurizer.precision=32", "until=select")
    record, _ = run("selector=k_center", *small, "selector.limit=5", "budget=6")
    assert record.status == "failed"
    assert record.reason == (
        "budget=6 documents reaches beyond the 5 documents that KCenter put in order; "
        "set selector.limit larger, or a smaller budget"
    )


def test_a_peer_that_is_not_on_this_machine_is_skipped_with_what_to_set(run: Any) -> None:
    record, _ = run("selector=peer_tsds", *SHORT)
    assert record.status == "skipped"
    assert record.reason.endswith("found no interpreter; set selector.python=PATH")
    # What a method reads beside its settings is in the key of its cell.
    assert "read.selector.adapter" in record.inputs
