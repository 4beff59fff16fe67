"""A cell with smaller models: its stages, what it shares with a cell without, what is refused."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score
from starlette.testclient import TestClient

from shortlist.cli import main
from shortlist.core import unpack_item_scores
from shortlist.deploy.inference import Predictor
from shortlist.deploy.model_dir import open_model_dir
from shortlist.deploy.runs import open_run
from shortlist.deploy.serving.app import Limits, create_app
from shortlist.store.cache import executions

pytestmark = pytest.mark.whole
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
        (
            ["compress=distil", "compress.distil.metric=f2"],
            "compress.distil.metric must be a metric",
        ),
        (
            ["compress=magnitude", "peft@finetune.peft=prompt_tuning"],
            "finetune.peft must be merged into the weights",
        ),
        (
            ["compress=prune", "+peft@compress.prune.peft=prefix_tuning"],
            "compress.prune.peft must be merged into the weights",
        ),
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


@pytest.mark.slow
def test_the_chain_ends_in_a_table_and_in_a_model_directory_that_says_what_the_record_says(
    run: Any, small: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fine-tune, calibrate, distil to half the layers, prune units and heads, quantise, compare,
    export, serve, predict.
    """
    from huggingface_hub import ModelCard
    from transformers import pipeline

    tuned = ("finetune.learning_rate=0.01", "finetune.epochs=6", "compress.distil.epochs=6")
    settings = ("selector=random", "calibration=temperature", "calibration.resamples=5", *tuned)
    record, directory = run(*settings, *SHORT, *tuned, "compress.prune.heads=0.5")
    assert record.status == "done", record.reason
    primary = next(metric for metric in record.metrics if metric.primary)
    for name in CHAIN:
        assert record.metric(f"ece_calibrated_{name}").n == primary.n
        assert "<svg" in (directory / f"calibration_{name}.html").read_text(encoding="utf-8")
    places = ["--", *(text for text in small if text.startswith("paths."))]
    assert main(["compress", str(directory), "--passes", "2", "--onnx", *places]) == 0
    printed = capsys.readouterr().out
    rows = json.loads((directory / "compression.json").read_text(encoding="utf-8"))
    names = ["finetune", *CHAIN, "prune, ONNX", "prune, ONNX int8"]
    assert [row["name"] for row in rows["models"]] == names
    assert all(name in printed for name in names)
    for size in ("1", "32"):
        times = rows["timed"]["latencies"][size]
        assert list(times) == names
        assert all(0 < one["low"] <= one["median"] <= one["high"] for one in times.values())
    whole = rows["models"][4]
    assert whole["metric"]["value"] == record.metric(f"{primary.name}_prune").value
    assert "prune, ONNX int8" in (directory / "compression.html").read_text(encoding="utf-8")

    model = tmp_path / "model"
    typed = ["export", str(directory), "--out", str(model), "--model", "prune", "--onnx"]
    assert main([*typed, *places]) == 0
    opened = open_model_dir(model)
    assert opened.metric.name == primary.name
    assert opened.metric.value == record.metric(f"{primary.name}_prune").value
    assert opened.calibration is not None
    card = ModelCard.load(model / "README.md")
    (result,) = [one for one in card.data.eval_results if one.metric_type == primary.name]
    assert result.metric_value == opened.metric.value
    assert "made smaller by `distil`, `prune`.\n" in card.text
    names = re.findall(r"^\| (\S+) \| -?\d", card.text.replace("\\_", "_"), re.M)
    assert {primary.name, f"{primary.name}_gain_of_prune", "ece_calibrated"} <= set(names)
    assert not [name for name in names if name.endswith(("_distil", "_quantise"))]
    with open_run(directory, places[1:]) as stored:
        own = stored.of("prune")
        texts, expected = list(own.task.data.test.texts), own.predictions
        assert opened.calibration == own.calibration != stored.calibration
        truth = list(own.task.data.test.labels or ())
    with TestClient(create_app(Predictor(opened), Limits())) as http:
        served = http.post("/predict", json={"texts": texts}).json()["predictions"]
    values = np.array([[one["probabilities"][label] for label in opened.labels] for one in served])
    np.testing.assert_allclose(values, opened.calibration.apply(expected), atol=1e-4)
    said = [one["label"] for one in served]
    assert f1_score(truth, said, average="macro") == pytest.approx(opened.metric.value, abs=1e-9)
    plain: Any = pipeline("text-classification", str(model), device="cpu")
    rows = [
        {one["label"]: one["score"] for one in row}
        for row in plain(texts, top_k=None, truncation=True)
    ]
    values = np.array([[row[label] for label in opened.labels] for row in rows])
    np.testing.assert_allclose(values, expected, atol=1e-5)  # before calibration
    refused = main(["export", str(directory), "--out", f"{model}2", "--model", "quantise", *places])
    assert refused == 1 and "export the model before it, with --int8" in capsys.readouterr().err
    refused = main(["export", str(directory), "--out", f"{model}2", "--model", "prun", *places])
    assert refused == 1 and "did you mean `prune`" in capsys.readouterr().err


def test_a_run_without_smaller_models_is_refused_in_one_line(
    run: Any, small: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    _, directory = run("selector=random")
    places = ["--", *(text for text in small if text.startswith("paths."))]
    assert main(["compress", str(directory), *places]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: run 0 has no smaller model") and told.count("\n") == 1
