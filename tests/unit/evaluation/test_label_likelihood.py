"""The likeliest label against one forward pass a prompt, and the laws of cutting and normalising."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy
from numpy.testing import assert_allclose

from shortlist.core import Corpus
from shortlist.errors import InvalidInput
from shortlist.models import checkpoint
from shortlist.store.cache import executions

LABELS = {"sailing": "boats and the sea", "baking": "bread", "music": "songs"}
PROMPT = "{text} This is about {label}, they say."
TEXTS = [text for topic in LABELS for text in toy.sentences(topic, 5, 8)]
TRUTH = [topic for topic in LABELS for _ in range(5)]
TEST = Corpus.build(TEXTS, labels=TRUTH).canonical()


@pytest.fixture
def ask(evaluator: Any, context: Any) -> Any:
    """A function from settings to what the evaluator finds."""

    def found(where: dict[str, Any] | None = None, **settings: Any) -> Any:
        settings = {"prompt": PROMPT, "labels": LABELS, **settings}
        return evaluator("label_likelihood", **settings).evaluate(
            context(**{"test": TEST, **(where or {})})
        )

    return found


def directly(directory: Path, before: str, after: str, normalise: str) -> float:
    """The loss that decides, by one forward pass over one prompt."""
    model, words = checkpoint.causal_lm(directory).eval(), checkpoint.tokenizer(directory)
    # One token a byte: the label's tokens are those of its bytes.
    ids = words(before + after)["input_ids"]
    with torch.no_grad():
        logits = torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), -1)
    losses = [-float(logits[place - 1, ids[place]]) for place in range(1, len(ids))]
    start = 0 if normalise == "sentence" else len(before.encode()) - 1
    return sum(losses[start:]) / (1 if normalise == "sum" else len(losses[start:]))


@pytest.mark.parametrize("normalise", ["sentence", "token", "sum"])
def test_the_choice_is_that_of_a_forward_pass_over_each_prompt(
    ask: Any, tiny_gpt2: Path, tmp_path: Path, normalise: str
) -> None:
    losses = np.array(
        [
            [
                directly(tiny_gpt2, f"{text} This is about ", f"{label}, they say.", normalise)
                for label in LABELS.values()
            ]
            for text in TEST.texts
        ]
    )
    truth = np.array([list(LABELS).index(label) for label in TEST.labels or ()])
    right = losses.argmin(1) == truth
    found = ask(normalise=normalise)
    stored = next((tmp_path / "cache" / "label_likelihood").glob("*/losses.npy"))
    assert_allclose(np.load(stored), losses, rtol=1e-5)
    assert found.item_scores["accuracy"].tolist() == right.tolist()
    (metric,) = found.metrics
    p = right.mean()
    assert (metric.value, metric.n) == (pytest.approx(p), 15)
    assert metric.stderr == pytest.approx(math.sqrt(p * (1 - p) / 15))
    chosen = np.bincount(losses.argmin(1), minlength=3)
    assert [found.counts[f"chosen_{name}"] for name in LABELS] == chosen.tolist()


def test_the_order_of_the_labels_changes_no_choice(ask: Any) -> None:
    backward = dict(reversed(LABELS.items()))
    one, two = ask(), ask(labels=backward)
    assert one.item_scores["accuracy"].tolist() == two.item_scores["accuracy"].tolist()
    names = [f"chosen_{name}" for name in LABELS]
    assert [one.counts[name] for name in names] == [two.counts[name] for name in names]


def test_the_ways_to_normalise_are_three_different_questions(ask: Any, tmp_path: Path) -> None:
    for normalise in ("sentence", "token", "sum"):
        ask(normalise=normalise)
    found = [np.load(p) for p in (tmp_path / "cache" / "label_likelihood").glob("*/losses.npy")]
    assert len({array.tobytes() for array in found}) == 3


def test_a_long_item_loses_its_beginning_alike_under_every_label(
    ask: Any, tiny_gpt2: Path, tmp_path: Path
) -> None:
    test = Corpus.build(["x" * 300, "yz"], labels=["sailing", "baking"]).canonical()
    found = ask({"test": test}, context=60, normalise="sum")
    assert found.counts["cut"] == 1
    longest = len(PROMPT.format(text="", label=LABELS["sailing"]))
    row = test.texts.index("x" * 300)
    losses = np.load(next((tmp_path / "cache" / "label_likelihood").glob("*/losses.npy")))[row]
    kept = "x" * (60 - longest)
    direct = [
        directly(tiny_gpt2, f"{kept} This is about ", f"{label}, they say.", "sum")
        for label in LABELS.values()
    ]
    assert_allclose(losses, direct, rtol=1e-5)
    with pytest.raises(InvalidInput, match="leaves no token of the item before the label"):
        ask({"test": test}, context=20, normalise="sum")


def test_batches_change_nothing_and_equal_questions_are_asked_once(
    ask: Any, machine: Any, tmp_path: Path
) -> None:
    one = ask({"runtime": replace(machine, inference_tokens=1)})
    assert one.item_scores["accuracy"].tolist() == ask().item_scores["accuracy"].tolist()
    assert ask(metric="other").metrics[0].name == "other"
    assert len(executions(tmp_path / "cache")) == 1


def test_a_sample_is_by_id_and_counted(ask: Any) -> None:
    found = ask(documents=6)
    assert found.metrics[0].n == 6 and found.counts["not_sampled"] == 9
    assert found.metrics[0].protocol != ask().metrics[0].protocol


def test_braces_in_a_text_stay_what_they_are(evaluator: Any) -> None:
    asked = evaluator("label_likelihood", prompt="{text} or {text_b}: {label}", labels=LABELS)
    items = Corpus.build(["a {label} {text_b}"], texts_b=["{text}"])
    (prompts,) = asked.prompts(items)
    assert prompts[1].text == "a {label} {text_b} or {text}: bread"
    assert prompts[1].text[prompts[1].label_start :] == "bread"


def test_every_setting_is_in_the_hash_of_the_protocol(ask: Any) -> None:
    changes: list[dict[str, Any]] = [
        {}, {"prompt": "{text} {label}"}, {"labels": {**LABELS, "music": "tunes"}},
        {"normalise": "sum"}, {"documents": 3}, {"documents": 3, "seed": 1}, {"context": 100},
        {"bos": True},
    ]  # fmt: skip
    assert len({ask(**change).metrics[0].protocol for change in changes}) == len(changes)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"normalise": "tokens"}, "unknown normalise 'tokens'; did you mean `token`"),
        ({"prompt": "{text}"}, "a place {text} and one {label}"),
        ({"prompt": "{label} {text} {label}"}, "a place {text} and one {label}"),
        ({"prompt": "{text} {text_b} {label}"}, "the items are single texts"),
        (
            {"labels": {"sailing": "sea", "bakin": "bread"}},
            "no words for the class '(baking|music)'",
        ),
        ({"labels": {"sailing": "sea", "baking": ""}}, "words for two classes or more"),
        ({"labels": {"sailing": "sea"}}, "words for two classes or more"),
    ],
)
def test_what_cannot_be_asked_is_refused(ask: Any, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        ask(**settings)


def test_a_task_without_test_labels_is_refused(ask: Any) -> None:
    with pytest.raises(InvalidInput, match="expected test items with labels, found none"):
        ask({"test": TEST.unlabelled()})
