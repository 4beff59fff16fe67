"""Planted leaks are found, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.core import Corpus
from shortlist.data import contamination
from shortlist.data.contamination import RUN, SHORTEST, folded, leaks, without_leaks

WORDS = [f"word{n}" for n in range(40)]
TEXT = " ".join(WORDS[:20])


def kinds(pool: list[str], protected: list[str]) -> list[str | None]:
    corpus = Corpus.build(pool)
    found = {leak.id: leak.kind for leak in leaks(corpus, Corpus.build(protected))}
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
    found = leaks(Corpus.build([f"so: {TEXT}"]), protected)
    assert [leak.where for leak in found] == protected.ids


def test_leaking_documents_are_removed_and_the_rest_keeps_its_order() -> None:
    pool = Corpus.build(["one", TEXT, "two"])
    assert without_leaks(pool, leaks(pool, Corpus.build([TEXT]))).texts == ["one", "two"]


def test_empty_and_wordless_texts_leak_nothing() -> None:
    assert kinds(["...", "?!", "word"], ["---", "!!!"]) == [None, None, None]
    assert leaks(Corpus.build([]), Corpus.build([TEXT])) == []
    assert leaks(Corpus.build([TEXT]), Corpus.build([])) == []


@given(st.text(max_size=30))
def test_folding_is_the_same_for_ascii_and_for_other_text(text: str) -> None:
    assert folded(folded(text)) == folded(text)
    # A letter outside ASCII sends the text down the other path.
    assert folded(f"{text} é") == f"{folded(text)} é".strip()


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
    monkeypatch.setattr(contamination, "_PIECE", 100)
    assert kinds(pool, [TEXT]) == whole
    assert whole.count("ngram") == 10
