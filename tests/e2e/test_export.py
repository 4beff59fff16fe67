"""An exported run says what the run said: as weights, as ONNX, and as a card."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cells
import numpy as np
import pytest
import toy

from shortlist.cli import main
from shortlist.core import Record
from shortlist.deploy.inference import Predictor
from shortlist.deploy.model_dir import ModelDir, open_model_dir
from shortlist.deploy.runs import StoredRun, open_run

pytestmark = pytest.mark.whole


@dataclass(frozen=True)
class Exported:
    """A run and its model directory."""

    record: Record
    directory: Path
    settings: tuple[str, ...]
    model: ModelDir
    printed: str

    def opened(self) -> Any:
        return open_run(self.directory, self.settings)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, data: Path, composed: Any) -> Exported:
    """A toy run, exported as ONNX and int8: the slow part, once."""
    import contextlib
    import io

    home = tmp_path_factory.mktemp("export")
    settings = cells.settings(home, data, toy.write_bert(home / "bert"))
    trained = ("selector=random", "calibration=temperature", "calibration.resamples=5",
               "finetune.learning_rate=0.01", "finetune.epochs=12")  # fmt: skip
    record = cells.execute(composed(*settings, *trained), home / "runs" / "first")
    assert record.status == "done", record.reason
    places = tuple(text for text in settings if text.startswith("paths."))
    told = io.StringIO()
    typed = ["export", str(home / "runs/first"), "--out", str(home / "model"), "--int8"]
    with contextlib.redirect_stdout(told):
        assert main([*typed, "--licence", "apache-2.0", "--", *places]) == 0
    model = open_model_dir(home / "model")
    return Exported(record, home / "runs" / "first", places, model, told.getvalue())


def predictions(run: StoredRun) -> tuple[list[str], np.ndarray[Any, Any]]:
    return list(run.task.data.test.texts), run.predictions


def test_the_manifest_names_the_run_and_what_it_was_made_from(exported: Exported) -> None:
    model, record = exported.model, exported.record
    assert (model.record, model.run, model.task) == (record.key, "first", "citation_intent")
    assert model.selection == record.selection["sha256"]
    assert model.data_version == record.inputs["task_train"]
    assert model.labels == ("baking", "sailing") and model.kind == "single_label"
    assert model.metric.value == record.metrics[0].value > 0.5
    assert model.calibration is not None and model.calibration.method == "temperature"
    assert set(model.files) == {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "model.onnx",
        "model.int8.onnx",
    }  # fmt: skip
    assert str(model.path) in exported.printed and model.model_version in exported.printed


def test_a_pipeline_of_transformers_opens_it_and_predicts_what_the_run_predicted(
    exported: Exported,
) -> None:
    from transformers import pipeline

    with exported.opened() as run:
        texts, expected = predictions(run)
    opened: Any = pipeline("text-classification", str(exported.model.path), device="cpu")
    found = opened(texts, top_k=None, truncation=True)
    values = [[{one["label"]: one["score"] for one in row}[name] for name in exported.model.labels]
              for row in found]  # fmt: skip
    np.testing.assert_allclose(values, expected, atol=1e-5)
    long = opened("sail " * 300, truncation=True)  # cut to the length that it was trained with
    assert long == opened("sail " * 30, truncation=True)


def test_what_is_served_is_what_the_run_predicted_calibrated(exported: Exported) -> None:
    with exported.opened() as run:
        texts, expected = predictions(run)
        calibrated = np.load(run.artifact("calibrate") / "calibrated.npy")
    found = Predictor(exported.model).predict(texts)
    values = [[one.probabilities[name] for name in exported.model.labels] for one in found]
    np.testing.assert_allclose(values, calibrated, atol=1e-5)
    assert [one.label for one in found] == [exported.model.labels[i] for i in expected.argmax(1)]
    assert [one.probability for one in found] == [max(row) for row in values]


def test_the_metric_of_what_the_server_answers_is_that_of_the_record(exported: Exported) -> None:
    from starlette.testclient import TestClient

    from shortlist.deploy.serving.app import Limits, create_app

    with exported.opened() as run:
        texts, truth = list(run.task.data.test.texts), list(run.task.data.test.labels or ())
    with TestClient(create_app(Predictor(exported.model), Limits())) as http:
        answer = http.post("/predict", json={"texts": texts}).json()
    said = [one["label"] for one in answer["predictions"]]
    accuracy = exported.record.metric("accuracy")
    assert accuracy is not None
    right = sum(a == b for a, b in zip(said, truth, strict=True))
    assert right / len(truth) == pytest.approx(accuracy.value)
    assert answer["model_version"] == exported.model.model_version


def test_the_loss_of_int8_is_stated_in_manifest_card_and_on_the_screen(exported: Exported) -> None:
    model, card = exported.model, (exported.model.path / "README.md").read_text()
    whole, small = (model.variants[name] for name in ("model.onnx", "model.int8.onnx"))
    assert whole.agreement == 1 and whole.difference < 1e-4 and whole.metric == model.metric
    assert 0 < small.difference < 0.5
    with exported.opened() as run:
        texts, expected = predictions(run)
        predictor = Predictor(model, int8=True)
        found = np.array([model.labels.index(str(one.label)) for one in predictor.predict(texts)])
        assert small.agreement == pytest.approx((found == expected.argmax(1)).mean(), abs=0.051)
    for name, one in model.variants.items():
        assert f"| {name} | {one.agreement:.2%} | {one.metric.value:.4f}" in card
        assert re.search(
            rf"{name} .*{re.escape(str(one.metric))}.*{one.agreement:.2%}", exported.printed
        )
    sizes = {name: (model.path / name).stat().st_size for name in model.files}
    assert sizes["model.int8.onnx"] < 0.7 * sizes["model.onnx"]


def test_the_card_is_what_the_hub_reads(exported: Exported) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard.load(exported.model.path / "README.md")
    data = card.data.to_dict()
    assert data["license"] == "apache-2.0" and data["library_name"] == "transformers"
    assert data["pipeline_tag"] == "text-classification"
    by_name = {one.metric_type: one for one in card.data.eval_results}
    primary = exported.record.metrics[0]
    assert by_name[primary.name].metric_value == primary.value
    assert by_name[primary.name].dataset_split == "test"
    said = card.text
    for part in ("## Intended use", "## Metrics", "## Data", exported.model.selection,
                 exported.model.data_version, exported.record.key, "not known"):  # fmt: skip
        assert part in said
    low = primary.value - 1.96 * primary.stderr
    assert f"{primary.value:.4f} | {low:.4f} to " in said


def test_nothing_of_this_machine_is_in_the_files(exported: Exported) -> None:
    for name in [*exported.model.files, "README.md", "shortlist.json"]:
        raw = (exported.model.path / name).read_bytes()
        assert str(Path.home()).encode() not in raw and b"site-packages" not in raw, name
        assert str(exported.directory.parent.parent).encode() not in raw, name


def test_other_contents_are_not_replaced_and_a_run_that_is_gone_is_named(
    exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").write_text("x")
    typed = ["export", str(exported.directory), "--out"]
    assert main([*typed, str(tmp_path), "--", *exported.settings]) == 1
    assert "choose another --out" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "none"), "--out", str(tmp_path / "model")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: expected a run with record.json")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
