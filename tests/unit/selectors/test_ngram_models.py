"""Witten-Bell models against the recursion written out over Python counters."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

import numpy as np
import pytest
import toy

from shortlist.core import Corpus
from shortlist.kernels.words import TextBatch, text_batch
from shortlist.selectors.moore_lewis import NGramModel

# Two of some hundred n-grams share one of 2^22 buckets with a chance of 10^-3.
BUCKETS = 2**22
READ = toy.sentences("sailing", 12)
ASKED = [*READ[:3], *toy.sentences("baking", 3), "", "zyx", "the the the"]


def packed(texts: list[str]) -> TextBatch:
    return text_batch(*Corpus.build(texts).utf8(0, len(texts)))


def model(order: int, texts: list[str], block: int = 100) -> NGramModel:
    found = NGramModel.empty(order, BUCKETS)
    for start in range(0, len(texts), block):
        found.read(packed(texts[start : start + block]))
    return found


def expected(order: int, read: list[str], asked: list[str]) -> list[float]:
    """The definition: p(w | h) = (c(hw) + T(h) p(w | h')) / (c(h) + T(h))."""
    follows: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)

    def events(text: str) -> list[str]:
        return ["<s>", *re.findall(r"\w+|[^\w\s]+", text.lower()), "</s>"]

    for text in read:
        words = events(text)
        for at in range(1, len(words)):
            for size in range(min(order, at + 1)):
                follows[tuple(words[at - size : at])][words[at]] += 1

    def likely(history: tuple[str, ...], word: str) -> float:
        shorter = likely(history[1:], word) if history else 1 / BUCKETS
        seen = follows[history]
        if not seen:
            return shorter
        return (seen[word] + len(seen) * shorter) / (seen.total() + len(seen))

    losses = []
    for text in asked:
        words = events(text)
        terms = [
            -np.log(likely(tuple(words[max(0, at - order + 1) : at]), words[at]))
            for at in range(1, len(words))
        ]
        losses.append(float(np.mean(terms)))
    return losses


@pytest.mark.parametrize("order", [1, 2, 3])
def test_losses_are_those_of_the_recursion(order: int) -> None:
    found = model(order, READ).loss(packed(ASKED))
    np.testing.assert_allclose(found, expected(order, READ, ASKED), rtol=1e-12)


def test_reading_in_blocks_is_reading_at_once() -> None:
    np.testing.assert_array_equal(model(2, READ, 5).grams, model(2, READ).grams)
    np.testing.assert_array_equal(model(2, READ, 5).kinds, model(2, READ).kinds)


def test_a_model_that_has_read_nothing_finds_every_word_alike() -> None:
    np.testing.assert_allclose(model(2, []).loss(packed(ASKED)), np.log(BUCKETS))


def test_a_loss_is_finite_where_every_n_gram_shares_its_bucket_with_others() -> None:
    for found in (NGramModel.empty(3, buckets) for buckets in (1, 3, 17, 64, 200)):
        found.read(packed(READ))
        assert np.isfinite(found.loss(packed(ASKED))).all()
