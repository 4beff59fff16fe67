"""Which part of a docstring or a README is prose, cut into passages of whole sentences.

The rule, by paragraph (what stands between blank lines):
- fenced blocks, doctests with their output, and blocks introduced by `::` or `.. directive::` are
  code;
- a paragraph with indented lines is a list or a table of parameters (`Args:`, `name : type`), as is
  one with a line that starts with a bullet, a number, a field (`:param x:`), a bar or a heading
  mark;
- what is left is prose if it reads like sentences: at least `MIN_WORDS` words, two of them among
  the commonest of English, at least `MIN_LETTERS` of its characters letters or spaces, closed by
  punctuation.
Neighbouring prose paragraphs are joined, cut into sentences, and packed into passages.
"""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Iterator

MIN_WORDS = 6
MIN_LETTERS = 0.85

_COMMON = frozenset(
    """
    a an and are as at be been but by can do for from has have if in into is it its may not
    of on one or should such that the then there these they this to use used using was when
    where which will with you
    """.split()  # noqa: SIM905, a list of forty strings reads worse
)
_LIST_LINE = re.compile(
    r"\s*([-*+•·>|#=~^$%@!<]|:\w|\.\. |\d+[.)]\s|\(?[a-z\d][.)]\s|\[\d+\]|\w+\s*:\s|\w+ : )"
)
_CODE_OPENS = re.compile(r"(.*::\s*$)|(\s*\.\. [\w:-]+::)")
_FENCE = re.compile(r"\s*(```|~~~)")
_UNDERLINE = re.compile(r"\s*([-=~^\"'*#`+.:_])\1{2,}\s*$")
_ROLE = re.compile(r":[a-zA-Z:]+:`~?([^`<]*?)\s*(<[^`]*>)?`")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)|`([^`<]+?)\s*<[^`>]+>`__?")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[A-Z])")
_ABBREVIATION = re.compile(r"(\b(e\.g|i\.e|etc|vs|cf|al|Fig|Eq|eq|No|resp|approx|Dr|Mr|[A-Z]))\.$")


def passages(text: str, *, min_chars: int, max_chars: int) -> tuple[list[str], Counter[str]]:
    """Returns the prose passages of a text in order, and how many pieces were dropped, by reason.

    Args:
        text: a docstring or a README.
        min_chars: shorter passages are dropped (`too_short`).
        max_chars: a passage takes no further sentence beyond; longer sentences are dropped
            (`too_long`).
    """
    kept: list[str] = []
    dropped: Counter[str] = Counter()
    for run in _runs_of_prose(inspect.cleandoc(text), dropped):
        for piece in _packed(_sentences(run), max_chars):
            if len(piece) > max_chars:
                dropped["too_long"] += 1
            elif len(piece) < min_chars:
                dropped["too_short"] += 1
            else:
                kept.append(piece)
    return kept, dropped


def _runs_of_prose(text: str, dropped: Counter[str]) -> Iterator[str]:
    run: list[str] = []
    for paragraph in _paragraphs(text):
        reason = _not_prose(paragraph)
        if reason is None:
            run.append(_plain(paragraph))
            continue
        dropped[reason] += 1
        if run:
            yield " ".join(run)
            run = []
    if run:
        yield " ".join(run)


def _paragraphs(text: str) -> Iterator[list[str]]:
    """Returns the lines of each paragraph; a code block is one that opens with a fence."""
    block: list[str] = []
    fenced = False
    code_indent: int | None = None
    for line in [*text.splitlines(), ""]:
        if _FENCE.match(line):
            if not fenced and block:
                yield block
                block = []
            fenced = not fenced
            if not fenced:
                yield ["```"]
            continue
        if fenced:
            continue
        if code_indent is not None:
            if not line.strip() or len(line) - len(line.lstrip()) > code_indent:
                continue
            code_indent = None
        if not line.strip() or _UNDERLINE.match(line):
            if _UNDERLINE.match(line):
                block.append("=")  # makes the title above it a heading, not a sentence
            if block:
                yield block
                block = []
            continue
        if not _CODE_OPENS.match(line):
            block.append(line)
            continue
        if not line.strip().startswith(".. "):
            block.append(line)  # the words that introduce the code may be prose
        if block:
            yield block
            block = []
        yield ["```"]
        code_indent = len(line) - len(line.lstrip())
    if block:
        yield block


def _not_prose(lines: list[str]) -> str | None:
    if any(line.lstrip().startswith((">>>", "```", "$ ", "In [")) for line in lines):
        return "code"
    if any(line[:1].isspace() or _LIST_LINE.match(line) for line in lines):
        return "lists_and_parameters"
    text = _plain(lines)
    words = re.findall(r"[A-Za-z']+", text)
    letters = sum(character.isalpha() or character == " " for character in text)
    if len(words) < MIN_WORDS or letters < MIN_LETTERS * len(text) or not text.isascii():
        return "no_sentences"
    if (
        text.rstrip("\"')")[-1:] not in ".!?:"
        or len(_COMMON.intersection(map(str.lower, words))) < 2
    ):
        return "no_sentences"
    return None


def _plain(lines: list[str]) -> str:
    text = " ".join(line.strip() for line in lines)
    text = _ROLE.sub(r"\1", text)
    text = _LINK.sub(lambda match: match[1] or match[2] or "", text)
    return " ".join(text.replace("`", "").replace("**", "").replace("::", ":").split())


def _sentences(text: str) -> list[str]:
    parts: list[str] = []
    for part in _SENTENCE_END.split(text):
        if parts and _ABBREVIATION.search(parts[-1]):
            parts[-1] += f" {part}"
        else:
            parts.append(part)
    return parts


def _packed(sentences: list[str], max_chars: int) -> Iterator[str]:
    piece = ""
    for sentence in sentences:
        longer = f"{piece} {sentence}".strip()
        if piece and len(longer) > max_chars:
            yield piece
            longer = sentence
        piece = longer
    if piece:
        yield piece
