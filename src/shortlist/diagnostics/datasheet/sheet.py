"""What stands on the page, before it is HTML or Markdown."""

from __future__ import annotations

from dataclasses import dataclass

from shortlist.rendering.tables import TextTable


@dataclass(frozen=True)
class Fact:
    """One number with its name, and what a reader may need to know of it."""

    label: str
    value: str
    note: str = ""


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
    tables: tuple[TextTable, ...] = ()
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
