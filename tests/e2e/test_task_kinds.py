"""A cell of each kind of task from files of the user's own: trained, measured, on the record's page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import toy

pytestmark = pytest.mark.whole

TOPICS = ("sailing", "baking", "stars")


def multi_label(seed: int, n: int) -> list[dict[str, Any]]:
    """Returns rows of two topics or none each."""
    rows: list[dict[str, Any]] = []
    for first, second in (("sailing", "baking"), ("baking", "stars"), ("sailing", "stars")):
        for one, other in zip(
            toy.sentences(first, n, seed), toy.sentences(second, n, seed + 50), strict=True
        ):
            rows.append({"text": f"{one} {other}", "labels": [second, first]})
    return [*rows, *({"text": text, "labels": []} for text in toy.sentences("music", n, seed))]


def token_classification(seed: int, n: int) -> list[dict[str, Any]]:
    """Returns sentences on ships, whose words of four letters are entities."""
    return [
        {"words": words, "tags": ["B-PART" if len(word) == 4 else "O" for word in words]}
        for words in (text.split(" ") for text in toy.sentences("sailing", n, seed))
    ]


def extractive_qa(seed: int, n: int) -> list[dict[str, Any]]:
    """Returns questions for the word after "the", or the first word, of two sentences."""
    rows: list[dict[str, Any]] = []
    for one, other in zip(
        toy.sentences("sailing", n, seed), toy.sentences("baking", n, seed + 50), strict=True
    ):
        context = f"{one} {other}"
        answer = f"{context} the end".partition("the ")[2].split()[0]
        answer = answer if f"the {answer}" in context else context.split()[0]
        rows.append({"context": context, "question": "the what", "answers": [answer]})
    return rows


def text_generation(seed: int, n: int) -> list[dict[str, Any]]:
    """Returns prompts whose response is the topic."""
    return [
        {"prompt": text, "response": topic}
        for topic in TOPICS
        for text in toy.sentences(topic, n, seed)
    ]


KINDS: dict[str, Callable[[int, int], list[dict[str, Any]]]] = {
    "extractive_qa": extractive_qa,
    "multi_label": multi_label,
    "text_generation": text_generation,
    "token_classification": token_classification,
}


OWN: dict[str, list[str]] = {  # settings of a kind
    "extractive_qa": ["task.overlap=6", "task.answer_tokens=3", "finetune.max_length=24"],
    "text_generation": [
        "task.answer_tokens=8",
        "finetune.max_length=128",
        "task.metrics=[bleu,chrf]",
    ],
}


@pytest.fixture
def files(tmp_path: Path) -> Callable[[str], list[str]]:
    """A function from a kind to the overrides that name its files."""

    def write(kind: str) -> list[str]:
        named = [f"task={kind}", f"task.name={kind}"]
        for split, seed, n in (("train", 1, 12), ("validation", 2, 3), ("test", 3, 4)):
            path = toy.write_jsonl(tmp_path / f"{split}.jsonl", KINDS[kind](seed, n))
            named.append(f"task.{split}={path}")
        return named

    return write


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_cell_of_each_kind_is_trained_and_measured(
    kind: str, run: Callable[..., Any], files: Callable[[str], list[str]], tiny_gpt2: Path
) -> None:
    typed = ["selector=random", "advice=null", *files(kind), *OWN.get(kind, ())]
    if kind == "text_generation":
        refused, _ = run(*typed)
        assert "found a warm-up by mlm; set trainer@warmup=clm" in refused.reason
        typed += [f"model.path={tiny_gpt2}", "model.head=null", "trainer@warmup=clm"]
        typed += ["warmup.block=32", "warmup.epochs=1"]
    record, _ = run(*typed)
    assert record.reason == ""
    (primary,) = [metric for metric in record.metrics if metric.primary]
    assert 0 <= primary.value <= 1 and primary.name in record.item_scores
    json.dumps(record.selection.get("evaluation"))
