"""Records become comparison tables: for the console, as Markdown, CSV and a page, for W&B.

Nothing here imports torch: a leaderboard is built in a second, on any machine that has the records.
"""

from shortlist.leaderboard.build import build
from shortlist.leaderboard.console import console_table
from shortlist.leaderboard.publish import Published, publish
from shortlist.leaderboard.table import Cell, Column, Row, RowAxes, Table

__all__ = [
    "Cell",
    "Column",
    "Published",
    "Row",
    "RowAxes",
    "Table",
    "build",
    "console_table",
    "publish",
]
