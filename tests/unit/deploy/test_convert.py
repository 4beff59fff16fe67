"""Models as ONNX: outputs of the weights at any shape, and nothing of this machine in the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy

from shortlist.deploy.convert import to_int8, to_onnx
from shortlist.deploy.inference import Session
from shortlist.errors import DoesNotFit
from shortlist.models import checkpoint

pytestmark = pytest.mark.whole

SHAPES = [(texts, tokens) for tokens in (5, 128, 512) for texts in (1, 7, 64)]


def differences(
    model: Any, path: Path, shapes: list[tuple[int, int]], pad: int, types: bool = False
) -> dict[tuple[int, int], float]:
    """Returns the largest difference of an output by shape, of texts of several lengths."""
    session, found = Session(path), dict[tuple[int, int], float]()
    drawn = np.random.default_rng(0)
    for texts, tokens in shapes:
        lengths = drawn.integers(2, tokens + 1, (texts, 1))
        mask = (np.arange(tokens) < lengths).astype(np.int64)
        ids = np.where(mask, drawn.integers(5, 100, (texts, tokens)), pad)
        given = {"input_ids": ids, "attention_mask": mask}
        if types:
            given["token_type_ids"] = drawn.integers(0, 2, (texts, tokens)) * mask
        with torch.inference_mode():
            tensors = {name: torch.from_numpy(values) for name, values in given.items()}
            expected = model(**tensors).logits.numpy()
        assert np.ptp(expected) > 0.01  # they are no constants
        found[texts, tokens] = float(np.abs(session.run(given) - expected).max())
    return found


def test_outputs_are_those_of_the_weights_at_shapes_that_the_trace_never_saw(
    tmp_path: Path,
) -> None:
    model = checkpoint.classifier(toy.write_bert(tmp_path / "bert", positions=512), 3).eval()
    torch.nn.init.normal_(model.classifier.weight)
    whole, small = tmp_path / "model.onnx", tmp_path / "model.int8.onnx"
    to_onnx(model, whole, types=False)
    found = differences(model, whole, SHAPES, pad=0)
    assert set(found) == set(SHAPES) and max(found.values()) < 1e-4
    raw = whole.read_bytes()
    assert b"site-packages" not in raw and b".py" not in raw
    to_int8(whole, small)
    assert small.stat().st_size < 0.7 * whole.stat().st_size
    lost = differences(model, small, [(7, 128)], pad=0)
    assert 1e-4 < lost[7, 128] < 1  # another model, but near it


@pytest.mark.slow  # some seconds each
@pytest.mark.parametrize("kind", ["gpt2", "llama", "tokens", "pairs"])
def test_decoders_tags_and_pairs_are_converted_alike(kind: str, tmp_path: Path) -> None:
    gpt2 = toy.write_gpt2(tmp_path / "gpt2")
    start = {
        "gpt2": lambda: gpt2,
        "llama": lambda: toy.write_llama(tmp_path / "llama", gpt2),
    }.get(kind, lambda: toy.write_bert(tmp_path / "bert"))()
    own: Any = {"kind": "AutoModelForTokenClassification"} if kind == "tokens" else {}
    model = checkpoint.classifier(start, 3, **own).eval()
    pad = 256 if kind in ("gpt2", "llama") else 0
    model.config.pad_token_id = pad
    torch.nn.init.normal_((model.classifier if pad == 0 else model.score).weight)
    to_onnx(model, tmp_path / "model.onnx", types=kind == "pairs")
    shapes = [(texts, tokens) for texts, tokens in SHAPES if tokens <= 128]
    found = differences(model, tmp_path / "model.onnx", shapes, pad, types=kind == "pairs")
    assert max(found.values()) < 1e-4


def test_weights_that_one_file_cannot_hold_are_refused(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shortlist.deploy.convert.MAX_BYTES", 1000)
    model = checkpoint.classifier(tiny_model, 3)
    with pytest.raises(DoesNotFit, match="export without --onnx"):
        to_onnx(model, tmp_path / "model.onnx", types=False)
    assert not (tmp_path / "model.onnx").exists()
