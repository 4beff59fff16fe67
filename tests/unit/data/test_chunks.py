"""Passages of one length: nothing is lost, nothing is longer, nothing is cut without need."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.data.chunks import chunks

TEXTS = st.lists(st.text(alphabet="ab \n", max_size=60), max_size=8)


def letters(texts: list[str]) -> str:
    return "".join("".join(texts).split())


@given(TEXTS, st.integers(1, 40))
def test_no_letter_is_lost_and_no_passage_is_longer_or_empty(texts: list[str], size: int) -> None:
    found = chunks(texts, size)
    assert letters(found) == letters(texts)
    assert all(0 < len(passage) <= size for passage in found)


@given(st.lists(st.text(alphabet="ab", min_size=1, max_size=9), max_size=12), st.integers(9, 30))
def test_short_texts_are_joined_as_long_as_the_next_one_fits(texts: list[str], size: int) -> None:
    found = chunks(texts, size)
    assert [line for passage in found for line in passage.split("\n")] == texts
    for passage, following in pairwise(found):
        assert len(passage) + 1 + len(following.split("\n")[0]) > size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one two three", ["one two", "three"]),  # seven letters fit exactly
        ("one twoo three", ["one", "twoo", "three"]),
        ("abcdefghij", ["abcdefg", "hij"]),
    ],
)
def test_long_texts_are_cut_at_white_space_where_there_is_some(
    text: str, expected: list[str]
) -> None:
    assert chunks([text], 7) == expected
