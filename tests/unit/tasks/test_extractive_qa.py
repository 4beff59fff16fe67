"""Extractive question answering: answers are located, contexts read in windows, bad rows named."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import toy
from hypothesis import given
from hypothesis import strategies as st

from shortlist.core import Corpus
from shortlist.data.readers import silent
from shortlist.data.sources import LocalSource
from shortlist.errors import InvalidInput
from shortlist.models import checkpoint
from shortlist.models.heads.base import LossOptions
from shortlist.models.heads.spans import Spans, best_span
from shortlist.runtime import Runtime
from shortlist.tasks.extractive_qa import ExtractiveQa

MODELS = ("tiny_model", "tiny_gpt2", "tiny_llama")
CONTEXT = "the captain saw a reef near the harbour and the crew took the sail down"
ROW = {"context": CONTEXT, "question": "what was seen?", "answers": {"text": ["a reef"],
       "answer_start": [16]}}  # fmt: skip


def made(folder: Path, rows: list[dict[str, Any]], **changed: Any) -> ExtractiveQa:
    settings: dict[str, Any] = {
        "name": "qa", "text": "context", "text_b": "question", "label": "answers", "domain": None,
        "mass": None, "numeric": False, "metrics": None, "primary": None, "holdout": 0.1,
        "validation_share": 0.1, "test_share": 0.1, "seed": 0, "max_train": None, "positive": None,
        "overlap": 4, "answer_tokens": 10,
    }  # fmt: skip
    for split in ("train", "validation", "test"):
        settings[split] = str(toy.write_jsonl(folder / f"{split}.jsonl", rows))
    return ExtractiveQa(**{**settings, **changed})


@pytest.mark.parametrize(
    "answers",
    [
        {"text": ["a reef", "reef"], "answer_start": [16, 18]},
        [{"text": "a reef", "answer_start": 16}, {"text": "reef", "answer_start": 18}],
        ["a reef", "reef"],
        [{"text": "a reef"}, {"text": "reef"}],
        {"text": ["a reef", "reef"]},
    ],
)
def test_every_form_of_answers_is_the_same_label(tmp_path: Path, answers: Any) -> None:
    data = made(tmp_path, [{**ROW, "answers": answers}]).load(LocalSource(None), silent)
    (label,) = data.train.labels or ()
    assert json.loads(str(label)) == {"text": ["a reef", "reef"], "answer_start": [16, 18]}
    assert (data.train.texts[0], (data.train.texts_b or [])[0]) == (CONTEXT, ROW["question"])


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({"text": ["a reef"], "answer_start": [3]}, "expected 'a reef' at character 3 of the context, fo"),
        ({"text": ["a reef"], "answer_start": [-6]}, "expected 'a reef' at character -6"),
        (["galaxy"], "'galaxy' is not in the context"),
        ({"text": [], "answer_start": []}, "expected one or more, found none"),
        ([], "expected one or more, found none"),
        (None, "expected one or more, found none"),
        ([""], "expected strings, found ''"),
        ([" "], "expected texts, found ' '"),
        ({"text": ["a reef"], "answer_start": []}, "expected a start for each of 1 texts, found \\[\\]"),
        ({"text": ["reef"], "answer_start": ["x"]}, "expected whole numbers as starts, found 'x'"),
        ({"text": ["reef"], "answer_start": [18.5]}, "expected whole numbers as starts, found 18.5"),
        (7, "expected a list of strings, found 7"),
    ],
)  # fmt: skip
def test_a_bad_answer_is_quarantined_with_its_line(
    tmp_path: Path, answers: Any, reason: str
) -> None:
    data = made(tmp_path, [ROW, {**ROW, "answers": answers}]).load(LocalSource(None), silent)
    rejected = data.quarantined[0]
    assert rejected.line == 2 and reason.replace("\\", "") in rejected.reason
    assert len(data.train) == 1 and data.counts["quarantined_train"] == 1


def test_a_task_without_questions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"expected a column of questions, .*task.text_b=COLUMN"):
        made(tmp_path, [ROW], text_b=None)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("max_length", [24, 40, 128])
def test_the_tokens_of_an_answer_decode_to_it_in_every_window_that_holds_it(
    kind: str, max_length: int, request: pytest.FixtureRequest
) -> None:
    directory = request.getfixturevalue(kind)
    head, tokenizer = Spans(6, 10), checkpoint.tokenizer(directory)
    model = head.open(directory)
    begins = [0, 16, 4, CONTEXT.index("sail")]
    texts = ["the", "a reef", "captain", "sail down"]
    labels = [
        json.dumps({"text": [text], "answer_start": [at]})
        for text, at in zip(texts, begins, strict=True)
    ]
    corpus = Corpus.build([CONTEXT] * 4, texts_b=["who?"] * 4, labels=labels)
    read = head.read(corpus, model, tokenizer, max_length, labelled=True)
    assert isinstance(read.labels, torch.Tensor)
    held: set[int] = set()
    covered: dict[int, set[int]] = {}
    for window, (first, last, length), ids in zip(
        read.places, read.labels.tolist(), read.tokens.ids, strict=True
    ):
        assert len(ids) == length <= max_length
        own = window.offsets[window.context]
        covered.setdefault(window.row, set()).update(*(range(a, b) for a, b in own.tolist()))
        if first != window.none:
            held.add(window.row)
            found = CONTEXT[window.offsets[first, 0] : window.offsets[last, 1]]
            assert found.strip() == texts[window.row]
    letters = {place for place, letter in enumerate(CONTEXT) if letter != " "}
    assert all(letters <= places for places in covered.values()) and len(covered) == 4
    assert read.tokens.truncated == 4 - len(held)
    assert len(held) == 4 or max_length == 24


@pytest.mark.parametrize("kind", MODELS)
def test_the_weights_below_the_head_are_those_of_the_directory(
    kind: str, request: pytest.FixtureRequest
) -> None:
    directory = request.getfixturevalue(kind)
    found, expected = Spans(4, 10).open(directory).base_model, checkpoint.encoder(directory)
    weights = expected.state_dict()
    own = found.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in own.items()) and own


def test_a_question_without_room_for_its_context_is_refused(tiny_gpt2: Path) -> None:
    head, words = Spans(6, 10), checkpoint.tokenizer(tiny_gpt2)
    corpus = Corpus.build([CONTEXT], texts_b=["why is that so? " * 2], labels=["{}"])
    with pytest.raises(
        InvalidInput, match=r"max_length=39 leaves 6 tokens .* 'why is .*more than task.overlap=6"
    ):
        head.documents(corpus, None, words, 39)


@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_the_best_span_is_that_of_all_pairs(longest: int, size: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.integers(-5, 5, (size, 2)).astype(float)
    allowed = generator.random(size) < 0.7
    pairs = [
        (scores[first, 0] + scores[last, 1], -first, -last)
        for first in range(size)
        for last in range(first, min(size, first + longest))
        if allowed[first] and allowed[last]
    ]
    score, first, last = best_span(scores, allowed, longest)
    if pairs:
        assert (score, -first, -last) == max(pairs)
    else:
        assert score == -np.inf


def test_the_loss_does_not_depend_on_padding_and_is_torchs(tiny_model: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 9, 2, generator=generator)
    labels = torch.tensor([[1, 4, 9], [2, 2, 5]])
    loss = Spans(4, 10).loss(SimpleNamespace(logits=logits), labels, LossOptions())
    each = [
        torch.nn.functional.cross_entropy(logits[row, :length, side][None], torch.tensor([place]))
        for row, (first, last, length) in enumerate(labels.tolist())
        for side, place in enumerate((first, last))
    ]
    torch.testing.assert_close(loss, torch.stack(each).mean())


@pytest.mark.parametrize("kind", ["tiny_model", "tiny_gpt2"])
def test_a_prediction_is_the_span_that_the_model_points_at_in_whatever_window(
    kind: str, request: pytest.FixtureRequest
) -> None:
    directory = request.getfixturevalue(kind)
    head, words = Spans(6, 10), checkpoint.tokenizer(directory)
    at = CONTEXT.index("sail")
    label = json.dumps({"text": ["sail down"], "answer_start": [at]})
    corpus = Corpus.build([CONTEXT, "a reef"], texts_b=["who?"] * 2, labels=[label, label])
    inputs = head.documents(corpus, head.open(directory), words, 30)
    assert len(inputs.places) > 2

    def model(input_ids: torch.Tensor, **unused: Any) -> Any:
        """Points at the answer in the windows that hold it, elsewhere at "not here"."""
        logits = torch.zeros(*input_ids.shape, 2)
        for line, ids in enumerate(input_ids):
            window = next(
                one for one, own in zip(inputs.places, inputs.tokens.ids, strict=True)
                if ids[: len(own)].tolist() == own.tolist()
            )  # fmt: skip
            span = window.span(at, at + 9) if window.row == 0 else None
            for side, place in enumerate(span or (window.none, window.none)):
                logits[line, place, side] = 9.0
        return SimpleNamespace(logits=logits)

    found = head.predict(
        model, inputs, Runtime(accelerator="cpu", progress=False), lambda done: None
    )
    assert found[0] == "sail down" and found[1] in "a reef"


def test_metrics_take_the_best_of_several_answers(tmp_path: Path) -> None:
    several = {**ROW, "answers": ["a reef", "the captain"]}
    spec = made(tmp_path, [several, {**ROW, "question": "and?"}])
    data = spec.load(LocalSource(None), silent)
    values = np.array([
        "The captain!" if json.loads(str(label))["text"][-1] == "the captain" else "reef near"
        for label in data.test.labels or ()
    ])  # fmt: skip
    found = {metric.name: metric.value for metric in spec.evaluate(values, data)}
    assert found == pytest.approx({"exact_match": 0.5, "token_f1": (1 + 2 / 3) / 2})
    assert spec.item_scores(values, data)["token_f1"].mean() == pytest.approx(found["token_f1"])
