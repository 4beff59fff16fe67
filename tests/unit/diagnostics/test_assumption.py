"""The verdict depends on the range of the kinds of reference text, and on nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy

from shortlist.core import Corpus
from shortlist.diagnostics.assumption import (
    PARTS,
    Measurements,
    assess,
    check_assumption,
    divergences,
    kinds_of,
    reference_texts,
)
from shortlist.errors import InvalidInput
from shortlist.featurizers.base import Featurizer

KINDS = np.repeat(np.arange(8), 4)
LEVELS = np.linspace(1.0, 1.7, 8)  # of each kind of the reference


def measured(tokens: np.ndarray, losses: np.ndarray | None = None, seed: int = 0) -> Measurements:
    """Documents of ten words with so many tokens a word, and so many nats in two predictions."""
    n = len(tokens)
    pairs = None if losses is None else (losses * 2, np.full(n, 2.0))
    vectors = np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)
    return Measurements(vectors, tokens * 10, np.full(n, 10), pairs)


def verdict(pool_tokens: float, pool_loss: float | None = None) -> dict[str, Any]:
    def flat(tokens: float, seed: int) -> Measurements:
        return measured(
            np.full(6, tokens), None if pool_loss is None else np.full(6, pool_loss), seed
        )

    reference = measured(LEVELS[KINDS], None if pool_loss is None else 2 * LEVELS[KINDS])
    sides = {"pool": flat(pool_tokens, 1), "target": flat(1.2, 2), "reference": reference}
    return assess(sides, KINDS).facts()


@pytest.mark.parametrize(
    ("tokens", "says"),
    [(0.5, "holds"), (1.35, "holds"), (1.7, "holds"), (2.1, "unclear"), (3.0, "fails")],
)
def test_a_pool_within_the_reference_holds_and_one_far_above_it_fails(
    tokens: float, says: str
) -> None:
    found = verdict(tokens)
    assert found["verdict"] == says
    assert f"{tokens:.2f} tokens a word against 1.00 to 1.70 in 8 kinds" in str(found["sentence"])
    assert "loss" not in found


def test_either_measure_can_fail_a_pool() -> None:
    assert verdict(1.35, 2.6)["verdict"] == "holds"
    assert verdict(1.35, 8.0)["verdict"] == verdict(3.5, 2.6)["verdict"] == "fails"
    assert "8.00 nats a token against 2.00 to 3.40" in str(verdict(1.35, 8.0)["sentence"])


def test_numbers_are_ratios_of_sums_and_not_means_of_ratios() -> None:
    vectors = np.eye(3, dtype=np.float32)[:2]
    pool = Measurements(vectors, np.array([10, 400]), np.array([10, 100]))
    sides = {"pool": pool, "target": pool, "reference": measured(LEVELS[KINDS])}
    assert assess(sides, KINDS).tokens_per_word["pool"] == pytest.approx(410 / 110)


def test_a_shift_of_the_pool_raises_its_divergence_alone() -> None:
    draw = np.random.default_rng(1)
    reference, target = draw.normal(size=(32, 3)), draw.normal(size=(12, 3))
    pool = draw.normal(size=(32, 3))
    here, there = (
        divergences({"pool": vectors, "target": target, "reference": reference}, KINDS)
        for vectors in (pool, pool + 3)
    )
    assert there["p"] < 0.01 and here["p"] > 0.1
    assert there["pool_reference"] > 3 * here["pool_reference"]
    assert (there["kind_reference"], there["target_reference"]) == (
        here["kind_reference"],
        here["target_reference"],
    )


def test_the_built_in_reference_has_sixteen_kinds_of_ten_passages() -> None:
    reference = reference_texts(None)
    kinds = kinds_of(reference)
    assert np.bincount(kinds).tolist() == [10] * 16
    assert all(10 < len(text.split()) < 60 for text in reference.texts)


def test_a_reference_without_kinds_is_cut_by_id(tmp_path: Path) -> None:
    rows = [{"text": text} for text in toy.sentences("music", 40)]
    reference = reference_texts(str(toy.write_jsonl(tmp_path / "own.jsonl", rows)))
    assert np.bincount(kinds_of(reference)).tolist() == [40 // PARTS] * PARTS
    toy.write_jsonl(tmp_path / "own.jsonl", rows[: 2 * PARTS - 1])
    with pytest.raises(InvalidInput, match="at least 20 texts, found 19"):
        reference_texts(str(tmp_path / "own.jsonl"))


class Lengths(Featurizer):
    """Vectors of two numbers: words and characters of a document."""

    def compute(self, corpus: Corpus, directory: Path, runtime: Any) -> tuple[Any, dict[str, Any]]:
        rows = [[len(text.split()), len(text)] for text in corpus.texts]
        return np.array(rows, dtype=np.float32), {}


def test_a_pool_of_unknown_words_fails_and_texts_are_cut_to_the_references_length(
    tiny_model: Path, machine: Any
) -> None:
    def texts(seed: int, change: slice) -> list[str]:
        pairs = [
            toy.sentences(topic, 8, seed)[at : at + 2] for topic in toy.TOPICS for at in (0, 4)
        ]
        return [" ".join(word[change] for word in " ".join(pair).split()) for pair in pairs]

    reference = Corpus.build(
        [text for topic in toy.TOPICS for text in toy.sentences(topic, 8)],
        [topic for topic in toy.TOPICS for _ in range(8)],
    )
    known, unknown = (
        check_assumption(
            Corpus.build(texts(1, change)), Corpus.build(texts(2, slice(None))), reference,
            documents=6, featurizer=Lengths(), model=tiny_model, head=None, runtime=machine,
        )
        for change in (slice(None), slice(None, None, -1))
    )  # fmt: skip
    assert (known.verdict, unknown.verdict) == ("holds", "fails")
    assert known.loss is None and "loss" not in known.facts()
    assert known.documents == {"pool": 6, "target": 6, "reference": len(reference)}
    assert known.words_read == np.median([len(text.split()) for text in reference.texts])
    assert unknown.tokens_per_word["target"] == known.tokens_per_word["target"] < 2
