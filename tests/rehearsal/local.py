"""A data folder (`paths.data`) for experiments that read files of this machine: a few rows of each."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import toy

from rehearsal.layout import Row, labelled, prose

SINGLE = {
    "csabstruct": ("method", "background", "result"),
    "citation_intent": ("Background", "Uses", "Extends"),
    "sciie_relation": ("USED-FOR", "CONJUNCTION", "COMPARE"),
    "pubmedqa_sections": ("RESULTS", "METHODS", "CONCLUSIONS"),
    "hyperpartisan": ("hyperpartisan", "not_hyperpartisan"),
    "amazon_helpfulness": ("helpful", "unhelpful"),
    "ag_news": ("World", "Sports", "Business", "Sci/Tech"),
    "cola": ("acceptable", "unacceptable"),
    "sst2": ("positive", "negative"),
}
PAIRS: dict[str, tuple[Any, ...]] = {
    "mnli": ("entailment", "contradiction", "neutral"),
    "rte": ("entailment", "not_entailment"),
    "mrpc": ("equivalent", "not_equivalent"),
    "stsb": (0.0, 1.5, 3.0, 5.0),
}
POOLS = ("biomedical", "blogs", "books", "cs_abstracts", "dialogue", "news", "reddit", "reviews_movies",
         "reviews_products", "tweets", "wikipedia")  # fmt: skip
SOURCES = ("jigsaw", "olid", "toxigen_seed", "davidson", "hateval", "stormfront")


def write(root: Path) -> Path:
    """Returns `root` after writing the files under it."""
    for split, n in (("train", 48), ("validation", 24), ("test", 24)):
        for name, classes in SINGLE.items():
            rows = labelled(
                f"{name} {split}", n, classes, lambda text, label: {"text": text, "label": label}
            )
            _write(root / "tasks" / name / split, rows)
        for name, classes in PAIRS.items():
            rows = labelled(
                f"{name} {split}", n, classes,
                lambda text, label: {"text_a": text, "text_b": text[::2], "label": label},
            )  # fmt: skip
            _write(root / "tasks" / name / split, rows)
        _write(root / "toxicity" / "labelled" / split, [
            {"text": text, "label": ("toxic", "nontoxic")[number % 2], "source": source, "orig_label": ""}
            for source in SOURCES for number, text in enumerate(prose("music", 6, 60, f"{source} {split}"))
        ])  # fmt: skip
        halves = prose("sailing", 2 * n, 50, f"halves {split}")
        _write(root / "toxicity" / "realtoxicityprompts" / split, [
            {"prompt": halves[2 * number], "continuation": halves[2 * number + 1], "doc": f"{number}",
             "toxicity": (0.05, 0.8)[number % 2], "continuation_toxicity": (0.02, 0.6)[number % 2]}
            for number in range(n)
        ])  # fmt: skip
    topics = itertools.cycle(toy.TOPICS)
    for domain, topic in zip(POOLS, topics, strict=False):
        _write(root / "pools" / domain, [
            {"text": text, "domain": domain, "doc": f"{number}"}
            for number, text in enumerate(prose(topic, 40, 200, domain))
        ])  # fmt: skip
    _write(
        root / "lm_eval" / "wikitext103" / "test",
        [{"text": text} for text in prose("stars", 12, 300, "w")],
    )
    return root


def _write(path: Path, rows: Sequence[Row | Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    path.with_name(f"{path.name}.jsonl.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
