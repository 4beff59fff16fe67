"""Duplicates: planted pairs, the policy of keeping, the cosine law."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest

from shortlist.core import Corpus
from shortlist.errors import InvalidInput
from shortlist.featurizers.base import Featurizer
from shortlist.prepare.base import prepare
from shortlist.prepare.duplicates import ExactDuplicates, NearDuplicates, SemanticDuplicates


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


class Numbers(Featurizer):
    """The vector of a text is written in it, before a colon."""

    def compute(self, corpus: Corpus, directory: Any, runtime: Any) -> Any:
        rows = [text.partition(":")[0].split() for text in corpus.texts]
        return np.array(rows, dtype=np.float32), {}


@pytest.mark.parametrize(
    ("keep", "kept"), [("longest", {"1 0.1:long", "0 1:c"}), ("shortest", {"1 0:a", "0 1:c"})]
)
def test_of_documents_of_nearly_one_direction_the_policy_keeps_one(
    keep: str, kept: set[str]
) -> None:
    found = SemanticDuplicates(Numbers(), 0.95, keep).apply(["1 0:a", "1 0.1:long", "0 1:c"])
    assert {one.text for one in found if not one.failed} == kept


def test_equal_vectors_reach_a_threshold_of_one() -> None:
    angles = [(row % 50) / 10 for row in range(200)]
    texts = [f"{math.cos(x)} {math.sin(x)} 0.3:{row}" for row, x in enumerate(angles)]
    found = SemanticDuplicates(Numbers(), 1.0, "hash").apply(texts)
    assert sum(not one.failed for one in found) == 50


@pytest.mark.parametrize("clusters", [None, 2, 4, 300])
def test_a_second_preparation_drops_nothing_with_clusters_either(clusters: int | None) -> None:
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((400, 4))
    texts = [" ".join(f"{x:.4f}" for x in row) + f":{at}" for at, row in enumerate(rows)]
    operation = SemanticDuplicates(Numbers(), 0.9, "hash", clusters)
    first = [one.text for one in operation.apply(texts) if not one.failed]
    assert 30 < len(first) < 300
    assert not any(one.failed for one in operation.apply(first))


@pytest.mark.parametrize("threshold", [0.0, 1.5, float("nan")])
def test_a_threshold_that_is_no_cosine_is_refused(threshold: float) -> None:
    with pytest.raises(InvalidInput, match="must be a cosine above 0 and at most 1"):
        SemanticDuplicates(Numbers(), threshold, "hash")
