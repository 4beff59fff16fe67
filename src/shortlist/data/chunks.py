"""Texts of one length out of texts of any."""

from __future__ import annotations

from collections.abc import Sequence


def chunks(texts: Sequence[str], characters: int) -> list[str]:
    """Returns the texts joined and cut to passages of at most `characters` characters.

    Short texts are joined, by a line break, until the next one would not fit; long texts are cut
    after the last white space that fits, or in the middle of a word longer than a passage. Every
    character but white space at a cut is kept, in order. GOT-D prepares its pools like this
    (section C.1.2), but does not say where it cuts.
    """
    found: list[str] = []
    held = ""
    for text in texts:
        rest = text.strip()
        if held and len(held) + 1 + len(rest) > characters:
            found.append(held)
            held = ""
        while len(rest) > characters:
            head = rest[: characters + 1]
            space = max((at for at, letter in enumerate(head) if letter.isspace()), default=0)
            cut = space or characters
            found.append(rest[:cut].rstrip())
            rest = rest[cut:].lstrip()
        if rest:
            held = f"{held}\n{rest}" if held else rest
    return [*found, held] if held else found
