"""A model's identity is that of its files; a model that has to be trained first is refused as one."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import toy
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from shortlist.errors import BrokenArtifact, InvalidInput, Missing
from shortlist.models import checkpoint
from shortlist.models.pretrained import (
    END,
    HubModel,
    IntermediateModel,
    LocalModel,
    PackagedModel,
    ScratchModel,
    StoredModel,
    byte_level_bpe,
)

TEXTS = toy.sentences("sailing", 60)
TOKENIZER = byte_level_bpe(TEXTS, 320)
MNLI = SimpleNamespace(name="mnli", kind="classification")
HEAD = {"documents": 3, "epochs": 1, "learning_rate": 0.1, "batch_size": 2, "max_length": 8}
WEB = SimpleNamespace(name="web", kind="unlabelled")


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
    with pytest.raises(
        Missing,
        match=r"run: hf download no/model --revision abc --include '\*\.json' .*safetensors'$",
    ):
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


def scratch(**changed: Any) -> ScratchModel:
    settings: dict[str, Any] = {
        "vocabulary": 320,
        "layers": 1,
        "heads": 2,
        "width": 16,
        "positions": 32,
        "dropout": 0.0,
        "documents": None,
        "seed": 0,
        "pretraining": None,
    }
    return ScratchModel(**{**settings, **changed})


@given(st.text())
def test_any_text_comes_back_whole(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER(text)["input_ids"]) == text


def test_the_vocabulary_is_bytes_one_special_token_and_merges() -> None:
    assert len(TOKENIZER) == 320
    assert TOKENIZER.all_special_tokens == [END]
    assert len(byte_level_bpe(["a"], 320)) == 257  # nothing to merge
    assert len(TOKENIZER(TEXTS[0])["input_ids"]) < len(TEXTS[0].encode()) / 2


def test_the_untrained_model_is_a_directory_that_transformers_opens(tmp_path: Path) -> None:
    scratch().initialise(TEXTS, tmp_path)
    model, tokenizer = checkpoint.causal_lm(tmp_path), checkpoint.tokenizer(tmp_path)
    config = model.config
    assert (config.n_layer, config.n_head, config.n_embd, config.n_positions) == (1, 2, 16, 32)
    assert config.vocab_size == len(tokenizer) == 320
    assert tokenizer.eos_token == tokenizer.pad_token == END
    assert tokenizer(TEXTS[0])["input_ids"] == TOKENIZER(TEXTS[0])["input_ids"]
    with torch.no_grad():  # weights drawn small: every token is about as likely as any
        loss = model(input_ids=torch.arange(30)[None], labels=torch.arange(30)[None]).loss
    assert float(loss) == pytest.approx(torch.log(torch.tensor(320.0)).item(), abs=0.1)


def test_the_seed_decides_the_initial_weights_and_nothing_else_does(tmp_path: Path) -> None:
    found = []
    for place, seed in (("a", 0), ("b", 0), ("c", 1)):
        torch.manual_seed(len(found))  # the caller's generator, which must be left alone too
        before = torch.get_rng_state()
        scratch(seed=seed).initialise(TEXTS, tmp_path / place)
        assert torch.equal(torch.get_rng_state(), before)
        found.append(load_file(tmp_path / place / "model.safetensors")["transformer.wte.weight"])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_a_model_from_scratch_has_no_directory_before_it_is_trained() -> None:
    assert scratch().identity() == {}
    with pytest.raises(
        InvalidInput, match=r"ScratchModel, which the pipeline trains first; .*model=local"
    ):
        scratch().directory()


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("vocabulary", 256, "model.vocabulary must be at least 257"),
        ("heads", 3, "model.width=16 must be a multiple of model.heads=3"),
        ("dropout", 1.0, "model.dropout"),
        ("documents", 0, "model.documents must be at least 1"),
    ],
)
def test_an_impossible_architecture_is_refused_by_the_setting(
    setting: str, value: float, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        scratch(**{setting: value})


def test_a_base_without_weights_and_an_intermediate_task_without_labels_are_refused() -> None:
    model = IntermediateModel(LocalModel("a"), MNLI, None, 0, HEAD)
    with pytest.raises(InvalidInput, match=r"model\.base must be a model whose weights exist"):
        IntermediateModel(model, MNLI, None, 0, HEAD)
    with pytest.raises(InvalidInput, match=r"model\.intermediate_task must be a task .* found web"):
        IntermediateModel(LocalModel("a"), WEB, None, 0, HEAD)
    with pytest.raises(InvalidInput, match=r"model\.head must hold the settings"):
        IntermediateModel(LocalModel("a"), MNLI, None, 0, {})


def test_an_intermediate_model_has_no_directory_before_it_is_trained() -> None:
    model = IntermediateModel(StoredModel(lambda: Path("a"), "key"), MNLI, None, 0, HEAD)  # type: ignore[arg-type]
    assert model.requires_training and model.identity() == {"model": "key"}
    with pytest.raises(InvalidInput, match="IntermediateModel, which the pipeline trains first"):
        model.directory()
