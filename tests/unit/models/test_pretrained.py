"""A model is its bytes: known before they are opened, refused where they are others."""

import shutil
import sys
from pathlib import Path

import pytest

from shortlist.errors import BrokenArtifact, InvalidInput, Missing
from shortlist.models.pretrained import HubModel, LocalModel, PackagedModel


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Import name of a package with a model in it, which fails if it is imported."""
    folder = tmp_path / "toy_packaged_model"
    (folder / "model").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / "model" / "model.safetensors").write_bytes(b"weights")
    monkeypatch.syspath_prepend(tmp_path)
    return folder.name


def test_a_packaged_model_is_found_without_importing_its_package(package: str) -> None:
    assert PackagedModel(package, "model", "").directory().name == "model"
    assert package not in sys.modules


def test_weights_of_the_expected_digest_are_identified_by_it(package: str) -> None:
    import hashlib

    digest = hashlib.sha256(b"weights").hexdigest()
    assert PackagedModel(package, "model", digest).identity() == {"weights": digest}


def test_weights_of_another_digest_are_refused_under_both(package: str) -> None:
    with pytest.raises(
        BrokenArtifact, match=r"SHA-256 [0-9a-f]{16}, expected 0{16}; reinstall toy_"
    ):
        PackagedModel(package, "model", "0" * 64).identity()


def test_weights_that_are_not_there_are_missing(package: str) -> None:
    with pytest.raises(Missing, match=r"elsewhere/model.safetensors cannot be read: No such file"):
        PackagedModel(package, "elsewhere", "0" * 64).identity()


def test_a_missing_package_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(Missing, match=r"not installed; run: pip install no-such-package$"):
        PackagedModel("no_such_package", "model", "").directory()


def test_a_local_model_is_the_same_wherever_it_lies(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "copy")
    assert LocalModel(str(tmp_path / "copy")).identity() == LocalModel(str(tiny_model)).identity()


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_local_model_changes_with_its(tiny_model: Path, tmp_path: Path, file: str) -> None:
    shutil.copytree(tiny_model, tmp_path / "copy")
    with (tmp_path / "copy" / file).open("ab") as changed:
        changed.write(b" ")
    assert LocalModel(str(tmp_path / "copy")).identity() != LocalModel(str(tiny_model)).identity()


def test_a_directory_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(Missing, match=f"found {tmp_path} without one; set model.path=DIR"):
        LocalModel(str(tmp_path)).directory()


def test_weights_in_another_format_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_text("")
    with pytest.raises(InvalidInput, match="safetensors"):
        LocalModel(str(tmp_path)).identity()


def test_a_hub_model_that_is_not_here_is_missing_with_the_command_that_fetches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(Missing, match=r"run: hf download no/model --revision abc$"):
        HubModel("no/model", "abc").directory()


@pytest.mark.parametrize("revision", ["main", "a" * 40])
def test_a_hub_model_is_identified_by_the_commit_its_revision_resolved_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, revision: str
) -> None:
    home = tmp_path / "models--some--model"
    commit = "a" * 40
    (home / "snapshots" / commit).mkdir(parents=True)
    (home / "snapshots" / commit / "config.json").write_text("{}")
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path))
    assert HubModel("some/model", revision).identity() == {
        "hub": "some/model",
        "commit": commit,
    }
