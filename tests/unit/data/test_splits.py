"""Splits, samples and near-copies."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.core import Corpus
from shortlist.data.splits import near_copies, sample_rows, split_of, without_near_copies
from shortlist.errors import InvalidInput

FRACTIONS = {"train": 0.6, "validation": 0.1, "test": 0.3}
LONG = "the quick brown fox jumps over the lazy dog while seven wizards quietly brew strong tea"


def test_the_shares_of_a_split_are_about_the_fractions() -> None:
    names = [split_of(f"document {n}", FRACTIONS, seed=0) for n in range(4000)]
    for name, fraction in FRACTIONS.items():
        # Four standard errors of a share of 4,000 draws.
        assert (
            abs(names.count(name) / 4000 - fraction) < 4 * (fraction * (1 - fraction) / 4000) ** 0.5
        )


def test_another_seed_splits_otherwise() -> None:
    one, two = ([split_of(str(n), FRACTIONS, seed) for n in range(50)] for seed in (0, 1))
    assert one != two


def test_fractions_that_do_not_sum_to_one_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"sum 0\.9"):
        split_of("a", {"train": 0.5, "test": 0.4}, 0)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.text(max_size=5), unique=True, max_size=30), st.integers(0, 35), st.randoms())
def test_a_sample_depends_on_the_set_of_ids_alone(
    ids: list[str], size: int, random: object
) -> None:
    shuffled = sorted(ids, key=lambda _: random.random())  # type: ignore[attr-defined]
    one = {ids[row] for row in sample_rows(ids, size, seed=7)}
    two = {shuffled[row] for row in sample_rows(shuffled, size, seed=7)}
    assert one == two
    assert len(one) == min(size, len(ids))


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
def test_the_index_finds_what_comparing_every_pair_finds(left: list[str], right: list[str]) -> None:
    def shingles(text: str) -> set[tuple[str, ...]]:
        words = tuple(text.split())
        return {words[n : n + 5] for n in range(max(1, len(words) - 4))} if words else set()

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
