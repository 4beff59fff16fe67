"""Verdicts of the heuristics against those of datatrove's filters (see make_datatrove.py)."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from shortlist.pipeline.build import build_plain
from shortlist.prepare.base import DocumentOperation, Text

pytestmark = pytest.mark.whole

GOLDEN: dict[str, Any] = json.loads(Path(__file__).with_name("datatrove.json").read_text("utf-8"))
TEXTS: list[str] = GOLDEN["texts"]
CONF = Path(__file__).parents[2] / "conf/prepare"
LOOSE = {"min_doc_words": 5, "min_stop_words": 1, "min_alpha_words_ratio": 0.5}


def operation(name: str, **changes: Any) -> DocumentOperation:
    settings: Any = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
    return build_plain({**settings, **changes}, name, DocumentOperation)


def first_rule(found: tuple[str, ...]) -> str:
    return found[0].removeprefix("gopher_") if found else ""


@pytest.mark.parametrize(
    ("golden", "name", "changes"),
    [
        ("gopher_quality", "gopher_quality", {}),
        ("gopher_quality_loose", "gopher_quality", LOOSE),
        ("gopher_repetition", "gopher_repetition", {}),
        ("fineweb_quality", "fineweb_quality", {}),
    ],
)
def test_the_first_failed_rule_is_that_of_datatrove(
    golden: str, name: str, changes: dict[str, Any]
) -> None:
    ours = [first_rule(operation(name, **changes).apply(Text(text)).failed) for text in TEXTS]
    theirs = [reason.removeprefix("gopher_") for reason in GOLDEN["verdicts"][golden]]
    assert ours == theirs
    assert len(Counter(theirs)) >= 4 and "" in theirs  # several rules fail, and some texts pass


def test_lines_and_verdicts_of_c4_are_those_of_datatrove() -> None:
    verdicts = [operation("c4_quality").apply(Text(text)) for text in TEXTS]
    theirs = GOLDEN["verdicts"]["c4_quality"]
    # datatrove stops at the first line that drops the document, and then counts no sentences.
    assert [first_rule(found.failed) for found in verdicts] == theirs
    kept = [found.text for found in verdicts if not found.failed]
    assert kept == [
        text for text, reason in zip(GOLDEN["c4_texts"], theirs, strict=True) if not reason
    ]
    assert {"lorem_ipsum", "curly_bracket", "too_few_sentences", ""} == set(theirs)
