"""Planted leaks and paraphrases are found, and nothing else."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.core import Corpus
from shortlist.data import decontamination
from shortlist.data.decontamination import (
    BASE,
    COMMON,
    FEWEST,
    REACH,
    RUN,
    SHARE,
    SHORTEST,
    STRETCH,
    Overlap,
    Pairs,
    find_leaks,
    find_overlaps,
    find_paraphrases,
)
from shortlist.data.near_copies import as_lines, fold
from shortlist.data.splits import TaskData

WORDS = [f"word{n}" for n in range(40)]
TEXT = " ".join(WORDS[:20])


def kinds(pool: list[str], protected: list[str]) -> list[str | None]:
    corpus = Corpus.build(pool)
    found = {leak.id: leak.kind for leak in find_leaks(corpus, Corpus.build(protected))}
    return [found.get(key) for key in corpus.ids]


def test_the_strongest_kind_is_reported() -> None:
    pool = [TEXT, TEXT.upper() + "!", f"before {TEXT} after", " ".join(WORDS[20:])]
    assert kinds(pool, [TEXT]) == ["exact", "normalised", "ngram", None]


@pytest.mark.parametrize(("shared", "kind"), [(RUN, "ngram"), (RUN - 1, None)])
def test_a_run_of_thirteen_words_leaks_and_one_of_twelve_does_not(
    shared: int, kind: str | None
) -> None:
    # Of forty words: of twenty, twelve in a row are most pairs of words, and leak as such.
    assert kinds([f"x {' '.join(WORDS[3 : 3 + shared])} y"], [" ".join(WORDS)]) == [kind]


@pytest.mark.parametrize(("length", "kind"), [(SHORTEST, "ngram"), (SHORTEST - 1, None)])
def test_a_short_text_leaks_as_a_whole_down_to_the_shortest(length: int, kind: str | None) -> None:
    short = " ".join(WORDS[:length])
    assert kinds([f"x {short} y"], [short]) == [kind]
    assert kinds([short], [short]) == ["exact"]


def test_a_run_across_two_documents_is_no_leak() -> None:
    pool = [" ".join(WORDS[:7]), " ".join(WORDS[7:20])[:-3]]
    assert kinds(pool, [" ".join(WORDS)]) == [None, None]


def test_words_are_whole_words() -> None:
    whole = " ".join(WORDS)
    assert kinds([whole.replace("word0 ", "sword0 ", 1)[: whole.index("word13")]], [whole]) == [
        None
    ]


def test_both_texts_of_a_pair_are_protected() -> None:
    protected = Corpus.build(["a b"], texts_b=[TEXT], labels=["x"])
    found = find_leaks(Corpus.build([f"so: {TEXT}"]), protected)
    assert [leak.where for leak in found] == protected.ids


def test_empty_and_wordless_texts_leak_nothing() -> None:
    assert kinds(["...", "?!", "word"], ["---", "!!!"]) == [None, None, None]
    assert find_leaks(Corpus.build([]), Corpus.build([TEXT])) == []
    assert find_leaks(Corpus.build([TEXT]), Corpus.build([])) == []


@given(st.text(max_size=30))
def test_folding_is_the_same_for_ascii_and_for_other_text(text: str) -> None:
    assert fold(fold(text)) == fold(text)
    # A letter outside ASCII sends the text down the other path.
    assert fold(f"{text} é") == f"{fold(text)} é".strip()


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.sampled_from(["a", "b", "é"]), max_size=18).map(" ".join), max_size=6),
    st.lists(st.lists(st.sampled_from(["a", "b", "é"]), max_size=18).map(" ".join), max_size=4),
)
def test_hashing_finds_what_comparing_words_finds(pool: list[str], protected: list[str]) -> None:
    def runs(text: str) -> set[str]:
        words = text.split()
        length = min(len(words), RUN)
        if length < SHORTEST:
            return set()
        return {f" {' '.join(words[n : n + length])} " for n in range(len(words) - length + 1)}

    known = {run for text in protected for run in runs(text)}
    whole = {text for text in protected if text}
    expected = [
        "exact" if text in whole else "ngram" if any(run in f" {text} " for run in known) else None
        for text in pool
    ]
    assert kinds(pool, protected) == expected


def test_the_size_of_a_piece_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = [f"{n} {TEXT}" if n % 3 == 0 else f"nothing {n}" for n in range(30)]
    whole = kinds(pool, [TEXT])
    monkeypatch.setattr(decontamination, "_PIECE", 100)
    assert kinds(pool, [TEXT]) == whole
    assert whole.count("ngram") == 10


MANY = [f"word{n}" for n in range(400)]
PARAPHRASED = MANY[:30]


def paraphrases(pool: list[str], protected: list[str]) -> list[tuple[int, int]]:
    return [(document, owner) for document, owner, _ in find_paraphrases(pool, Pairs.of(protected))]


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
    copy = [*MANY[100:180], *edited(PARAPHRASED, rng), *MANY[200:280]]
    assert paraphrases([" ".join(copy)], [" ".join(PARAPHRASED)]) == [(0, 0)]


def test_halves_that_change_places_do_not_hide_a_text() -> None:
    assert paraphrases(
        [" ".join(PARAPHRASED[15:] + PARAPHRASED[:15])], [" ".join(PARAPHRASED)]
    ) == [(0, 0)]


@pytest.mark.parametrize("seed", range(5))
def test_the_same_words_in_another_order_are_another_text(seed: int) -> None:
    mixed = random.Random(seed).sample(PARAPHRASED, len(PARAPHRASED))
    assert paraphrases([" ".join(mixed)], [" ".join(PARAPHRASED)]) == []


def test_what_is_scattered_over_a_long_document_is_no_copy() -> None:
    pieces = [PARAPHRASED[start : start + 6] for start in range(0, 30, 6)]
    scattered = [
        word for n, piece in enumerate(pieces) for word in piece + MANY[60 + 60 * n :][:60]
    ]
    assert paraphrases([" ".join(scattered)], [" ".join(PARAPHRASED)]) == []
    assert paraphrases(
        [" ".join(word for piece in pieces for word in piece)], [" ".join(PARAPHRASED)]
    ) == [(0, 0)]


def test_a_phrase_of_many_protected_texts_tells_nothing() -> None:
    phrase = MANY[300:312]
    protected = [" ".join(phrase + [f"own{n}x{m}" for m in range(12)]) for n in range(COMMON + 1)]
    assert paraphrases([" ".join(phrase)], protected) == []
    assert paraphrases([" ".join(phrase)], protected[:1]) != []


def test_of_equal_protected_texts_the_first_stands_for_all() -> None:
    text = " ".join(PARAPHRASED)
    assert paraphrases([text], [" ".join(MANY[50:90]), *[text] * (COMMON + 2)]) == [(0, 1)]


def test_a_stronger_kind_is_reported_where_there_is_one() -> None:
    rng = random.Random(3)
    pool = Corpus.build([" ".join(PARAPHRASED), " ".join(edited(PARAPHRASED, rng))])
    kinds = {
        leak.id: (leak.kind, leak.share)
        for leak in find_leaks(pool, Corpus.build([" ".join(PARAPHRASED)]))
    }
    assert kinds[pool.ids[0]] == ("exact", 1.0)
    assert kinds[pool.ids[1]][0] == "near" and SHARE < kinds[pool.ids[1]][1] < 1


def test_nothing_is_found_in_nothing() -> None:
    assert (
        paraphrases([], [" ".join(PARAPHRASED)])
        == paraphrases(["", "a b"], [" ".join(PARAPHRASED)])
        == []
    )
    assert (
        paraphrases([" ".join(PARAPHRASED)], [])
        == paraphrases([" ".join(PARAPHRASED)], ["", "a b c"])
        == []
    )


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
    assert set(paraphrases([" ".join(one) for one in pool], seen)) == expected


def test_pairs_do_not_reach_into_the_next_document() -> None:
    hashes, lines, places = decontamination._pairs(as_lines(["a b c d", "", "e f"]))
    assert lines.tolist() == [0] * 6 + [2] and places.tolist() == [1, 2, 2, 3, 3, 3, 1]
    assert len(set(hashes.tolist())) == 7


def test_examples_of_a_split_that_repeat_another_are_counted() -> None:
    words = [f"w{n}" for n in range(30)]
    train = [" ".join(words[n:] + words[:n]) for n in range(20)]
    other = [f"nothing of it number {n}" for n in range(4)]
    test = [*train[:3], *other, f"{train[0]} and more", f"{train[1].upper()}!"]
    data = task_of(train, other[:2], test)
    assert find_overlaps(data) == [
        Overlap("test", "train", 9, exact=4, near=1),
        Overlap("test", "validation", 9, exact=2, near=0),
    ]
    assert find_overlaps(task_of(train, other[:2], other[2:])) == []


def test_a_pair_repeats_another_only_where_both_texts_do() -> None:
    def pairs(second: str) -> Corpus:
        return Corpus.build(["the same first text"], texts_b=[second], labels=["a"])

    empty = Corpus.build([], texts_b=[], labels=[])
    for second, repeated in (("one", True), ("two", False)):
        data = TaskData(pairs("one"), empty, pairs(second), pairs("one"), None, {})
        assert bool(find_overlaps(data)) == repeated


def task_of(train: list[str], validation: list[str], test: list[str]) -> TaskData:
    splits = [Corpus.build(texts) for texts in (train, validation, test)]
    return TaskData(*splits, target=splits[0], labels=None, counts={})
