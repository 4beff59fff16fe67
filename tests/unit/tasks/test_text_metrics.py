"""Metrics of texts equal those of torchmetrics' SQuAD, of sacrebleu's command line, of rouge_score."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy

from shortlist.errors import Missing
from shortlist.tasks import sums, text_metrics

RNG = random.Random(5)
RIGHT = [sentence.capitalize() + "." for sentence in toy.sentences("sailing", 30)]


def changed(text: str) -> str:
    words = [word for word in text.split() if RNG.random() < 0.8]
    RNG.shuffle(words[: len(words) // 2])
    return " ".join(words)


FOUND = [*map(changed, RIGHT[:20]), *RIGHT[20:26], "", "The, a AN!", "galaxy", "Oboe oboe"]


@pytest.mark.parametrize(
    ("found", "right", "exact", "f1"),
    [
        ("the Cat, sat!", ["cat sat"], 1.0, 1.0),
        ("cat sat", ["a dog", "The cat"], 0.0, 2 / 3),
        ("a the", ["!"], 1.0, 1.0),
        ("", ["cat"], 0.0, 0.0),
        ("cat cat dog", ["cat dog dog"], 0.0, 2 / 3),
        ("theatre", ["atre"], 0.0, 0.0),
    ],
)
def test_exact_match_and_token_f1_are_those_computed_by_hand(
    found: str, right: list[str], exact: float, f1: float
) -> None:
    assert text_metrics.exact_match(found, right) == exact
    assert text_metrics.token_f1(found, right) == pytest.approx(f1)


def test_exact_match_and_token_f1_equal_torchmetrics_squad() -> None:
    from torchmetrics.functional.text import squad

    several = [[one, "zzz", RIGHT[0]] for one in RIGHT]
    predictions = [{"id": str(row), "prediction_text": text} for row, text in enumerate(FOUND)]
    references = [
        {"id": str(row), "answers": {"text": texts, "answer_start": [0] * len(texts)}}
        for row, texts in enumerate(several)
    ]
    expected: Any = squad(predictions, references)
    for name, key in (("exact_match", "exact_match"), ("token_f1", "f1")):
        found = text_metrics.means(getattr(text_metrics, name), FOUND, several)
        assert 100 * sums.mean(found.sum(0)) == pytest.approx(float(expected[key]), abs=1e-4)


def test_bleu_and_chrf_equal_the_command_line_of_sacrebleu(tmp_path: Path) -> None:
    pytest.importorskip("sacrebleu")
    for name, texts in (("right", RIGHT), ("found", FOUND)):
        (tmp_path / name).write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    typed = [
        "-m",
        "sacrebleu",
        "right",
        "-i",
        "found",
        "-m",
        "bleu",
        "chrf",
        "-w",
        "10",
        "-f",
        "json",
    ]
    done = subprocess.run(
        [sys.executable, *typed], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    told = {row["name"].lower().rstrip("2"): row for row in json.loads(done.stdout)}
    for name in ("bleu", "chrf"):
        statistics = text_metrics.statistics(name, FOUND, RIGHT)
        (value,) = text_metrics.DEFINITIONS[name](statistics.sum(0)[None])
        assert 100 * value == pytest.approx(told[name]["score"], abs=1e-9)
        assert text_metrics.signature(name) == told[name]["signature"]


def test_rouge_equals_rouge_score_and_its_mean_over_items() -> None:
    scorer_of = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer
    names = {"rouge1": "rouge1", "rouge2": "rouge2", "rouge_l": "rougeL"}
    scorer = scorer_of(list(names.values()))
    rows = [scorer.score(right, found) for right, found in zip(RIGHT, FOUND, strict=True)]
    for name, own in names.items():
        expected = np.mean([row[own].fmeasure for row in rows])
        found = sums.mean(text_metrics.statistics(name, FOUND, RIGHT).sum(0))
        assert float(found) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", list(text_metrics.DEFINITIONS))
def test_item_scores_have_the_metric_as_their_mean_up_to_the_bias_of_the_jackknife(
    name: str,
) -> None:
    statistics = text_metrics.statistics(name, FOUND, RIGHT)
    value = float(text_metrics.DEFINITIONS[name](statistics.sum(0)[None])[0])
    scores = sums.item_scores(text_metrics.DEFINITIONS[name], statistics)
    assert 0 < value < 1 and scores.shape == (len(FOUND),)
    assert scores.mean() == pytest.approx(value, abs=1e-8)


def test_a_metric_without_its_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    text_metrics.check_packages(["token_f1", "exact_match"])
    with pytest.raises(Missing, match=r"bleu needs the package sacrebleu, found none; .*\[eval\]"):
        text_metrics.check_packages(["token_f1", "bleu"])
