"""Duplicates: planted pairs, the policy of keeping, the cosine law."""

from __future__ import annotations

import random

import pytest

from shortlist.errors import InvalidInput
from shortlist.prepare.base import prepare
from shortlist.prepare.duplicates import ExactDuplicates, NearDuplicates


def planted(
    documents: int, pairs: int, edits: int, words: int = 120, seed: int = 0
) -> tuple[list[str], set[frozenset[int]]]:
    """Texts of random words, the last `pairs` of which repeat one of the first with edited words."""
    rng = random.Random(seed)
    vocabulary = [f"w{number}" for number in range(3000)]
    texts = [rng.choices(vocabulary, k=words) for _ in range(documents)]
    truth: set[frozenset[int]] = set()
    for number in range(pairs):
        copy = list(texts[number])
        for place in rng.sample(range(words), edits):
            copy[place] = rng.choice(vocabulary)
        truth.add(frozenset((number, len(texts))))
        texts.append(copy)
    return [" ".join(words) for words in texts], truth


@pytest.mark.parametrize(("edits", "recall"), [(0, 1.0), (1, 1.0), (2, 1.0), (12, 0.0)])
def test_planted_near_copies_are_found_and_nothing_else(edits: int, recall: float) -> None:
    # An edited word changes 5 of 116 shingles: 2 edits leave a Jaccard similarity of .84, 12 of .32.
    texts, truth = planted(300, 60, edits)
    prepared = prepare(texts, {"near": NearDuplicates(0.8, 20, 5, "longest")})
    dropped = {row for row, failed in enumerate(prepared.failed) if failed}
    assert len(dropped) == round(recall * len(truth))
    assert all(len(pair & dropped) == round(recall) for pair in truth)


@pytest.mark.parametrize(
    ("keep", "kept"), [("longest", "One, two: three!!!"), ("shortest", "one two three")]
)
def test_the_policy_decides_which_copy_stays_whatever_the_order(keep: str, kept: str) -> None:
    texts = ["One two three.", "one two three", "One, two: three!!!", "other"]
    for order in (texts, texts[::-1]):
        prepared = prepare(order, {"exact": ExactDuplicates(normalised=True, keep=keep)})
        assert {prepared.texts[row] for row in prepared.kept} == {kept, "other"}


def test_texts_without_words_are_copies_only_when_they_are_equal() -> None:
    prepared = prepare(["!!!", "???", "!!!"], {"exact": ExactDuplicates(True, "hash")})
    assert sorted(prepared.texts[row] for row in prepared.kept) == ["!!!", "???"]


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(InvalidInput, match="found 'longst'; did you mean `longest`"):
        ExactDuplicates(normalised=True, keep="longst")
