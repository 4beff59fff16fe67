"""Predictions of a model directory against outputs that are known, for every kind of task."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import served

from shortlist.deploy.inference import Predictor, Session
from shortlist.deploy.model_dir import Calibration, open_model_dir
from shortlist.errors import BrokenArtifact, InvalidInput, Missing

TEXTS = ["the boat and the sail", "bread", "a cake with honey near the oven " * 9]


def outputs(predictor: Predictor, texts: list[str], outputs: int) -> np.ndarray[Any, Any]:
    """The sums of the rows of the tokens, by numpy alone."""
    ids = [one.ids for one in predictor.encode(texts)]
    return np.stack([served.table(outputs)[row].astype(np.float64).sum(0) for row in ids])


def test_classes_have_the_softmax_of_the_sums_whatever_the_batch(tmp_path: Path) -> None:
    predictor = served.predictor(tmp_path / "model")
    sums = outputs(predictor, TEXTS, 2)
    expected = np.exp(sums) / np.exp(sums).sum(1, keepdims=True)
    found = predictor.predict(TEXTS)
    values = [[one.probabilities[name] for name in served.LABELS] for one in found]
    np.testing.assert_allclose(values, expected, rtol=1e-4)
    assert [one.label for one in found] == [served.LABELS[i] for i in expected.argmax(1)]
    assert [one.probability for one in found] == [max(row) for row in values]
    assert [one.truncated for one in found] == [False, False, True]
    alone = [predictor.predict([text])[0].probability for text in TEXTS]
    np.testing.assert_allclose(alone, [one.probability for one in found], rtol=1e-5)
    assert predictor.predict([]) == []


def test_texts_of_like_length_are_run_together_and_keep_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = served.predictor(tmp_path / "model")
    predictor.group = 40
    shapes: list[tuple[int, ...]] = []
    run = predictor.session.run

    def noted(given: Any) -> Any:
        shapes.append(given["input_ids"].shape)
        return run(given)

    monkeypatch.setattr(predictor.session, "run", noted)
    texts = ["bread", "boat " * 28, "a cake", "sail " * 8, "the oven", "rope"]
    found = predictor.outputs(predictor.encode(texts))
    np.testing.assert_allclose(np.stack(found), outputs(predictor, texts, 2), rtol=1e-4)
    assert shapes == [(1, 30), (4, 10), (1, 3)]


def test_the_calibration_map_is_applied(tmp_path: Path) -> None:
    cold = Calibration("temperature", {"temperature": [4.0]})
    predictor = served.predictor(tmp_path / "model", calibration=cold)
    sums = outputs(predictor, TEXTS, 2) / 4
    expected = (np.exp(sums) / np.exp(sums).sum(1, keepdims=True)).max(1)
    found = [one.probability for one in predictor.predict(TEXTS)]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_several_classes_are_those_above_the_threshold(tmp_path: Path) -> None:
    labels = ("a", "b", "c")
    predictor = served.predictor(
        tmp_path / "model", kind="multi_label", labels=labels, threshold=0.3
    )
    expected = 1 / (1 + np.exp(-outputs(predictor, TEXTS, 3)))
    for one, row in zip(predictor.predict(TEXTS), expected, strict=True):
        np.testing.assert_allclose(list(one.probabilities.values()), row, rtol=1e-4)
        assert one.label == [name for name, value in zip(labels, row, strict=True) if value >= 0.3]
        assert one.probability is None


def test_a_regression_has_the_sum_itself(tmp_path: Path) -> None:
    predictor = served.predictor(tmp_path / "model", kind="regression", labels=())
    found = [one.label for one in predictor.predict(TEXTS)]
    np.testing.assert_allclose(found, outputs(predictor, TEXTS, 1)[:, 0], rtol=1e-4)


def test_pairs_are_read_with_segments(tmp_path: Path) -> None:
    predictor = served.predictor(tmp_path / "model", kind="pairs", two_texts=True)
    (one,) = predictor.predict(["the boat"], ["a sail and bread"])
    (encoding,) = predictor.encode(["the boat"], ["a sail and bread"])
    assert sum(encoding.type_ids) == 5  # four words and [SEP]
    sums = served.table(2)[encoding.ids].astype(np.float64).sum(0) + 5
    assert one.label == served.LABELS[int(sums.argmax())]
    (swapped,) = predictor.predict(["a sail and bread"], ["the boat"])
    assert swapped.probability == pytest.approx(one.probability, rel=1e-4)  # a sum: same tokens


def test_a_word_has_the_tag_of_its_first_token_and_words_beyond_the_cut_have_none(
    tmp_path: Path,
) -> None:
    labels = ("B-X", "I-X", "O")
    predictor = served.predictor(tmp_path / "model", kind="tokens", labels=labels, max_length=12)
    text = "the boat sails near ropes " + "oven " * 9
    (one,) = predictor.predict([text.strip()])
    (encoding,) = predictor.encode([text.strip()])
    assert encoding.tokens[:6] == ["[CLS]", "the", "boat", "sail", "##s", "near"]
    best = served.table(3)[encoding.ids].argmax(1)
    assert isinstance(one.label, list) and len(one.label) == 14 and one.truncated
    assert one.label[:4] == [labels[best[place]] for place in (1, 2, 3, 5)]
    assert one.label[-1] == "O"


def test_what_cannot_run_is_refused_by_one_line(tmp_path: Path) -> None:
    predictor = served.predictor(tmp_path / "model")
    with pytest.raises(Missing, match=r"model\.int8\.onnx .*--int8"):
        Predictor(predictor.model, int8=True)
    path = tmp_path / "broken.onnx"
    for raw in (b"", b"x" * 1000, (predictor.model.path / "model.onnx").read_bytes()[:-200]):
        path.write_bytes(raw)
        with pytest.raises(BrokenArtifact, match=rf"\A{re.escape(str(path))} is not [^\n]*\Z"):
            Session(path)


def test_a_text_without_tokens_is_named(tmp_path: Path, tiny_gpt2: Path) -> None:
    predictor = served.predictor(tmp_path / "model")
    shutil.copy(tiny_gpt2 / "tokenizer.json", tmp_path / "tokenizer.json")
    from tokenizers import Tokenizer

    predictor._tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    with pytest.raises(InvalidInput, match=r"texts\.1: expected a text with tokens"):
        predictor.encode(["a", ""])


def test_the_directory_that_is_served_is_a_verified_one(tmp_path: Path) -> None:
    model = served.write_served(tmp_path / "model")
    raw = (model.path / "model.onnx").read_bytes()
    (model.path / "model.onnx").write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    with pytest.raises(BrokenArtifact, match=r"model\.onnx has another SHA-256"):
        open_model_dir(model.path)
