"""Which rows of a file become documents, and how much of their texts: all that is left is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shortlist.errors import InvalidInput, near


@dataclass(frozen=True)
class Taken:
    """What is taken of a file.

    Attributes:
        only: values by column: rows that hold another are left out.
        shortest: texts of fewer characters are left out.
        longest: texts of more characters are cut there.
    """

    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    shortest: int | None = None
    longest: int | None = None


class Sieve:
    """What is taken, applied to the rows of several files; `counts` says what was not.

    Attributes:
        counts: rows `filtered` and `too_short`, which are no documents; texts `cut`, which are.
    """

    def __init__(self, taken: Taken) -> None:
        """Stores the rules."""
        self.taken = taken
        self.counts: Counter[str] = Counter()
        self._values: dict[str, set[str]] = {column: set() for column in taken.only}

    def row(self, row: Mapping[str, object]) -> bool:
        """Returns whether the row holds the values that are asked for."""
        passes = True
        for column, wanted in self.taken.only.items():
            value = str(row.get(column))
            self._values[column].add(value)
            passes = passes and value in wanted
        self.counts["filtered"] += not passes
        return passes

    def text(self, text: str) -> str | None:
        """Returns the text, cut where it is too long (white space around it goes first), or None
        where it is too short.
        """
        shortest, longest = self.taken.shortest, self.taken.longest
        if shortest is not None and len(text) < shortest:
            self.counts["too_short"] += 1
            return None
        if longest is not None and len(text) > longest:
            self.counts["cut"] += 1
            return text.strip()[:longest]
        return text

    def check(self, path: Path, columns: Iterable[str]) -> None:
        """Refuses what the rows so far have not had.

        Args:
            path: the file that was read last.
            columns: its columns.

        Raises:
            InvalidInput: a column is not there, or no row holds a value that is asked for.
        """
        for column, wanted in self.taken.only.items():
            if column not in columns:
                raise InvalidInput(
                    f"{path}: expected the column {column!r} to choose rows by; "
                    f"{near(column, columns)}"
                )
            for value in wanted:
                if value not in self._values[column]:
                    raise InvalidInput(
                        f"{path}: expected rows whose {column!r} is {value!r}, found none; "
                        f"{near(value, self._values[column])}"
                    )
