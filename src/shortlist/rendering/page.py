"""HTML pages and Markdown documents from the templates of a package, with one shell and one style.

A page is a single file that opens from disk and requests nothing: the style sheet is inlined and
`shell.html.j2` sets a content security policy. A template extends the shell and fills its blocks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from shortlist.rendering.tables import escape_markdown, markdown_table, visible


def render_html(package: str, template: str, **values: Any) -> str:
    """Returns a page; text in `values` is escaped unless the template marks it as safe, and control
    characters in all of it.

    Args:
        package: dotted name of the package that holds the template.
        template: its file name.
        values: variables of the template; one that is missing is an error.
    """
    return visible(_environment(package, autoescape=True).get_template(template).render(values))


def render_markdown(package: str, template: str, **values: Any) -> str:
    """Returns a Markdown document without repeated blank lines.

    Templates escape text by the filter `markdown` and render a `TextTable` by `markdown_table`.
    """
    text = visible(_environment(package, autoescape=False).get_template(template).render(values))
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def embedded_json(value: Any) -> str:
    """Returns JSON that can stand inside a script element, whatever its strings contain. Scripts
    read control characters from it as the page shows them (`visible`).
    """
    text = json.dumps(_visible(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _visible(value: Any) -> Any:
    """Returns a value of JSON with control characters in all its strings shown."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {visible(name): _visible(item) for name, item in value.items()}
    return [_visible(item) for item in value] if isinstance(value, list | tuple) else value


def light_colours() -> str:
    """Returns the first block of the style sheet: the colour variables of the light scheme."""
    style = resources.files("shortlist.rendering").joinpath("style.css").read_text("utf-8")
    return style[: style.index("}") + 1]


@cache
def _environment(package: str, *, autoescape: bool) -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader(name, ".") for name in (package, "shortlist.rendering")]
        ),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"markdown": escape_markdown, "markdown_table": markdown_table}
    return environment
