"""Near copies: what brute force finds is found, nothing else is, and everything is counted."""

from __future__ import annotations

import random
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.core import Corpus
from shortlist.data import near_copies as module
from shortlist.data.near_copies import (
    SHINGLE,
    THRESHOLD,
    clusters,
    fold,
    near_copies,
    without_near_copies,
)

LONG = "the quick brown fox jumps over the lazy dog while seven wizards quietly brew strong tea"
VOCABULARY = [f"word{n}" for n in range(500)]


def shingles(text: str) -> set[tuple[str, ...]]:
    words = fold(text).split()
    width = min(SHINGLE, len(words))
    return {tuple(words[n : n + width]) for n in range(len(words) - width + 1)} if words else set()


def similarity(one: str, two: str) -> float:
    a, b = shingles(one), shingles(two)
    return len(a & b) / len(a | b) if a and b else 0.0


def components(texts: list[str]) -> list[int]:
    """The smallest row of each connected component, by comparing every pair."""
    labels = list(range(len(texts)))
    for one, two in combinations(range(len(texts)), 2):
        if similarity(texts[one], texts[two]) >= THRESHOLD and labels[one] != labels[two]:
            low, high = sorted((labels[one], labels[two]))
            labels = [low if label == high else label for label in labels]
    return labels


def document(rng: random.Random, words: int) -> list[str]:
    return rng.choices(VOCABULARY, k=words)


def edited(rng: random.Random, words: list[str], edits: int) -> str:
    words = list(words)
    for place in rng.sample(range(len(words)), edits):
        words[place] = "edited"
    return " ".join(words)


@pytest.mark.parametrize("seed", range(3))
def test_clusters_are_the_components_that_comparing_all_pairs_finds(seed: int) -> None:
    rng = random.Random(seed)
    texts: list[str] = []
    for _ in range(25):  # families around the threshold: some of a family are alike, some are not
        words = document(rng, rng.choice([3, 8, 40, 90]))
        texts += [edited(rng, words, min(len(words), rng.randint(0, 3))) for _ in range(4)]
    rng.shuffle(texts)
    pairs = [similarity(a, b) for a, b in combinations(texts, 2)]
    assert sum(0.6 < s < THRESHOLD for s in pairs) > 5 < sum(s >= THRESHOLD for s in pairs)
    assert clusters(texts).labels.tolist() == components(texts)


def test_planted_near_copies_are_found_and_nothing_else_is() -> None:
    rng = random.Random(0)
    originals = [document(rng, 160) for _ in range(400)]
    texts = [" ".join(words) for words in originals]
    # Up to two words in a hundred and sixty changed, other case and punctuation.
    copies = [edited(rng, words, rng.randint(0, 2)).title() + "!" for words in originals[:200]]
    labels = clusters(texts + copies).labels
    found = labels[len(texts) :] == np.arange(len(copies))
    assert found.mean() >= 0.99  # recall; 1 - (1 - 0.88^5)^20 is 1 to eight digits
    assert (labels[: len(texts)] == np.arange(len(texts))).all()  # precision


def test_an_order_of_the_texts_changes_no_cluster() -> None:
    rng = random.Random(1)
    words = [document(rng, 60) for _ in range(20)]
    texts = [edited(rng, words[n % 20], n // 20) for n in range(60)]
    order = list(range(60))
    rng.shuffle(order)
    first, second = clusters(texts).labels, clusters([texts[row] for row in order]).labels
    together = first[:, None] == first[None, :]
    assert together.sum() > 60
    np.testing.assert_array_equal(
        together[np.ix_(order, order)], second[:, None] == second[None, :]
    )


def test_a_chain_of_copies_is_one_cluster_under_its_smallest_row() -> None:
    words = VOCABULARY[:100]
    chain = [" ".join(words[step : step + 60]) for step in range(0, 18, 6)]
    assert similarity(chain[0], chain[1]) >= THRESHOLD > similarity(chain[0], chain[2])
    assert clusters(["other text", *chain]).labels.tolist() == [0, 1, 1, 1]


def test_short_texts_are_copies_when_equal_and_wordless_ones_never() -> None:
    found = clusters(["a b", "A, b.", "a b c", "...", "!!!", ""])
    assert found.labels.tolist() == [0, 0, 2, 3, 4, 5]
    assert found.sizes.tolist() == [2, 2, 1, 1, 1, 1]
    assert clusters([]).labels.tolist() == []


def test_the_size_of_a_piece_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(2)
    texts = [" ".join(document(rng, 20)) for _ in range(30)] * 2
    whole = clusters(texts).labels
    monkeypatch.setattr(module, "_PIECE", 100)
    np.testing.assert_array_equal(clusters(texts).labels, whole)
    assert (whole[30:] == np.arange(30)).all()


def test_candidates_that_are_not_compared_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    template = [
        f"{' '.join(VOCABULARY[:100])} {' '.join(f'x{n}y{k}' for k in range(15))}"
        for n in range(30)
    ]
    whole = clusters(template)
    assert whole.not_compared == 0
    assert len(set(whole.labels.tolist())) == 30
    monkeypatch.setattr(module, "MAX_MISSES", 1)
    assert clusters(template).not_compared > 0


def test_a_planted_near_copy_is_found_and_its_neighbours_are_not() -> None:
    texts = ["something else entirely that shares no run of words", LONG.replace("strong", "weak")]
    found = near_copies(texts, ["an unrelated sentence about the weather in spring", LONG])
    assert [(pair.row, pair.of) for pair in found] == [(1, 1)]


def test_case_and_punctuation_hide_no_copy() -> None:
    assert near_copies([LONG.upper().replace(" ", ", ")], [LONG])[0].jaccard == 1.0


def test_a_text_within_a_longer_one_is_found_by_containment() -> None:
    (found,) = near_copies([LONG], [f"{LONG} and then there is much more to say {'of it ' * 40}"])
    assert found.jaccard < 0.5
    assert found.containment == 1.0


def test_short_texts_are_compared_whole() -> None:
    assert len(near_copies(["Very short.", "other"], ["very short"])) == 1


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.lists(st.sampled_from("abc"), max_size=9).map(" ".join), max_size=6),
    st.lists(st.lists(st.sampled_from("abc"), max_size=9).map(" ".join), max_size=6),
)
def test_the_product_of_sets_finds_what_comparing_every_pair_finds(
    left: list[str], right: list[str]
) -> None:
    def close(one: str, two: str) -> bool:
        a, b = shingles(one), shingles(two)
        both = len(a & b)
        return both > 0 and (both >= 0.5 * len(a | b) or both >= 0.7 * min(len(a), len(b)))

    expected = [row for row, text in enumerate(left) if any(close(text, other) for other in right)]
    assert [pair.row for pair in near_copies(left, right)] == expected


def test_a_corpus_loses_its_near_copies_of_protected_text_only() -> None:
    corpus = Corpus.build(["A text of its own, about nothing in particular.", LONG + " indeed"])
    kept = without_near_copies(corpus, Corpus.build([LONG]))
    assert kept.texts == ["A text of its own, about nothing in particular."]
