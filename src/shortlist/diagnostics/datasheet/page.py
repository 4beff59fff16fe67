"""The sheet as one HTML file that needs nothing beside itself, and as Markdown."""

from __future__ import annotations

from typing import Any

from shortlist.diagnostics.datasheet.sheet import Sheet


def html(sheet: Sheet) -> str:
    """Returns the page. Every text is escaped; the drawings are our own."""
    return _environment(escape=True).get_template("page.html.j2").render(sheet=sheet)


def markdown(sheet: Sheet) -> str:
    """Returns the sheet as Markdown: the tables and texts; drawings are told by their description."""
    environment = _environment(escape=False)
    environment.filters["plain"] = _plain
    text = environment.get_template("page.md.j2").render(sheet=sheet)
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text.strip() + "\n"


def _environment(*, escape: bool) -> Any:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader("shortlist.diagnostics.datasheet", "."),
        autoescape=escape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _plain(text: str) -> str:
    """Returns the text as Markdown that shows it: no markup, no tag and no second column in it."""
    text = " ".join(text.split())
    for sign in "\\`*_[]|~":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
