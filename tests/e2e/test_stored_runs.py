"""A finished run is opened with its data and its fine-tuned weights, or refused by one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shortlist.deploy.runs import open_run
from shortlist.errors import BrokenArtifact, InvalidInput, Missing

pytestmark = pytest.mark.whole

pytestmark = pytest.mark.whole


def test_weights_predictions_and_calibration_of_a_run_are_those_of_the_store(
    run: Any, small: tuple[str, ...], tmp_path: Path
) -> None:
    record, directory = run("selector=random", "calibration=temperature", "calibration.resamples=5")
    with open_run(directory, small) as opened:
        assert opened.record == record and opened.name == directory.name
        assert opened.kind == "single_label" and not opened.two_texts
        assert (opened.weights / "model.safetensors").is_file()
        calibrated = np.load(next((tmp_path / "cache/calibrate").glob("*/calibrated.npy")))
        assert opened.calibration is not None
        np.testing.assert_array_equal(opened.calibration.apply(opened.predictions), calibrated)
        assert opened.primary.value == record.metrics[0].value
        assert len(opened.task.data.test) == len(calibrated)
    weights = next((tmp_path / "cache/finetune").glob("*/model.safetensors"))
    raw = weights.read_bytes()
    weights.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    with open_run(directory / "record.json", small) as opened:
        with pytest.raises(BrokenArtifact, match=r"model\.safetensors has another SHA-256"):
            _ = opened.weights
        (weights.parent / "manifest.json").unlink()
        for file in sorted(weights.parent.iterdir()):
            file.unlink()
        weights.parent.rmdir()
        with pytest.raises(Missing, match="finetune is not in the store; repeat the run"):
            _ = opened.weights
    with (
        pytest.raises(InvalidInput, match="no longer give its configuration"),
        open_run(directory, (*small, "finetune.epochs=2")),
    ):
        pass


def test_a_run_without_a_fine_tuned_model_is_refused(
    run: Any, small: tuple[str, ...], tmp_path: Path
) -> None:
    _, directory = run("selector=random", "until=select")
    with pytest.raises(InvalidInput, match="ends with select"), open_run(directory, small):
        pass
    with pytest.raises(Missing, match=r"record\.json"), open_run(tmp_path / "nothing", small):
        pass
