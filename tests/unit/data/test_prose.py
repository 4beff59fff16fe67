"""What counts as prose in a docstring."""

from __future__ import annotations

import pytest

from shortlist.data.prose import passages

SENTENCE = "This function returns the mean of the values that were given to it by the caller."


def kept(text: str, shortest: int = 20) -> list[str]:
    return passages(text, min_chars=shortest, max_chars=200)[0]


def test_sentences_of_neighbouring_paragraphs_are_joined() -> None:
    assert kept(f"{SENTENCE}\n\n    {SENTENCE}") == [f"{SENTENCE} {SENTENCE}"]


@pytest.mark.parametrize(
    "block",
    [
        ">>> f(1)\n1.0",
        "Args:\n    x: the value that is to be used for the mean of the others.",
        "x : float\n    The value that is to be used for the mean of the others.",
        "- the first of the points that is to be made in this list.\n- the second.",
        "| a | b |\n|---|---|",
        ":param x: the value that is to be used for the mean of the others.",
        "```python\nthe_result = this_is(the, code, that, you, write)\n```",
        ".. code-block:: python\n\n    the = code  # that is to be used for the mean.",
        "Notes\n-----",
        "NO_SENTENCE = (1, 2, 3)",
    ],
)
def test_what_is_no_prose_is_dropped_and_counted(block: str) -> None:
    found, dropped = passages(f"{SENTENCE}\n\n{block}\n\n{SENTENCE}", min_chars=20, max_chars=200)
    assert found == [SENTENCE, SENTENCE]
    assert sum(dropped.values()) >= 1


def test_code_after_a_double_colon_is_dropped_with_its_later_paragraphs() -> None:
    text = f"{SENTENCE} Use it like this::\n\n    x = f(1)\n\n    y = f(2)\n\n{SENTENCE}"
    assert kept(text) == [f"{SENTENCE} Use it like this:", SENTENCE]


def test_passages_are_whole_sentences_within_the_limits() -> None:
    found = kept(" ".join([SENTENCE] * 9), shortest=100)
    assert all(100 <= len(text) <= 200 and text.endswith(".") for text in found)


def test_short_and_long_pieces_are_counted() -> None:
    _, dropped = passages(SENTENCE, min_chars=100, max_chars=200)
    assert dropped["too_short"] == 1
    _, dropped = passages(SENTENCE, min_chars=10, max_chars=50)
    assert dropped["too_long"] == 1


def test_roles_and_links_become_their_text() -> None:
    text = "Returns :class:`~a.b.Thing` for the [name](http://x.y) that is given, if it is there."
    assert kept(text) == ["Returns a.b.Thing for the name that is given, if it is there."]
