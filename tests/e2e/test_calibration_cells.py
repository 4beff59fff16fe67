"""A calibrated cell: measures before and after, the page, and what it shares with a cell without."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy

from shortlist.core import unpack_item_scores
from shortlist.store.cache import executions

pytestmark = pytest.mark.whole


def test_a_calibrated_cell_adds_one_stage_and_states_both_sides(run: Any, tmp_path: Path) -> None:
    plain, _ = run("selector=random")
    count = len(executions(tmp_path / "cache"))
    record, directory = run(
        "selector=random", "calibration=temperature", "calibration.resamples=20"
    )
    added = Counter(stage for stage, _ in executions(tmp_path / "cache")[count:])
    assert added == {"calibrate": 1}
    assert plain.key != record.key and "calibration" not in plain.config
    for metric in plain.metrics:
        assert record.metric(metric.name) == metric
    for name in ("log_loss", "brier", "ece", "ece_equal_mass"):
        before, after = (record.metric(f"{name}_{side}") for side in ("uncalibrated", "calibrated"))
        assert before.n == after.n and before.protocol == after.protocol and before.stderr > 0
    stage = next(stage for stage in record.stages if stage.stage == "calibrate")
    values = np.load(tmp_path / "cache" / "calibrate" / stage.key / "calibrated.npy")
    np.testing.assert_allclose(values.sum(1), 1)
    items = unpack_item_scores(
        record.item_scores["log_loss_calibrated"], record.metric("log_loss_calibrated").n
    )
    assert items.mean() == pytest.approx(
        record.metric("log_loss_calibrated").value, abs=2e-5
    )  # scores are rounded
    page = (directory / "calibration.html").read_text(encoding="utf-8")
    assert "Accuracy by coverage" in page and page.count("<svg") == 2


def test_a_task_without_class_probabilities_is_refused_before_anything_is_computed(
    run: Any, tmp_path: Path
) -> None:
    record, _ = run("task=stsb", "calibration=platt")
    assert record.status == "failed"
    assert record.reason.startswith("calibration needs class probabilities of a fine-tuned model")
    assert not (tmp_path / "cache").exists()


def test_a_task_of_ones_own_without_labels_is_told_how_to_name_them(
    run: Any, tmp_path: Path
) -> None:
    rows = toy.write_jsonl(tmp_path / "rows.jsonl", [{"text": "one"}, {"text": "two"}])
    record, _ = run("task=own", f"task.train={rows}", "task.name=mine", "calibration=platt")
    assert record.reason.endswith("set task.label=COLUMN or calibration=off")


def test_a_class_without_validation_items_is_refused_before_anything_is_trained(
    run: Any, tmp_path: Path
) -> None:
    rows = [
        {"text": f"{word} number {n}", "label": word} for word in ("one", "two") for n in range(12)
    ]
    rows += [{"text": "a single three", "label": "three"}]
    train = toy.write_jsonl(tmp_path / "train.jsonl", rows)
    held = toy.write_jsonl(
        tmp_path / "held.jsonl", [{**r, "text": f"{r['text']} again"} for r in rows[:24]]
    )
    own = ("task=own", f"task.train={train}", f"task.validation={held}", f"task.test={held}")
    record, _ = run("selector=random", *own, "task.label=label", "calibration=isotonic")
    assert record.status == "failed" and "none of three" in record.reason
    assert not {"warmup", "finetune"} & {stage for stage, _ in executions(tmp_path / "cache")}
