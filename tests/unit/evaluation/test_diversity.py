"""Diversity against counting by hand."""

import random

import pytest

from shortlist.evaluation.toxicity import distinct_n, ngrams, repetition_n

WORDS = [["a b a b a", "a b", ""], ["", ""], ["x y z", "x y z"]]
TEXTS = [[text.split() for text in texts] for texts in WORDS]


def test_by_hand() -> None:
    assert distinct_n(TEXTS, 1).tolist() == pytest.approx([2 / 7, 0, 3 / 6])
    assert distinct_n(TEXTS, 2).tolist() == pytest.approx([2 / 5, 0, 2 / 4])
    assert repetition_n(TEXTS, 2).tolist() == pytest.approx([(2 / 4 + 0 + 0) / 3, 0, 0])
    assert ngrams([1, 2, 3], 4) == []


@pytest.mark.parametrize("size", [1, 2, 3])
def test_by_brute_force(size: int) -> None:
    rng = random.Random(size)
    prompts = [[rng.choices(range(5), k=rng.randint(0, 9)) for _ in range(6)] for _ in range(20)]
    for row, texts in enumerate(prompts):
        seen: set[str] = set()
        total = 0
        shares = []
        for text in texts:
            grams = [str(text[at : at + size]) for at in range(len(text)) if at + size <= len(text)]
            earlier = sum(gram in grams[:at] for at, gram in enumerate(grams))
            shares.append(earlier / len(grams) if grams else 0)
            seen |= set(grams)
            total += len(grams)
        assert distinct_n(prompts, size)[row] == pytest.approx(len(seen) / total)
        assert repetition_n(prompts, size)[row] == pytest.approx(sum(shares) / len(shares))
