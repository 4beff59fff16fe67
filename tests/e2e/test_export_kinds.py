"""Each kind of task from its run to the predictions of its model directory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy

from shortlist.deploy.export import export_run
from shortlist.deploy.inference import Predictor
from shortlist.deploy.runs import open_run
from shortlist.errors import InvalidInput

pytestmark = [pytest.mark.whole, pytest.mark.slow]  # some ten seconds each

TOPICS = ("sailing", "baking")


def rows(kind: str, seed: int, n: int) -> list[dict[str, Any]]:
    pairs = [(text, topic) for topic in TOPICS for text in toy.sentences(topic, n, seed)]
    made: dict[str, Callable[[str, str], dict[str, Any]]] = {
        "regression": lambda text, topic: {"text": text, "label": len(text) / 10},
        "pairs": lambda text, topic: {"text": text, "other": text[::-1], "label": topic},
        "multi_label": lambda text, topic: {"text": text, "labels": [topic, text[0]]},
        "token_classification": lambda text, topic: {
            "words": text.split(" "),
            "tags": ["B-PART" if len(word) == 4 else "O" for word in text.split(" ")],
        },
    }
    return [made[kind](text, topic) for text, topic in pairs]


OWN = {
    "regression": ["task=own", "task.label=label", "task.numeric=true"],
    "pairs": ["task=own", "task.label=label", "task.text_b=other"],
    "multi_label": ["task=multi_label"],
    "token_classification": ["task=token_classification"],
}


@pytest.mark.parametrize("kind", sorted(OWN))
def test_what_is_served_is_what_the_run_predicted(
    kind: str, run: Callable[..., Any], small: tuple[str, ...], tmp_path: Path
) -> None:
    typed = ["selector=random", "advice=null", *OWN[kind], f"task.name={kind}"]
    for split, seed, n in (("train", 1, 12), ("validation", 2, 4), ("test", 3, 6)):
        path = toy.write_jsonl(tmp_path / f"{split}.jsonl", rows(kind, seed, n))
        typed.append(f"task.{split}={path}")
    record, directory = run(*typed)
    assert record.reason == ""
    places = [text for text in small if text.startswith("paths.")]
    with open_run(directory, places) as opened:
        model = export_run(opened, tmp_path / "model", onnx=True)
        test, expected = opened.task.data.test, opened.predictions
    assert model.variants["model.onnx"].agreement == 1
    assert model.variants["model.onnx"].metric.value == pytest.approx(model.metric.value, abs=1e-4)
    found = Predictor(model).predict(list(test.texts), test.texts_b and list(test.texts_b))
    if kind == "token_classification":
        assert [one.label for one in found] == [json.loads(text) for text in expected]
    elif kind == "regression":
        np.testing.assert_allclose([one.label for one in found], expected, atol=1e-4)
    else:
        values = [[one.probabilities[name] for name in model.labels] for one in found]
        np.testing.assert_allclose(values, expected, atol=1e-5)
    assert model.two_texts == (kind == "pairs")


def test_a_model_that_generates_is_refused_by_name(
    run: Callable[..., Any], small: tuple[str, ...], tmp_path: Path
) -> None:
    path = toy.write_jsonl(
        tmp_path / "qa.jsonl",
        [
            {"context": text, "question": "the what", "answers": [text.split()[0]]}
            for text in toy.sentences("sailing", 12)
        ],
    )
    files = [f"task.{split}={path}" for split in ("train", "validation", "test")]
    record, directory = run(
        "selector=random", "advice=null", "task=extractive_qa", "task.name=qa", *files,
        "task.overlap=6", "task.answer_tokens=3", "finetune.max_length=24",
    )  # fmt: skip
    assert record.reason == ""
    places = [text for text in small if text.startswith("paths.")]
    with (
        open_run(directory, places) as opened,
        pytest.raises(InvalidInput, match=r"predicts classes, numbers or tags, this one is"),
    ):
        export_run(opened, tmp_path / "model")
