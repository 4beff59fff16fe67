"""A protected text is recognised with its words edited, and its subject alone is not enough."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.core import Corpus
from shortlist.data import paraphrases
from shortlist.data.contamination import leaks
from shortlist.data.paraphrases import BASE, COMMON, FEWEST, REACH, SHARE, STRETCH, Known, repeats

WORDS = [f"word{n}" for n in range(400)]
TEXT = WORDS[:30]


def found(pool: list[str], protected: list[str]) -> list[tuple[int, int]]:
    return [(document, owner) for document, owner, _ in repeats(pool, Known.of(protected))]


def edited(words: list[str], rng: random.Random) -> list[str]:
    """One word in eight left out, and one neighbouring pair in eight swapped."""
    kept = [word for word in words if rng.random() > 1 / 8]
    for place, _ in enumerate(pairwise(kept)):
        if rng.random() < 1 / 8:
            kept[place : place + 2] = reversed(kept[place : place + 2])
    return kept


@pytest.mark.parametrize("seed", range(20))
def test_left_out_and_swapped_words_do_not_hide_a_text(seed: int) -> None:
    rng = random.Random(seed)
    copy = [*WORDS[100:180], *edited(TEXT, rng), *WORDS[200:280]]
    assert found([" ".join(copy)], [" ".join(TEXT)]) == [(0, 0)]


def test_halves_that_change_places_do_not_hide_a_text() -> None:
    assert found([" ".join(TEXT[15:] + TEXT[:15])], [" ".join(TEXT)]) == [(0, 0)]


@pytest.mark.parametrize("seed", range(5))
def test_the_same_words_in_another_order_are_another_text(seed: int) -> None:
    mixed = random.Random(seed).sample(TEXT, len(TEXT))
    assert found([" ".join(mixed)], [" ".join(TEXT)]) == []


def test_what_is_scattered_over_a_long_document_is_no_copy() -> None:
    pieces = [TEXT[start : start + 6] for start in range(0, 30, 6)]
    scattered = [
        word for n, piece in enumerate(pieces) for word in piece + WORDS[60 + 60 * n :][:60]
    ]
    assert found([" ".join(scattered)], [" ".join(TEXT)]) == []
    assert found([" ".join(word for piece in pieces for word in piece)], [" ".join(TEXT)]) == [
        (0, 0)
    ]


def test_a_phrase_of_many_protected_texts_tells_nothing() -> None:
    phrase = WORDS[300:312]
    protected = [" ".join(phrase + [f"own{n}x{m}" for m in range(12)]) for n in range(COMMON + 1)]
    assert found([" ".join(phrase)], protected) == []
    assert found([" ".join(phrase)], protected[:1]) != []


def test_of_equal_protected_texts_the_first_stands_for_all() -> None:
    text = " ".join(TEXT)
    assert found([text], [" ".join(WORDS[50:90]), *[text] * (COMMON + 2)]) == [(0, 1)]


def test_a_stronger_kind_is_reported_where_there_is_one() -> None:
    rng = random.Random(3)
    pool = Corpus.build([" ".join(TEXT), " ".join(edited(TEXT, rng))])
    kinds = {
        leak.id: (leak.kind, leak.share) for leak in leaks(pool, Corpus.build([" ".join(TEXT)]))
    }
    assert kinds[pool.ids[0]] == ("exact", 1.0)
    assert kinds[pool.ids[1]][0] == "near" and SHARE < kinds[pool.ids[1]][1] < 1


def test_nothing_is_found_in_nothing() -> None:
    assert found([], [" ".join(TEXT)]) == found(["", "a b"], [" ".join(TEXT)]) == []
    assert found([" ".join(TEXT)], []) == found([" ".join(TEXT)], ["", "a b c"]) == []


def pairs(words: list[str]) -> set[tuple[str, ...]]:
    return {
        tuple(sorted((words[i], words[j])))
        for i in range(len(words))
        for j in range(i + 1, min(i + REACH + 1, len(words)))
    }


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(20, 40))
def test_counting_hashes_finds_what_comparing_sets_of_words_finds(seed: int, alphabet: int) -> None:
    rng = random.Random(seed)
    words = [f"é{n}" for n in range(alphabet)]
    protected = [rng.choices(words, k=rng.randint(1, 16)) for _ in range(4)]
    pool = [edited(rng.choice(protected), rng) + rng.choices(words, k=9) for _ in range(6)]
    expected = set[tuple[int, int]]()
    seen = [" ".join(one) for one in protected]
    for owner, text in enumerate(protected):
        own = pairs(text)  # four texts: no pair is common
        if len(own) < FEWEST or seen.index(seen[owner]) < owner:
            continue
        for row, document in enumerate(pool):
            width = STRETCH * len(text)
            stretches = [document[i : i + width] for i in range(len(document))]
            most = max(len(own & pairs(one)) for one in stretches)
            if most >= math.ceil(BASE + SHARE * len(own)):
                expected.add((row, owner))
    assert set(found([" ".join(one) for one in pool], seen)) == expected


def test_pairs_do_not_reach_into_the_next_document() -> None:
    hashes, lines, places = paraphrases._pairs(paraphrases._joined(["a b c d", "", "e f"]))
    assert lines.tolist() == [0] * 6 + [2] and places.tolist() == [1, 2, 2, 3, 3, 3, 1]
    assert len(set(hashes.tolist())) == 7
