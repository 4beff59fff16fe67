"""What stands on the page, before it is HTML or Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Fact:
    """One number with its name, and what a reader may need to know of it."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Cell:
    """One cell of a table: its text, and the length of the bar behind it, 1 where it is longest."""

    text: str
    share: float | None = None
    kind: Literal["", "chosen", "pool", "soft"] = ""


@dataclass(frozen=True)
class Table:
    """Rows under headings; the first column names the row.

    Attributes:
        title: its heading.
        headings: of the columns; none where each row is a name and its value.
        rows: the rows.
        note: what to say below.
        texts: whether the first column holds whole texts, which get a line of their own on a phone.
    """

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    texts: bool = False


@dataclass(frozen=True)
class Figure:
    """A drawing with its title, its description for who cannot see it, and a note."""

    title: str
    svg: str
    alt: str
    note: str = ""


@dataclass(frozen=True)
class Example:
    """One document.

    Attributes:
        place: its rank, or why it has none.
        score: as text.
        text: the text, shortened visibly.
        tags: domain, copies, and the like.
        serves: (share, text) of the targets it serves most.
    """

    place: str
    score: str
    text: str
    tags: tuple[str, ...] = ()
    serves: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Group:
    """Examples under one heading."""

    title: str
    note: str
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Section:
    """A part of the page; what is empty is not shown.

    Attributes:
        name: its anchor.
        title: its heading.
        lead: what it says, in words.
        facts: numbers to see first.
        tables: tables.
        figures: drawings.
        groups: documents.
        code: something to be typed.
        narrow: whether its tables may stand side by side.
    """

    name: str
    title: str
    lead: str = ""
    facts: tuple[Fact, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    groups: tuple[Group, ...] = ()
    code: str = ""
    narrow: bool = False


@dataclass(frozen=True)
class Sheet:
    """The whole page.

    Attributes:
        title: what was chosen, in a few words.
        lead: how, in a sentence.
        facts: the numbers to see first.
        warnings: what a reader must know before any of it.
        sections: the rest.
    """

    title: str
    lead: str
    facts: tuple[Fact, ...]
    warnings: tuple[str, ...]
    sections: tuple[Section, ...]
