"""Checkpoints are ordinary directories; precision is resolved, not guessed."""

import logging
from pathlib import Path

import pytest
import torch

from shortlist import vectors
from shortlist.errors import InvalidInput
from shortlist.models import checkpoint
from shortlist.vectors import fast_products_exist

CPU = torch.device("cpu")


@pytest.mark.parametrize("wanted", ["32", "bf16"])
def test_a_precision_that_was_asked_for_is_the_one_that_is_taken(wanted: str) -> None:
    assert checkpoint.precision(wanted, CPU) == wanted


def test_a_precision_typed_as_a_number_is_understood() -> None:
    assert checkpoint.precision(32, CPU) == "32"  # what Hydra makes of warmup.precision=32


@pytest.mark.parametrize(
    ("maker", "avx512", "amx", "expected"),
    [
        ("AuthenticAMD", True, False, "bf16"),
        ("AuthenticAMD", False, False, "32"),
        ("GenuineIntel", True, True, "bf16"),
        ("GenuineIntel", True, False, "32"),  # twice as slow as float32 there
        ("GenuineIntel", False, False, "32"),
    ],
)
def test_auto_is_bfloat16_where_the_cpu_is_quicker_with_it(
    monkeypatch: pytest.MonkeyPatch, maker: str, avx512: bool, amx: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    monkeypatch.setattr(vectors, "_cpu_description", lambda: f"vendor_id : {maker}")
    assert checkpoint.precision("auto", CPU) == expected
    # Where bfloat16 gains nothing, nor does the permission to use it for float32.
    assert fast_products_exist(CPU, torch.float32) is (expected == "bf16")
    assert not fast_products_exist(CPU, torch.float64)


def test_auto_is_float32_where_torch_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported", raising=False)
    monkeypatch.setattr(vectors, "_cpu_description", lambda: "AuthenticAMD")
    assert checkpoint.precision("auto", CPU) == "32"


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(InvalidInput, match="auto, 32 or bf16, found '16'"):
        checkpoint.precision("16", CPU)


def test_more_tokens_than_positions_are_refused_with_the_setting(tiny_model: Path) -> None:
    model = checkpoint.encoder(tiny_model)
    assert checkpoint.check_length(model, 128, "warmup.max_length") == 128
    with pytest.raises(
        InvalidInput, match=r"max_length=129 exceeds the model's 128 .* set warmup\.max_l"
    ):
        checkpoint.check_length(model, 129, "warmup.max_length")


def test_positions_of_a_gpt2_are_known_too(tiny_gpt2: Path) -> None:
    with pytest.raises(InvalidInput, match="128 positions"):
        checkpoint.check_length(checkpoint.causal_lm(tiny_gpt2), 129, "warmup.block")


def test_a_tokenizer_without_padding_pads_with_its_end_token(tiny_gpt2: Path) -> None:
    words = checkpoint.tokenizer(tiny_gpt2)
    assert words.pad_token == words.eos_token


def test_a_saved_model_reads_back_with_every_weight(tiny_model: Path, tmp_path: Path) -> None:
    model, words = checkpoint.masked_lm(tiny_model), checkpoint.tokenizer(tiny_model)
    checkpoint.save(tmp_path, model, words)
    back = checkpoint.masked_lm(tmp_path)
    for name, value in model.state_dict().items():
        assert torch.equal(value, back.state_dict()[name]), name


def test_a_saved_tokenizer_cuts_texts_as_before(tiny_model: Path, tmp_path: Path) -> None:
    words = checkpoint.tokenizer(tiny_model)
    checkpoint.save(tmp_path, checkpoint.masked_lm(tiny_model), words)
    text = "the anchor of a storm xyz"
    assert checkpoint.tokenizer(tmp_path)(text)["input_ids"] == words(text)["input_ids"]


def test_a_new_head_is_decided_by_the_global_seed(tiny_model: Path) -> None:
    heads = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        heads.append(checkpoint.classifier(tiny_model, 3).classifier.weight)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_opening_and_saving_a_model_say_nothing(
    tiny_model: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        model = checkpoint.classifier(tiny_model, 2)
        checkpoint.save(tmp_path, model, checkpoint.tokenizer(tiny_model))
    said = capfd.readouterr()
    assert (said.out, said.err, caplog.text) == ("", "", "")


def test_weights_below_the_head_that_are_missing_are_named_and_a_pooler_may_be(
    tiny_model: Path, tiny_llama: Path
) -> None:
    assert checkpoint.classifier(tiny_model, 2).bert.pooler is not None
    # Its weights would be drawn at random: this class looks for them under other names.
    with pytest.raises(
        InvalidInput, match=r"found no transformer\..*, nor \d+ more; choose another"
    ):
        checkpoint.classifier(tiny_llama, 2, kind="AutoModelForQuestionAnswering")
