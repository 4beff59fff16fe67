"""Content of a datasheet, and its rendering as one HTML file and as Markdown."""

from dataclasses import dataclass

from shortlist.rendering.page import render_html, render_markdown
from shortlist.rendering.tables import TextTable

PACKAGE = "shortlist.diagnostics.datasheet"


@dataclass(frozen=True)
class Fact:
    """A number with its name and a note."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """A plot (SVG) with its title, a description in words, and a note."""

    title: str
    svg: str
    alt: str
    note: str = ""


@dataclass(frozen=True)
class Example:
    """One document.

    Attributes:
        place: its rank, or `not selected`.
        score: as text.
        text: the text, shortened.
        tags: domain and near copies.
        targets: (share, text) of the target texts that receive most of its mass.
    """

    place: str
    score: str
    text: str
    tags: tuple[str, ...] = ()
    targets: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Group:
    """Examples under one heading."""

    title: str
    note: str
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Section:
    """A part of the page; empty fields are not shown.

    Attributes:
        name: its anchor.
        title: its heading.
        lead: what it shows, in words.
        facts: its main numbers.
        tables: tables.
        figures: plots.
        groups: documents.
        code: a command.
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
class Datasheet:
    """The page of one selection, or of other data.

    Attributes:
        title: what was selected.
        lead: how it was selected, in a sentence.
        facts: the main numbers.
        warnings: what limits the use of the selection.
        sections: the sections.
        kind: what the page is about.
    """

    title: str
    lead: str
    facts: tuple[Fact, ...]
    warnings: tuple[str, ...]
    sections: tuple[Section, ...]
    kind: str = "Datasheet of a selection"


def html(sheet: Datasheet) -> str:
    """Returns the page. Every text is escaped; the plots are not, as they are drawn here."""
    return render_html(PACKAGE, "page.html.j2", sheet=sheet)


def markdown(sheet: Datasheet) -> str:
    """Returns the sheet as Markdown: its tables and texts, and the description of each plot."""
    return render_markdown(PACKAGE, "page.md.j2", sheet=sheet)
