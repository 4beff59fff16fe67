"""Tables of text: the form in which a table becomes Markdown or LaTeX or appears in a terminal."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import rich.table

# Of the controls, tab and line ends are text.
CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class TextCell:
    """One cell of a table.

    Attributes:
        text: what it shows.
        share: length of the bar behind the text, 1 for the longest of the table; None for no bar.
        kind: `chosen` and `pool` are colours of the bar, `soft` and `strong` of the text.
    """

    text: str
    share: float | None = None
    kind: Literal["", "chosen", "pool", "soft", "strong"] = ""


@dataclass(frozen=True)
class TextTable:
    """Rows of cells under headings; the first column names the row.

    Attributes:
        title: heading of the table.
        headings: of the columns; none where each row is a name and its value.
        rows: the rows.
        note: text below the table.
        texts: whether the first column holds whole texts, which get a line of their own on a phone.
        left: number of leading columns that are aligned to the left; the others are to the right.
    """

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[TextCell, ...], ...]
    note: str = ""
    texts: bool = False
    left: int = 1


def visible(text: str) -> str:
    r"""Returns the text with control characters and those that turn the direction of writing as
    `\u001b`: in a terminal they are commands, on a page they hide what is there.
    """
    return CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def escape_markdown(text: str) -> str:
    """Returns Markdown that shows the text in one line: without markup, tags or column borders."""
    text = visible(" ".join(text.split()))
    for character in "\\`*_[]|~":
        text = text.replace(character, f"\\{character}")
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def markdown_table(table: TextTable) -> str:
    """Returns the headings and rows as a Markdown table; without rows the empty string."""
    if not table.rows:
        return ""
    columns = len(table.rows[0])
    headings = [escape_markdown(text) for text in table.headings or ("",) * columns]
    rule = ["---" if place < table.left else "---:" for place in range(columns)]
    return "\n".join(map(_line, [headings, rule, *([_markdown(c) for c in r] for r in table.rows)]))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown(cell: TextCell) -> str:
    text = escape_markdown(cell.text)
    return f"**{text}**" if text and cell.kind == "strong" else text


LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {
        "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
        "<": r"\textless{}", ">": r"\textgreater{}", "±": r"$\pm$", "≈": r"$\approx$",
        "\N{MINUS SIGN}": "$-$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "·": r"$\cdot$",
        "∞": r"$\infty$", "⚠": "(!)",
    }
)  # fmt: skip
LATEX_TABLE = r"""\begin{table}[!t]
\caption*{
{\large %(title)s}
}

\fontsize{12.0pt}{14.4pt}\selectfont

\begin{tabular*}{\linewidth}{@{\extracolsep{\fill}}%(columns)s}
\toprule
%(headings)s
\midrule\addlinespace[2.5pt]
%(rows)s
\bottomrule
\end{tabular*}

\end{table}
"""


def latex_table(table: TextTable) -> str:
    """Returns the title, headings and rows as a `table` environment, for the packages booktabs and
    caption.
    """
    rows = [" & ".join(map(_latex, row)) + r" \\" for row in table.rows]
    return LATEX_TABLE % {
        "title": _latex(TextCell(table.title)),
        "columns": "l" * table.left + "r" * (len(table.headings) - table.left),
        "headings": " & ".join(_latex(TextCell(text)) for text in table.headings) + r" \\",
        "rows": "\n".join(rows),
    }


def _latex(cell: TextCell) -> str:
    text = visible(" ".join(cell.text.split())).translate(LATEX)
    return rf"\textbf{{{text}}}" if cell.kind == "strong" else text


def rich_table(table: TextTable, widths: Mapping[int, int] | None = None) -> rich.table.Table:
    """Returns the table for a terminal; its note becomes the caption.

    Args:
        table: the table.
        widths: fixed widths of columns; longer texts are folded.
    """
    import rich.table
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape

    made = rich.table.Table(
        title=escape(visible(table.title)) or None,
        caption=escape(visible(table.note)) or None,
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title_justify="left",
        caption_justify="left",
        title_style="bold",
    )
    for place, heading in enumerate(table.headings):
        made.add_column(
            escape(visible(heading)),
            justify="left" if place < table.left else "right",
            overflow="fold",
            width=(widths or {}).get(place),
        )
    styles = {"strong": "bold green", "soft": "dim"}
    for row in table.rows:
        texts = (escape(visible(cell.text)) for cell in row)
        made.add_row(
            *(
                f"[{styles[cell.kind]}]{text}[/]" if cell.kind in styles else text
                for cell, text in zip(row, texts, strict=True)
            )
        )
    return made
