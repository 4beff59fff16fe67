"""The verdict follows what the kinds of reference text differ by, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import toy

from shortlist.core import Corpus
from shortlist.errors import InvalidInput
from shortlist.pipeline.assumption import (
    PARTS,
    Side,
    assessment,
    divergences,
    kinds_of,
    reference_texts,
)

KINDS = np.repeat(np.arange(8), 4)
LEVELS = np.linspace(1.0, 1.7, 8)  # of each kind of the reference


def side(tokens: np.ndarray, losses: np.ndarray | None = None, seed: int = 0) -> Side:
    """Documents of ten words with so many tokens a word, and so many nats in two predictions."""
    n = len(tokens)
    pairs = None if losses is None else (losses * 2, np.full(n, 2.0))
    vectors = np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)
    corpus = Corpus.build([f"{seed} {row}" for row in range(n)])
    return Side(corpus, vectors, pairs, (tokens * 10, np.full(n, 10)))


def verdict(pool_tokens: float, pool_loss: float | None = None) -> dict[str, object]:
    def flat(tokens: float, seed: int) -> Side:
        return side(np.full(6, tokens), None if pool_loss is None else np.full(6, pool_loss), seed)

    reference = side(LEVELS[KINDS], None if pool_loss is None else 2 * LEVELS[KINDS])
    sides = {"pool": flat(pool_tokens, 1), "target": flat(1.2, 2), "reference": reference}
    return assessment(sides, KINDS)


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
    pool = Side(
        Corpus.build(["a", "b"]), np.eye(3, dtype=np.float32)[:2], None,
        (np.array([10, 400]), np.array([10, 100])),
    )  # fmt: skip
    sides = {"pool": pool, "target": pool, "reference": side(LEVELS[KINDS])}
    assert assessment(sides, KINDS)["tokens_per_word"]["pool"] == pytest.approx(410 / 110)


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
