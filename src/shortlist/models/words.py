"""Words of a text and the tokens that begin them."""

from __future__ import annotations

from collections.abc import Sequence

OUTSIDE = "O"  # tag of a word in no entity, and of one that the model has not read


def first_tokens(
    text: str, offsets: Sequence[tuple[int, int]], sequences: Sequence[int | None]
) -> list[int]:
    """Returns the place of the first token of each word of `text`; -1 where a word has none of its
    own.

    Args:
        text: words with single spaces between them.
        offsets: first and last character (excluded) of each token.
        sequences: None for special tokens.
    """
    real = [
        (place, start, end)
        for place, ((start, end), sequence) in enumerate(zip(offsets, sequences, strict=True))
        if sequence is not None and end > start
    ]
    firsts: list[int] = []
    at, begin, used = 0, 0, -1
    for word in text.split(" "):
        while at < len(real) and real[at][2] <= begin:
            at += 1
        inside = at < len(real) and real[at][1] < begin + len(word) and real[at][0] != used
        firsts.append(real[at][0] if inside else -1)
        used = firsts[-1] if inside else used
        begin += len(word) + 1
    return firsts
