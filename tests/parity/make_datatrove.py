"""Writes datatrove.json: the verdicts of datatrove's filters on generated texts, on our words.

Runs in an environment with datatrove 0.10.1, regex and numpy:

    python tests/parity/make_datatrove.py

datatrove cuts words and sentences with spaCy. Here it gets the words of `shortlist.kernels.words` (one
regular expression) and the sentences of `heuristics.count_sentences`, so that every difference is one
of the filters. Its list of punctuation lacks the bullet, which is added.
"""

import itertools
import json
import random
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import datatrove.pipeline.filters.c4_filters as c4
import datatrove.pipeline.filters.fineweb_quality_filter as fineweb
import datatrove.pipeline.filters.gopher_quality_filter as quality
import datatrove.pipeline.filters.gopher_repetition_filter as repetition
import regex
from datatrove.data import Document

SEED = 20261130
WORDS = regex.compile(r"\w+|[^\w\s]+")
ENDS = re.compile(r"[.!?]+[\"')\]]*(?=\s|$)")
VOCABULARY = (  # noqa: SIM905
    "the be to of and that have with a in is was river stone harbour winter letters garden machine"
    " answers quietly between yesterday engineering x 42 3.14 don't e-mail naïve straße"
).split()
ENDINGS = [".", ".", ".", "!", "?", "...", "…", "", ":", '."', "。"]


def words(text: str, language: str = "") -> list[str]:
    return WORDS.findall(text)


def sentences(line: str, language: str = "") -> list[str]:
    ends = [match.end() for match in ENDS.finditer(line)]
    cuts = [0, *ends, len(line)]
    return [line[a:b] for a, b in itertools.pairwise(cuts) if line[a:b].strip()]


for module in (quality, repetition, fineweb):
    module.split_into_words = words
c4.split_into_sentences = sentences
quality.PUNCTUATION_SET = quality.PUNCTUATION_SET | {"\u2022"}  # a bullet is no word, as in Unicode


def make_text(rng: random.Random) -> str:
    """A text of lines, with more or less repetition, bullets, symbols and odd lines."""
    kind = rng.random()
    lines: list[str] = []
    few = rng.sample(VOCABULARY, rng.choice([3, 8, len(VOCABULARY)]))
    for _ in range(rng.randint(1, 14)):
        chosen = [rng.choice(few) for _ in range(rng.randint(1, 22))]
        if kind < 0.15:
            chosen = [rng.choice(["#", "...", "--", "12", word]) for word in chosen]
        if 0.15 < kind < 0.25:
            chosen = [word * rng.randint(1, 4) for word in chosen]
        line = " ".join(chosen) + rng.choice(ENDINGS)
        if 0.25 < kind < 0.4:
            line = rng.choice(["- ", "• ", "* "]) + line
        if rng.random() < 0.08:
            line = rng.choice(
                ["Lorem ipsum dolor sit amet.", "Enable javascript to see it.", "We have a cookie policy.",
                 "a { color: red }.", "As told [12] in the book[edit].", "  ", "#" * 7, "x" * 1200 + " a b."]
            )  # fmt: skip
        lines.append(line)
        if rng.random() < 0.15 or kind > 0.9:
            lines.append(rng.choice(lines))
    return rng.choice(["\n", "\n", "\n\n"]).join(lines)


def reason(filter_: Any, text: str) -> str:
    found = filter_.filter(Document(text=text, id="0"))
    return "" if found is True else found[1]


def main() -> None:
    rng = random.Random(SEED)
    texts = [make_text(rng) for _ in range(400)]
    loose = quality.GopherQualityFilter(
        min_doc_words=5, min_stop_words=1, max_non_alpha_words_ratio=0.5
    )
    filters: dict[str, Any] = {
        "gopher_quality": quality.GopherQualityFilter(),
        "gopher_quality_loose": loose,
        "gopher_repetition": repetition.GopherRepetitionFilter(),
        "fineweb_quality": fineweb.FineWebQualityFilter(),
    }
    verdicts = {name: [reason(one, text) for text in texts] for name, one in filters.items()}
    edited: list[str] = []
    verdicts["c4_quality"] = []
    for text in texts:
        document = Document(text=text, id="0")
        found = c4.C4QualityFilter().filter(document)
        verdicts["c4_quality"].append("" if found is True else found[1])
        edited.append(document.text if found is True else "")
    made = {"datatrove": version("datatrove"), "seed": SEED, "texts": texts, "verdicts": verdicts}
    path = Path(__file__).with_name("datatrove.json")
    path.write_text(
        json.dumps({**made, "c4_texts": edited}, ensure_ascii=False, indent=0) + "\n", "utf-8"
    )


if __name__ == "__main__":
    main()
