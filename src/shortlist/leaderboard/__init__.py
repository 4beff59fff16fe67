"""Comparison tables from records: for the terminal, as Markdown, CSV, LaTeX and HTML, for W&B.

No module imports torch: a leaderboard is built in a second on any machine that has the records.
"""

from shortlist.leaderboard.build import build
from shortlist.leaderboard.publish import Published, publish
from shortlist.leaderboard.table import Aggregate, Column, ComparisonTable, Row, RowAxes
from shortlist.leaderboard.text import console_table

__all__ = [
    "Aggregate",
    "Column",
    "ComparisonTable",
    "Published",
    "Row",
    "RowAxes",
    "build",
    "console_table",
    "publish",
]
