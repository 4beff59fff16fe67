"""What a logger is. Records are the truth; a logger is a view of them that can be made again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from shortlist.core import Record
from shortlist.leaderboard.table import ComparisonTable


class Logger(Protocol):
    """Reports cells as they end and tables when a sweep does."""

    def log_cell(self, record: Record, group: str, directory: Path) -> None:
        """Reports one cell.

        Args:
            record: the cell, whatever its status.
            group: name of the sweep; its cells and its table belong together.
            directory: where files may go: the directory of the sweep, or of the single run.
        """
        ...

    def log_table(self, tables: Sequence[ComparisonTable], group: str, directory: Path) -> None:
        """Reports the comparison tables of a sweep; arguments as for `log_cell`."""
        ...
