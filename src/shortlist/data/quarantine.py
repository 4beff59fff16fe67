"""Rows that cannot be used are set aside with place and reason, never dropped in silence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from shortlist.core import Corpus

# (done, total, what): called as work goes on; whoever shows a bar draws it.
Progress: TypeAlias = Callable[[int, int, str], None]


@dataclass(frozen=True)
class BadRow:
    """One row that was set aside.

    Attributes:
        path: the file as it was given.
        line: line number from 1 (Parquet: row number from 1).
        reason: what was expected and what was found.
    """

    path: str
    line: int
    reason: str


@dataclass(frozen=True)
class Loaded:
    """A corpus and what was left out on the way to it.

    Attributes:
        corpus: the documents that were kept.
        counts: rows by fate: `rows_read` = `kept` + `quarantined` + `exact_copies` + `filtered` +
            `too_short` (see `Taken`) + `not_sampled` (where a sample is taken); how many
            texts were `cut`, before a sample is taken; and, under other names, what fell out before
            there were rows.
        quarantined: the rows that were set aside, in the order of the files.
        revision: the commit the files come from, where they come from a hub.
    """

    corpus: Corpus
    counts: Mapping[str, int]
    quarantined: tuple[BadRow, ...] = ()
    revision: str = ""


def render(rows: Iterable[BadRow]) -> str:
    """Returns one line `file:line: reason` per row, ready for a log or a file."""
    return "".join(f"{row.path}:{row.line}: {row.reason}\n" for row in rows)


def silent(done: int, total: int, what: str) -> None:
    """Returns nothing: the progress callable of those who want no progress."""
