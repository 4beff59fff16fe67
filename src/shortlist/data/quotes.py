"""Rows of CSV text: three dialects of quoting, and quotes that are not balanced.

A field that begins with a quote extends, over lines if need be, to the quote that closes it (RFC
4180). In a file that was written without quoting, or with quotes escaped by a backslash, such a
field can swallow the rows that follow. It is recognised by one of these:

- the quote is never closed, or text follows the closing quote;
- every line that the field covers is itself a row: as many cells as the header, and numbers in the
  columns whose other cells are numbers. Where no column holds numbers, two lines of two cells are
  taken as one quoted text.

In a file of one column, two quotes at the beginning of one line and the end of another cannot be
told from a text of several lines; rows of several lines are counted (`of_several_lines`).
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, NamedTuple, TypeAlias

CsvDialect: TypeAlias = Literal["strict", "lenient", "unquoted"]
DIALECTS: tuple[CsvDialect, ...] = ("strict", "lenient", "unquoted")

_BREAKS = "\r\n"
_DOUBLED = re.compile(r'[^"]*(?:""[^"]*)*')  # what a quoted field holds
_ESCAPED = re.compile(r'[^"\\]*(?:(?:""|\\.)[^"\\]*)*', re.DOTALL)  # with a backslash as well
_LEARNED = 20  # rows from which the columns of numbers are learned


class CsvRow(NamedTuple):
    """A row, or a line that belongs to none.

    Attributes:
        line: number of its first line, from 1.
        cells: its cells, or the reason why the line is rejected.
    """

    line: int
    cells: list[str] | str


class _Fault(Exception):
    """A quoted field is broken.

    Attributes:
        lines: lines after the first that the field was followed over.
        stray: whether the quote that opens it is certainly no opening quote.
    """

    def __init__(self, reason: str, lines: int, stray: bool) -> None:
        super().__init__(reason)
        self.lines, self.stray = lines, stray


@dataclass(frozen=True)
class _Record:
    """One row as its quotes are read: its cells, and how many lines it has after the first."""

    cells: list[str]
    lines: int
    repaired: bool


def csv_rows(
    lines: Iterator[str], delimiter: str, dialect: CsvDialect, longest: int, counts: Counter[str]
) -> Iterator[CsvRow]:
    """Yields the header and the rows of a CSV text; blank lines are left out.

    Args:
        lines: lines with their line breaks.
        delimiter: one character between cells.
        dialect: `strict` rejects every line that an unbalanced quote covers; `lenient` reads such
            quotes as text, and quotes escaped by a backslash as quotes; `unquoted` reads all quotes
            as text, and a line as one cell where the header is one.
        longest: most characters of a row.
        counts: `of_several_lines`, `quotes_unbalanced` (lines) and `quotes_repaired` (rows of the
            dialect `lenient`) are added to it.
    """
    reader = _Reader(_Ahead(lines), delimiter, dialect == "lenient", longest, counts)
    first = next(reader.header(dialect == "unquoted"), None)
    if first is None:
        return
    yield first
    if dialect != "unquoted":
        yield from reader.rows()
        return
    one = len(reader.header_cells) == 1
    for number, line in reader.ahead.rest():
        text = line.rstrip(_BREAKS)
        if text:
            yield CsvRow(number, [text] if one else text.split(delimiter))


class _Ahead:
    """Lines with their numbers, of which some may be looked at before they are taken."""

    def __init__(self, lines: Iterator[str]) -> None:
        self.lines, self.seen, self.taken = lines, deque[str](), 0

    def take(self) -> str | None:
        self.taken += 1
        return self.seen.popleft() if self.seen else next(self.lines, None)

    def peek(self, place: int) -> str | None:
        """Returns the line that is `place` lines after the next one."""
        while len(self.seen) <= place:
            line = next(self.lines, None)
            if line is None:
                return None
            self.seen.append(line)
        return self.seen[place]

    def skip(self, count: int) -> None:
        for _ in range(count):
            self.seen.popleft()
        self.taken += count

    def rest(self) -> Iterator[tuple[int, str]]:
        while (line := self.take()) is not None:
            yield self.taken, line


class _Reader:
    def __init__(
        self, ahead: _Ahead, delimiter: str, lenient: bool, longest: int, counts: Counter[str]
    ) -> None:
        self.ahead, self.delimiter, self.lenient = ahead, delimiter, lenient
        self.longest, self.counts = longest, counts
        self.header_cells: list[str] = []
        self.numeric: list[bool] = []  # by column: whether all cells so far are numbers
        self.learned = 0
        self.closing: dict[int, int] = {}  # line that may close a stray quote: line that opens it

    def header(self, unquoted: bool) -> Iterator[CsvRow]:
        """Yields the first row that is not blank."""
        for number, line in self.ahead.rest():
            text = line.rstrip(_BREAKS)
            if not text:
                continue
            try:
                record = None if unquoted or '"' not in line else self.record(line)
            except _Fault as fault:
                yield CsvRow(number, str(fault))
                return
            cells = record.cells if record else text.split(self.delimiter)
            self.ahead.skip(record.lines if record else 0)
            self.header_cells, self.numeric = cells, [True] * len(cells)
            yield CsvRow(number, cells)
            return

    def rows(self) -> Iterator[CsvRow]:
        """Yields the rows after the header."""
        for number, line in self.ahead.rest():
            if '"' not in line:
                text = line.rstrip(_BREAKS)
                if text:
                    cells = text.split(self.delimiter)
                    self.learn(cells)
                    yield CsvRow(number, cells)
            elif self.lenient:
                yield self.lenient_row(number, line)
            else:
                yield from self.strict_rows(number, line)

    def lenient_row(self, number: int, line: str) -> CsvRow:
        try:
            record = self.record(line)
            if record.lines and self.covers_rows(line, record.lines):
                raise _Fault("", record.lines, True)
        except _Fault:
            record = _Record(self.repaired_cells(line), 0, True)
        self.ahead.skip(record.lines)
        self.counts["of_several_lines"] += record.lines > 0
        self.counts["quotes_repaired"] += record.repaired
        self.learn(record.cells)
        return CsvRow(number, record.cells)

    def strict_rows(self, number: int, line: str) -> Iterator[CsvRow]:
        opened = self.closing.pop(number, None)
        if opened is not None and self.bare_quotes(line) % 2:
            yield self.unbalanced(number, f"the quote of line {opened} ends here")
            return
        try:
            record = self.record(line)
        except _Fault as fault:
            covered = 0 if fault.stray else self.shadow(line)
            yield self.unbalanced(number, str(fault))
            yield from self.covered(number, covered)
            return
        certain = self.covers_rows(line, record.lines) if record.lines else None
        if certain is None:
            self.ahead.skip(record.lines)
            self.counts["of_several_lines"] += record.lines > 0
            self.learn(record.cells)
            yield CsvRow(number, record.cells)
            return
        last = number + record.lines
        reason = f"a quote opens here and closes in line {last}, and every line between is a row"
        yield self.unbalanced(number, reason)
        if certain:
            self.closing[last] = number
            return
        yield from self.covered(number, record.lines)

    def covered(self, number: int, lines: int) -> Iterator[CsvRow]:
        """Rejects the next `lines` lines, which the unbalanced quote of line `number` covers."""
        for place, line in islice(self.ahead.rest(), lines):
            if line.strip(_BREAKS):
                yield self.unbalanced(place, f"covered by the unbalanced quote of line {number}")

    def unbalanced(self, number: int, reason: str) -> CsvRow:
        self.counts["quotes_unbalanced"] += 1
        return CsvRow(number, f"broken CSV: {reason}")

    def record(self, line: str) -> _Record:
        """Returns the row that begins with `line`; the lines after it are only looked at.

        Raises:
            _Fault: a quoted field is not closed, or text follows its closing quote.
        """
        cells, text, place, lines, repaired = list[str](), line, 0, 0, False
        while True:
            if text.startswith('"', place):
                begin = scan = place + 1
                while (quote := self.end_of_quoted(text, scan)) < 0:
                    following = self.ahead.peek(lines)
                    if following is None or len(text) + len(following) > self.longest:
                        cell = len(cells) + 1
                        reason = f"the quote that opens cell {cell} is never closed"
                        raise _Fault(reason, lines, True)
                    scan = len(text)
                    text += following
                    lines += 1
                after = text[quote + 1 : quote + 2]
                if after not in ("", self.delimiter, *_BREAKS):
                    before = text[quote - 1]
                    raise _Fault(
                        f"text follows the quote that ends cell {len(cells) + 1}"
                        + (", which a backslash precedes" if before == "\\" else ""),
                        lines,
                        lines > 0 and before in (self.delimiter, *_BREAKS),
                    )
                value = text[begin:quote].replace('""', '"')
                if self.lenient and '\\"' in value:
                    value = value.replace('\\"', '"')
                    repaired = True
                cells.append(value)
                place = quote + 1
            else:
                end = text.find(self.delimiter, place)
                value = text[place:end] if end >= 0 else text[place:].rstrip(_BREAKS)
                cells.append(value)
                place += len(value)
            if not text.startswith(self.delimiter, place):
                return _Record(cells, lines, repaired)
            place += 1

    def end_of_quoted(self, text: str, place: int) -> int:
        """Returns where the next quote is that is not doubled or escaped, or -1."""
        found = (_ESCAPED if self.lenient else _DOUBLED).match(text, place)
        return found.end() if found and found.end() < len(text) else -1

    def repaired_cells(self, line: str) -> list[str]:
        """Returns the cells of one line; a quote that is not closed in it is text."""
        text, cells, place = line.rstrip(_BREAKS), list[str](), 0
        while True:
            end = -1
            if text.startswith('"', place):
                end = text.find(f'"{self.delimiter}', place + 1)
                end = len(text) - 1 if end < 0 and text.endswith('"') else end
            if end > place:
                cells.append(text[place + 1 : end].replace('""', '"').replace('\\"', '"'))
                place = end + 1
            else:
                end = text.find(self.delimiter, place)
                end = len(text) if end < 0 else end
                cells.append(text[place:end])
                place = end
            if place >= len(text):
                return cells
            place += 1

    def shadow(self, line: str) -> int:
        """Returns how many lines after `line`, whose quotes are broken, belong to it.

        They end with the line that closes the quote, or before a line that is certainly a row.
        """
        place, size = 0, len(line)
        if _quotes(line) % 2 == 0:
            return 0
        while size <= self.longest and (following := self.ahead.peek(place)) is not None:
            if self.is_row(following) and (any(self.numeric) or len(self.header_cells) > 2):
                return place
            place, size = place + 1, size + len(following)
            if _quotes(following) % 2:
                return place
        return 0

    def covers_rows(self, line: str, lines: int) -> bool | None:
        """Returns whether `line` and the `lines` after it are rows: None if not, else whether that
        is certain.
        """
        width = len(self.header_cells)
        if width < 2:
            return None
        covered = [line, *islice(self.ahead.seen, lines)]
        cells = [text.rstrip(_BREAKS).split(self.delimiter) for text in covered]
        odd = [sum(cell.count('"') % 2 for cell in row) for row in cells]
        if any(len(row) != width for row in cells) or odd != [1, *[0] * (lines - 1), 1]:
            return None
        numeric = [all(map(_number, column)) for column in zip(*cells, strict=True)]
        if self.learned >= 2:
            if any(known and not here for known, here in zip(self.numeric, numeric, strict=True)):
                return None
            numeric = self.numeric
        if any(numeric):
            return True
        return False if width > 2 or lines > 1 else None

    def is_row(self, line: str) -> bool:
        cells = line.rstrip(_BREAKS).split(self.delimiter)
        return len(cells) == len(self.numeric) and all(
            _number(cell) for cell, number in zip(cells, self.numeric, strict=True) if number
        )

    def bare_quotes(self, line: str) -> int:
        """Returns the number of quotes in cells of `line` that do not begin with one."""
        cells = line.rstrip(_BREAKS).split(self.delimiter)
        return sum(cell.count('"') for cell in cells if not cell.startswith('"'))

    def learn(self, cells: Sequence[str]) -> None:
        if self.learned < _LEARNED and len(cells) == len(self.numeric):
            pairs = zip(self.numeric, cells, strict=True)
            self.numeric = [known and _number(cell) for known, cell in pairs]
            self.learned += 1


def _quotes(line: str) -> int:
    """Returns the number of quotes that no backslash precedes."""
    return line.count('"') - line.count('\\"')


def _number(cell: str) -> bool:
    try:
        float(cell.strip('"'))
    except ValueError:
        return False
    return True
