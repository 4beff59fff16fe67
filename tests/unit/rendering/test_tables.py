"""Tables of text: nothing in a cell becomes markup, and emphasis stays emphasis."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from shortlist.rendering.page import embedded_json
from shortlist.rendering.tables import (
    TextCell,
    TextTable,
    escape_markdown,
    markdown_table,
    rich_table,
)

HOSTILE = "a | *b* <img> & `c` [d](e)\n~f~"


def test_markdown_shows_a_text_as_it_is_in_one_line() -> None:
    assert escape_markdown(HOSTILE) == (
        "a \\| \\*b\\* &lt;img&gt; &amp; \\`c\\` \\[d\\](e) \\~f\\~"
    )


def test_a_markdown_table_has_a_rule_and_bold_cells() -> None:
    rows = ((TextCell("x|y"), TextCell("1", kind="strong"), TextCell("", kind="strong")),)
    table = TextTable("", ("name", "n", "m"), rows)
    assert markdown_table(table) == "| name | n | m |\n| --- | ---: | ---: |\n| x\\|y | **1** |  |"
    assert markdown_table(TextTable("", ("name",), ())) == ""


def test_a_terminal_shows_markup_in_texts_as_it_is() -> None:
    table = TextTable("[b]", ("[i]h[/]",), ((TextCell("[red]x[/red]", kind="soft"),),), "[note]")
    console = Console(width=60, file=io.StringIO(), record=True)
    console.print(rich_table(table))
    shown = console.export_text()
    assert all(text in shown for text in ("[b]", "[i]h[/]", "[red]x[/red]", "[note]"))


@pytest.mark.parametrize("control", ["\x1b", "\x07", "\x7f", "\x9b", "\u202e", "\u2066"])
def test_terminals_markdown_and_scripts_show_control_characters(control: str) -> None:
    said, shown = f"a{control}[2Jb", f"a\\u{ord(control):04x}[2Jb"
    console = Console(width=60, file=io.StringIO(), record=True)
    console.print(rich_table(TextTable(said, (said,), ((TextCell(said),),), said)))
    assert console.export_text().count(shown) == 4
    assert control not in escape_markdown(said)
    assert json.loads(embedded_json({said: (said, [1, None])})) == {shown: [shown, [1, None]]}
