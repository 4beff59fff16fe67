"""The labelled sentences of personal_data.txt, and of personal_data_held_out.txt, which the patterns
were never corrected on: places of personal data in braces, `{kind:value}`.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from shortlist.prepare.anonymise import KINDS, Span, find_personal_data

_MARK = re.compile(r"\{([a-z]+):(.*?)\}")


@dataclass(frozen=True)
class Sentence:
    """One sentence and the places of personal data in it."""

    text: str
    spans: tuple[Span, ...]


def labelled(file: str = "personal_data.txt") -> list[Sentence]:
    """Returns the sentences, in the order of the file."""
    sentences: list[Sentence] = []
    path = Path(__file__).with_name(file)
    for line in path.read_text(encoding="utf-8").splitlines():
        text, last, spans = "", 0, list[Span]()
        for mark in _MARK.finditer(line):
            text += line[last : mark.start()]
            spans.append(Span(len(text), len(text) + len(mark[2]), mark[1]))
            text, last = text + mark[2], mark.end()
        sentences.append(Sentence(text + line[last:], tuple(spans)))
    return sentences


@dataclass(frozen=True)
class Quality:
    """How well one kind is found: places labelled, found, and found exactly."""

    labelled: int
    found: int
    right: int

    @property
    def precision(self) -> float:
        return self.right / self.found if self.found else 1.0

    @property
    def recall(self) -> float:
        return self.right / self.labelled


def measure(sentences: list[Sentence]) -> dict[str, Quality]:
    """Returns precision and recall by kind; a place counts as right if its ends and kind are."""
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    for sentence in sentences:
        found = find_personal_data(sentence.text)
        for span in sentence.spans:
            counts[span.kind]["labelled"] += 1
        for span in found:
            counts[span.kind]["found"] += 1
            counts[span.kind]["right"] += span in sentence.spans
    return {kind: Quality(c["labelled"], c["found"], c["right"]) for kind, c in counts.items()}


def disagreements(sentences: list[Sentence]) -> list[str]:
    """Returns the sentences whose places are not those labelled, with what was found."""
    return [
        f"{one.text} -> {[(s.kind, one.text[s.start : s.stop]) for s in found]}"
        for one in sentences
        if tuple(found := find_personal_data(one.text)) != one.spans
    ]
