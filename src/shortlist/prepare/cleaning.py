"""Repair and normalisation of texts: encodings, markup, white space, repeated lines."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import ftfy

from shortlist.errors import InvalidInput, near
from shortlist.prepare.base import CollectionOperation, DocumentOperation, Text, Verdict

# ASCII text without these is what ftfy returns it as: entities, escape codes, returns, controls.
_FTFY_READS = re.compile(r"[&\x00-\x08\x0b-\x1f\x7f]")

_BREAKS = re.compile("\r\n|[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
# Controls, and format characters that show nothing. The joiners U+200C and U+200D stay: they belong
# to Persian words and to emoji sequences.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff"
    "\ufff9-\ufffb]"
)
_SPACES = re.compile("[\t \xa0\u1680\u2000-\u200a\u202f\u205f\u3000]+")
_BLANKS = re.compile("\n{3,}")

_BLOCKS = frozenset(
    """
    article aside blockquote br caption center dd div dl dt figcaption figure footer form h1 h2 h3 h4 h5
    h6 header hr li main nav ol option p pre section table tbody td tfoot th thead title tr ul
    """.split()  # noqa: SIM905
)
_TAGS = (
    "a abbr article aside audio b blockquote body br button canvas caption center cite code col dd del"
    " details div dl dt em embed figcaption figure font footer form h1 h2 h3 h4 h5 h6 head header hr"
    " html i iframe img input ins label li link main map meta nav noscript object ol option p param"
    " picture pre q s samp script section select small source span strike strong style sub sup table"
    " tbody td textarea tfoot th thead time title tr tt u ul var video"
)
_TAG = re.compile(
    rf"<(?:!--[^<>]*--|![a-z][^<>]*|/?(?P<name>{'|'.join(sorted(_TAGS.split(), reverse=True))})"
    r"(?:[\s/][^<>]*)?)>",
    re.IGNORECASE,
)
_HIDDEN = ("script", "style")

_LINK = re.compile(r"!?\[([^\[\]\n]*)\]\((?:[^()\s]|\([^()\s]*\))*(?:\s+\"[^\"\n]*\")?\)")
_EMPHASIS = re.compile(r"(\*\*\*|\*\*|~~|(?<![\w_])__)(?=\S)([^*~_\n]+)(?<=\S)\1(?!(?<=_)\w)")
_ITALIC = re.compile(r"(?<![\w*])\*(?=[^\s*])([^*\n]+)(?<=[^\s*])\*(?![\w*])")
_LINE_MARK = re.compile(r"^[ \t]*(?:#{1,6}[ \t]+|(?:>[ \t]?)+)", re.MULTILINE)
_RULE = re.compile(r"^[ \t]*(?:[-*_=][ \t]*){3,}$\n?|^[ \t]*(?:```|~~~)[^\n]*$\n?", re.MULTILINE)


@dataclass(frozen=True)
class RepairText(DocumentOperation):
    """Repairs encoding errors by ftfy and normalises Unicode (Speer 2019, zenodo.2591652).

    Text that was decoded by a wrong table ("schÃ¶n"), escaped entities, ligatures, full-width
    letters and curly quotes become what they stood for; a lone surrogate becomes U+FFFD.

    Attributes:
        normalization: Unicode normal form (`NFC`, `NFKC`), or None.
        uncurl_quotes: whether curly quotes become straight ones.
        unescape_html: whether entities such as `&amp;` become characters, also beside tags.
    """

    normalization: str | None
    uncurl_quotes: bool
    unescape_html: bool

    def __post_init__(self) -> None:
        forms = ("NFC", "NFKC")
        if self.normalization is not None and self.normalization not in forms:
            raise InvalidInput(
                f"repair_text.normalization: expected a composed form, found {self.normalization!r}; "
                f"{near(self.normalization, forms)}"
            )

    @cached_property
    def _settings(self) -> ftfy.TextFixerConfig:
        settings: dict[str, Any] = {
            "unescape_html": self.unescape_html,
            "uncurl_quotes": self.uncurl_quotes,
            "normalization": self.normalization,
            "explain": False,
        }
        return ftfy.TextFixerConfig(**settings)

    def apply(self, document: Text) -> Verdict:
        """Returns the repaired text."""
        text = document.value
        if text.isascii() and _FTFY_READS.search(text) is None:
            return Verdict(text)
        return Verdict(ftfy.fix_text(text, self._settings))


@dataclass(frozen=True)
class StripHtml(DocumentOperation):
    """Removes the tags of HTML, its comments, and what stands in scripts and style sheets.

    Only the names of HTML elements are tags: `a < b` and `<unk>` stay. A tag of a block becomes a
    line break.
    """

    def apply(self, document: Text) -> Verdict:
        """Returns the text without tags."""
        text = document.value
        if "<" not in text:
            return Verdict(text)
        parts: list[str] = []
        hidden, last = "", 0
        for tag in _TAG.finditer(text):
            name = (tag["name"] or "").lower()
            if not hidden:
                parts += [text[last : tag.start()], "\n" if name in _BLOCKS else ""]
            closes = text[tag.start() + 1] == "/"
            if name in _HIDDEN and (closes or not hidden):
                hidden = "" if closes else name
            last = tag.end()
        return Verdict("".join(parts) + text[last:])


@dataclass(frozen=True)
class StripMarkdown(DocumentOperation):
    """Removes the marks of Markdown: links and images keep their text, headings, quotations and
    emphasis their words; rules and the fences of code are dropped.
    """

    def apply(self, document: Text) -> Verdict:
        """Returns the text without marks."""
        text = _RULE.sub("", document.value)
        text = _LINE_MARK.sub("", text)
        if "](" in text:
            text = _LINK.sub(r"\1", text)
        for pattern in (_EMPHASIS, _ITALIC):
            text = pattern.sub(lambda match: match[match.re.groups], text)
        return Verdict(text)


@dataclass(frozen=True)
class Whitespace(DocumentOperation):
    """Normalises white space and removes characters that show nothing.

    Line breaks of all kinds become line feeds, runs of spaces one space, three and more line breaks
    two; controls, byte order marks, zero-width spaces and marks of direction go.
    """

    def apply(self, document: Text) -> Verdict:
        """Returns the text in canonical composition (NFC) with plain white space."""
        text = document.value
        if not text.isascii():
            text = unicodedata.normalize("NFC", text)
        text = _INVISIBLE.sub("", _BREAKS.sub("\n", text))
        text = _SPACES.sub(" ", text).replace(" \n", "\n").replace("\n ", "\n")
        return Verdict(_BLANKS.sub("\n\n", text).strip())


@dataclass(frozen=True)
class BoilerplateLines(CollectionOperation):
    """Removes lines that repeat over many documents: menus, signatures, notices.

    Attributes:
        documents: a line that so many documents hold goes; a number and not a share, so that a
            line's fate cannot turn when others are dropped.
        min_chars: shorter lines stay.
    """

    edits: ClassVar[bool] = True
    documents: int
    min_chars: int

    def apply(self, texts: Sequence[str]) -> list[Verdict]:
        """Returns the texts without such lines; a text of nothing else fails `only_boilerplate`."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update({line for line in map(str.strip, text.split("\n")) if line})
        repeated = {
            line
            for line, count in counts.items()
            if count >= self.documents and len(line) >= self.min_chars
        }
        verdicts: list[Verdict] = []
        for text in texts if repeated else ():
            lines = text.split("\n")
            rest = [line for line in lines if line.strip() not in repeated]
            if len(rest) == len(lines):
                verdicts.append(Verdict(text))
            elif any(map(str.strip, rest)):
                verdicts.append(Verdict("\n".join(rest).strip("\n")))
            else:
                verdicts.append(Verdict(text, ("only_boilerplate",)))
        return verdicts or [Verdict(text) for text in texts]
