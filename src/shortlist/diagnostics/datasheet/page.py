"""The sheet as one HTML file that needs nothing beside itself, and as Markdown."""

from __future__ import annotations

from shortlist.diagnostics.datasheet.sheet import Sheet
from shortlist.rendering.page import render_html, render_markdown

PACKAGE = "shortlist.diagnostics.datasheet"


def html(sheet: Sheet) -> str:
    """Returns the page. Every text is escaped; the drawings are not, as they are made here."""
    return render_html(PACKAGE, "page.html.j2", sheet=sheet)


def markdown(sheet: Sheet) -> str:
    """Returns the sheet as Markdown: its tables and texts, and the description of each drawing."""
    return render_markdown(PACKAGE, "page.md.j2", sheet=sheet)
