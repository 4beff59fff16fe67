"""A model directory is whole, is what its manifest says, or is refused by one line."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy

from shortlist.deploy.model_dir import (
    CARD,
    MANIFEST,
    Calibration,
    Measured,
    ModelDir,
    ModelFacts,
    Variant,
    open_model_dir,
    write_model_dir,
)
from shortlist.errors import BrokenArtifact, InvalidInput, Missing
from shortlist.stats.calibration import Temperature

FACTS = ModelFacts(
    task="toy",
    kind="single_label",
    labels=("baking", "sailing"),
    max_length=32,
    record="0" * 16,
    run="first",
    selection="abc",
    data_version="def",
    metric=Measured("accuracy", 0.75, 0.05),
    calibration=Calibration("temperature", {"temperature": [2.0]}),
    variants={"model.onnx": Variant(1.0, 1e-6, Measured("accuracy", 0.75))},
)


def written(path: Path, facts: ModelFacts = FACTS) -> ModelDir:
    def write(directory: Path) -> ModelFacts:
        toy.write_bert(directory)
        (directory / CARD).write_text("# A card\n")
        return facts

    return write_model_dir(path, write)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelDir:
    return written(tmp_path_factory.mktemp("dir") / "model")


def test_what_is_opened_is_what_was_written(model: ModelDir) -> None:
    opened = open_model_dir(model.path)
    assert opened == model and opened.named() == FACTS.named()
    assert opened.model_version == opened.files["model.safetensors"][:12]
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(opened.files)
    assert CARD not in opened.files and MANIFEST not in opened.files
    assert [path.name for path in model.path.parent.iterdir()] == ["model"]  # no temporary files


def test_a_calibration_map_is_applied_as_the_run_applied_it() -> None:
    values = np.array([[0.9, 0.1], [0.2, 0.8]])
    expected = Temperature(bins=15, resamples=10).apply({"temperature": [2.0]}, values)
    assert FACTS.calibration is not None
    np.testing.assert_array_equal(FACTS.calibration.apply(values), expected)


def copied(model: ModelDir, tmp_path: Path) -> Path:
    target = tmp_path / "copy"
    target.mkdir()
    for file in model.path.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


def test_a_flipped_bit_of_any_file_is_refused(model: ModelDir, tmp_path: Path) -> None:
    path, drawn = copied(model, tmp_path), random.Random(0)
    for name in [*model.files, MANIFEST]:
        raw = (path / name).read_bytes()
        for _ in range(40 if name == MANIFEST else 2):
            at = drawn.randrange(len(raw))
            flipped = raw[:at] + bytes([raw[at] ^ (1 << drawn.randrange(8))]) + raw[at + 1 :]
            (path / name).write_bytes(flipped)
            with pytest.raises(BrokenArtifact, match=r"\A[^\n]*\Z") as refused:
                open_model_dir(path)
            assert name in str(refused.value)
        (path / name).write_bytes(raw)
    assert open_model_dir(path).files == model.files


def test_the_card_may_be_edited_and_hidden_files_may_lie_beside(
    model: ModelDir, tmp_path: Path
) -> None:
    path = copied(model, tmp_path)
    (path / CARD).write_text("# Another card\n")
    (path / ".gitattributes").write_text("*.onnx filter=lfs\n")
    assert open_model_dir(path).files == model.files


@pytest.mark.parametrize("name", ["pytorch_model.bin", "adapter_config.json", "folder/own.py"])
def test_a_file_that_the_manifest_does_not_name_is_refused(
    name: str, model: ModelDir, tmp_path: Path
) -> None:
    path = copied(model, tmp_path)
    (path / name).parent.mkdir(exist_ok=True)
    (path / name).write_bytes(b"x")
    with pytest.raises(BrokenArtifact, match=name.split("/")[0]):
        open_model_dir(path)


def test_a_missing_file_and_a_missing_manifest_are_named(model: ModelDir, tmp_path: Path) -> None:
    path = copied(model, tmp_path)
    (path / "tokenizer.json").unlink()
    with pytest.raises(BrokenArtifact, match=r"tokenizer\.json is missing"):
        open_model_dir(path)
    (path / MANIFEST).unlink()
    with pytest.raises(Missing, match="shortlist export RUN --out DIR"):
        open_model_dir(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kind", "generation"), ("labels", []), ("max_length", 0), ("schema", 2), ("files", {"../x": "0"}),
        ("calibration", {"method": "temperature", "parameters": {}}),
        ("calibration", {"method": "temperature", "parameters": {"temperature": ["hot"]}}),
        ("calibration", {"method": "isotonic", "parameters": {"inputs": [[]], "outputs": [[]]}}),
        ("metric", None), ("another", 1),
    ],
)  # fmt: skip
def test_a_manifest_that_is_sealed_but_wrong_is_refused_by_one_line(
    name: str, value: Any, model: ModelDir, tmp_path: Path
) -> None:
    from shortlist.deploy import model_dir

    path = copied(model, tmp_path)
    content = json.loads((path / MANIFEST).read_text()) | {name: value}
    content.pop("sha256")
    sealed = {**content, "sha256": model_dir._hash(content)}
    (path / MANIFEST).write_text(json.dumps(sealed))
    with pytest.raises(BrokenArtifact, match=r"\A[^\n]*shortlist\.json: [^\n]*\Z"):
        open_model_dir(path)


def test_a_failed_writing_leaves_the_earlier_directory(tmp_path: Path) -> None:
    first = written(tmp_path / "model")

    def fail(directory: Path) -> ModelFacts:
        (directory / "half").write_text("x")
        raise InvalidInput("no")

    with pytest.raises(InvalidInput, match="no"):
        write_model_dir(first.path, fail)
    assert open_model_dir(first.path) == first
    second = written(first.path, dataclasses.replace(FACTS, run="second"))
    assert open_model_dir(first.path) == second and second.run == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_directory_with_other_contents_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    for path in (tmp_path / "mine", tmp_path / "mine" / "thesis.txt"):
        with pytest.raises(InvalidInput, match="other contents"):
            written(path)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "x"
