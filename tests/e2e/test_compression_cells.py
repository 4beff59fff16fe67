"""A cell with smaller models: its stages, what it shares with a cell without, what is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shortlist.core import unpack_item_scores
from shortlist.store.cache import executions

CHAIN = ("distil", "prune", "quantise")
SHORT = (
    "compress=[distil,prune,quantise]", "compress.distil.epochs=1", "compress.distil.max_length=32",
    "compress.prune.epochs=1", "compress.prune.max_length=32", "compress.prune.examples=8",
    "compress.distil.precision=32", "compress.prune.precision=32",
)  # fmt: skip


def test_a_chain_adds_stages_of_its_own_and_measures_each_model_paired(
    run: Any, tmp_path: Path
) -> None:
    plain, _ = run("selector=random")
    count = len(executions(tmp_path / "cache"))
    record, directory = run("selector=random", *SHORT)
    added = Counter(stage for stage, _ in executions(tmp_path / "cache")[count:])
    names = [f"{part}_{name}" for name in CHAIN for part in ("compress", "evaluate")]
    assert record.status == "done", record.reason
    assert added == Counter(names)
    assert [one.stage for one in record.stages if one.stage in names] == names
    assert "compress" not in plain.config
    assert [step["name"] for step in record.config["compress"]] == list(CHAIN)
    assert {one.key for one in plain.stages} < {one.key for one in record.stages}
    for metric in plain.metrics:
        assert record.metric(metric.name) == metric
    primary = next(metric for metric in record.metrics if metric.primary)
    before = unpack_item_scores(record.item_scores[primary.name], primary.n)
    for name in CHAIN:
        own, gain = (record.metric(f"{primary.name}_{part}{name}") for part in ("", "gain_of_"))
        items = unpack_item_scores(record.item_scores[own.name], own.n)
        assert items.mean() == pytest.approx(own.value, abs=1e-4)  # scores are rounded
        assert gain.value == pytest.approx((items - before).mean(), abs=1e-4)
        assert gain.stderr == pytest.approx(np.std(items - before, ddof=1) / own.n**0.5, abs=1e-4)
    sizes = [record.counts[f"compress_{name}_bytes"] for name in ("finetune", *CHAIN)]
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == 4
    page = (directory / "compression.html").read_text(encoding="utf-8")
    assert all(name in page for name in CHAIN)


def test_settings_change_the_stages_after_them_alone(run: Any, tmp_path: Path) -> None:
    run("selector=random", *SHORT)
    count = len(executions(tmp_path / "cache"))
    run("selector=random", *SHORT, "compress.prune.units=0.25")
    added = {stage for stage, _ in executions(tmp_path / "cache")[count:]}
    names = {f"{part}_{name}" for name in CHAIN[1:] for part in ("compress", "evaluate")}
    assert added == names


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["compress=[quantise,prune]"], "compress.quantise gives a model that is not changed"),
        (["compress=prune", "until=finetune"], "compress.prune needs a fine-tuned model"),
        (["compress=magnitude", "task=stsb"], "compress.magnitude needs a task of one class"),
        (["compress=distil", "compress.distil.student_layers=3"], "between 1 and 2 in this model"),
        (["compress=magnitude", "compress.magnitude.share=1"], "compress.magnitude.share must be"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_computed(
    run: Any, tmp_path: Path, overrides: list[str], reason: str
) -> None:
    record, _ = run("selector=random", *overrides)
    assert record.status == "failed" and reason in record.reason, record.reason
    assert "\n" not in record.reason
    assert not executions(tmp_path / "cache") if (tmp_path / "cache").exists() else True
