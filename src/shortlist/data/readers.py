"""Documents out of files: a typed row each; rejected rows are quarantined, all rows counted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

from shortlist.core import LARGEST_MASS, SMALLEST_MASS, Corpus, added_masses
from shortlist.data.files import NO_UTF8, TO_UTF8, RawFile, Reading, open_rows, shown
from shortlist.data.finding import DataFile
from shortlist.errors import InvalidInput, near

# (units done so far, total, what is being done): called as work proceeds.
Progress: TypeAlias = Callable[[int, int, str], None]
T = TypeVar("T")

CSV_COUNTS = ("of_several_lines", "quotes_unbalanced", "quotes_repaired")
MOST_VALUES = 10_000  # of a column that rows are chosen by: those that a message may name
MANY_LINES = 20  # a text file with so many lines a document may hold a document a line


def silent(done: int, total: int, what: str) -> None:
    """Ignores progress."""


def tracked(items: Collection[T], what: str, progress: Progress) -> Iterator[T]:
    """Yields the items and reports how many are done."""
    for done, item in enumerate(items):
        progress(done, len(items), what)
        yield item
    progress(len(items), len(items), what)


class Reject(InvalidInput):
    """The row is no document; the message is the reason."""


class RejectedRow(NamedTuple):
    """A row that is quarantined.

    Attributes:
        path: the file as it was given.
        line: line number from 1 (Parquet: row number from 1).
        reason: what was expected and what was found.
    """

    path: str
    line: int
    reason: str


def render(rows: Iterable[RejectedRow]) -> str:
    """Returns one line `file:line: reason` per row."""
    return "".join(f"{row.path}:{row.line}: {row.reason}\n" for row in rows)


@dataclass(frozen=True)
class Columns:
    """Names of the columns of a file; None where it has no such column.

    Attributes:
        text: the text, or the first text of a pair.
        text_b: the second text of a pair.
        label: the label; rows without one are quarantined.
        domain: the domain; rows without one have the default.
        names: class names by integer, where the file holds integers.
        numeric: whether labels are numbers (a regression) instead of classes.
        mass: how much a document counts; rows without 0 or a positive number in float32's
            range are quarantined.
        licence: its licence, for the report; rows without one have none.
        toxicity: its toxicity, for the report; rows without a number from 0 to 1 are quarantined.
        optional: kinds of columns that the file may lack although they are named.
        parse: from a row to one whose text, second text and label are strings, for labels that are
            lists or spans; raises InvalidInput with the reason for which a row is quarantined.
    """

    text: str = "text"
    text_b: str | None = None
    label: str | None = None
    domain: str | None = None
    names: Sequence[str] | None = None
    numeric: bool = False
    mass: str | None = None
    licence: str | None = None
    toxicity: str | None = None
    optional: tuple[str, ...] = ()
    parse: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None

    @property
    def named(self) -> dict[str, str]:
        """The columns that are there, by what they hold."""
        kinds = ("text", "text_b", "label", "domain", "mass", "licence", "toxicity")
        return {kind: name for kind in kinds if (name := getattr(self, kind)) is not None}


def column_name(value: object) -> str | None:
    """Returns the setting of a column as its name: a name may look like a number (`0`)."""
    return None if value is None else str(value)


@dataclass(frozen=True)
class RowFilter:
    """Which rows of a file become documents, and how long their texts may be.

    Attributes:
        only: accepted values by column; rows with other values are counted as `filtered`.
        min_chars: fewest characters; shorter texts are counted as `too_short`.
        max_chars: most characters; longer texts are stripped, cut there and counted as `cut`.
    """

    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    min_chars: int | None = None
    max_chars: int | None = None


class Document(NamedTuple):
    """One row of a file."""

    text: str
    text_b: str | None = None
    label: str | float | None = None
    domain: str = ""
    mass: float = 1.0
    licence: str = ""
    toxicity: float = 0.0

    @property
    def content(self) -> tuple[str, str | None, str | float | None]:
        """What makes two rows copies of each other."""
        return self.text, self.text_b, self.label


@dataclass(frozen=True)
class Documents:
    """Documents in the order of their rows, before they have ids.

    Attributes:
        rows: the documents that are kept; of copies the first, with the sum of their masses.
        counts: rows by fate: `rows_read` = `kept` + `quarantined` + `exact_copies` + `filtered` +
            `too_short`; how many texts were `cut`; `empty_files` among others; of CSV the counts of
            `quotes.csv_rows`.
        quarantined: the rejected rows, in the order of the files.
        warnings: what is suspicious about a file as a whole.
    """

    rows: Sequence[Document]
    counts: Mapping[str, int]
    quarantined: tuple[RejectedRow, ...]
    warnings: tuple[str, ...] = ()

    @property
    def texts(self) -> list[str]:
        """The texts (of a pair: the first)."""
        return [row.text for row in self.rows]

    def corpus(self, columns: Columns) -> Corpus:
        """Returns the documents with ids and with the optional columns that `columns` names."""
        rows = self.rows
        return Corpus.build(
            self.texts,
            [row.domain for row in rows],
            texts_b=[row.text_b or "" for row in rows] if columns.text_b else None,
            labels=[row.label for row in rows] if columns.label else None,
            masses=[row.mass for row in rows] if columns.mass else None,
            licences=[row.licence for row in rows] if columns.licence else None,
            toxicities=[row.toxicity for row in rows] if columns.toxicity else None,
        )


@dataclass(frozen=True)
class Loaded:
    """A corpus, and what was left out of it.

    Attributes:
        corpus: the documents that are kept.
        counts: rows by fate as in `Documents`, and `not_sampled` where a sample is drawn; under
            other names what was left out before there were rows.
        quarantined: the rejected rows, in the order of the files.
        revision: the commit the files come from, where they come from a hub.
        warnings: what is suspicious about a file as a whole.
    """

    corpus: Corpus
    counts: Mapping[str, int]
    quarantined: tuple[RejectedRow, ...] = ()
    revision: str = ""
    warnings: tuple[str, ...] = ()


def read(path: str | Path, *, keep_copies: bool = False, **columns: Any) -> Loaded:
    """Returns the documents of one file; `columns` are arguments of `Columns`."""
    return read_files([path], Columns(**columns), keep_copies=keep_copies)


def read_files(
    paths: Iterable[str | Path | DataFile],
    columns: Columns,
    *,
    default_domain: str = "",
    keep_copies: bool = False,
    reading: Reading | None = None,
    may_be_empty: bool = False,
) -> Loaded:
    """Returns the corpus of several files; see `read_documents`."""
    read = read_documents(
        paths,
        columns,
        default_domain=default_domain,
        keep_copies=keep_copies,
        reading=reading,
        may_be_empty=may_be_empty,
    )
    corpus = read.corpus(columns)
    return Loaded(corpus, read.counts, read.quarantined, warnings=read.warnings)


def read_documents(
    paths: Iterable[str | Path | DataFile],
    columns: Columns,
    *,
    default_domain: str = "",
    keep_copies: bool = False,
    row_filter: RowFilter | None = None,
    reading: Reading | None = None,
    may_be_empty: bool = False,
) -> Documents:
    """Returns the documents of several files as of one, in the order of their rows.

    Args:
        paths: files of the formats in `files.READABLE`.
        columns: the names of their columns.
        default_domain: domain of rows that name none.
        keep_copies: whether rows that repeat an earlier one stay (a published test set).
        row_filter: which rows become documents; None: all.
        reading: how files are cut into rows; None for the defaults.
        may_be_empty: whether all files may be without rows (parts of a larger set).

    Raises:
        Missing: there is no such file.
        InvalidInput: a file cannot be read, lacks a column, or all of its rows are rejected; no
            file holds a row; no row holds a value of `row_filter.only`.
    """
    reader = DocumentStream(
        paths,
        columns,
        default_domain=default_domain,
        row_filter=row_filter,
        reading=reading,
        may_be_empty=may_be_empty,
    )
    first: dict[Any, int] = {}
    rows: list[Document] = []
    masses: list[tuple[Any, float]] = []
    copies = 0
    for document in reader:
        content = document.content
        if not keep_copies:
            masses += [(content, document.mass)] if columns.mass else []
            if first.setdefault(content, len(rows)) < len(rows):
                copies += 1
                continue
        rows.append(document)
    if masses:
        keys, parts = zip(*masses, strict=True)
        sums = added_masses(keys, parts, list(first)).tolist()
        rows = [row._replace(mass=mass) for row, mass in zip(rows, sums, strict=True)]
    counts = reader.fates(len(rows), copies)
    return Documents(rows, counts, tuple(reader.rejected), tuple(reader.warnings))


def unreadable(rejected: Sequence[RejectedRow]) -> InvalidInput:
    """Returns the error of files of one document each, none of which has a text."""
    first, more = rejected[0], len(rejected) - 1
    others = f"; {more:,} more files have no text either" if more else ""
    return InvalidInput(f"{first.path}: expected a document, found {first.reason}{others}")


class DocumentStream:
    """The documents of several files as of one, in the order of their rows; account of the others.

    It is iterated over once, holds one document at a time, and refuses what `read_documents`, whose
    arguments it has, refuses. The attributes are complete after the last document.

    Attributes:
        rejected: the quarantined rows.
        counts: what the row filter did, and what the files' formats count.
        warnings: what is suspicious about a file.
        empty: the files without rows.
        filled: number of the others.
        read_well: number of these with a row that is a document.
        read: number of the documents.
    """

    def __init__(
        self,
        paths: Iterable[str | Path | DataFile],
        columns: Columns,
        *,
        default_domain: str = "",
        row_filter: RowFilter | None = None,
        reading: Reading | None = None,
        may_be_empty: bool = False,
    ) -> None:
        self.paths, self.columns, self.default_domain = paths, columns, default_domain
        self.filter, self.reading = row_filter or RowFilter(), reading or Reading()
        self.may_be_empty = may_be_empty
        self.wanted = {*columns.named.values(), *self.filter.only}
        self.rejected: list[RejectedRow] = []
        self.counts: Counter[str] = Counter()
        self.warnings: list[str] = []
        self.empty: list[Path] = []
        self.filled = self.read_well = self.read = 0
        self._values: dict[str, set[str]] = {column: set() for column in self.filter.only}

    def __iter__(self) -> Iterator[Document]:
        """Yields the documents.

        Raises:
            Missing: there is no such file.
            InvalidInput: as `read_documents` says.
        """
        for path in self.paths:
            file = path if isinstance(path, DataFile) else DataFile(Path(path), self.default_domain)
            for document in self._documents(file):
                self.read += 1
                yield document
        if self.may_be_empty:
            return
        if self.empty and not self.filled:
            raise InvalidInput(
                f"{shown(self.empty[0])}: expected rows with the column {self.columns.text!r}, found "
                "none; repair or replace the file"
            )
        if self.filled and not self.read_well:
            raise unreadable(self.rejected)

    def fates(self, kept: int, copies: int) -> dict[str, int]:
        """Returns the rows by fate, as `Documents.counts` has them.

        Args:
            kept: how many of the documents are kept.
            copies: how many repeat an earlier one.
        """
        fates = {"kept": kept, "quarantined": len(self.rejected), "exact_copies": copies}
        left_out = self.counts["filtered"] + self.counts["too_short"]
        rows = self.read + len(self.rejected) + left_out
        empty = {"empty_files": len(self.empty)} if self.empty else {}
        return {"rows_read": rows, **fates, **empty, **+self.counts}

    def _documents(self, file: DataFile) -> Iterator[Document]:
        """Yields the documents of one file in the order of its rows."""
        columns, path = self.columns, file.path
        raw = open_rows(path, self.reading, self.wanted - file.keys.keys())
        if not raw.has_columns:
            columns = replace(columns, text="text", domain=None)
        names: dict[str, None] = dict.fromkeys((*(raw.columns or ()), *file.keys))
        if raw.columns is not None:
            self._check_columns(path, columns, names)
        rows, good, first_rejected = 0, 0, len(self.rejected)
        for line, row in raw.rows:
            rows += 1
            try:
                if isinstance(row, str):
                    raise Reject(row)
                if raw.columns is None and row.keys() - names.keys():
                    names |= dict.fromkeys(row)
                if file.keys:
                    row = {**row, **file.keys}
                if self.filter.only and not self._passes(row):
                    continue
                row = row if columns.parse is None else columns.parse(row)
                document = _document(row, columns, self.default_domain or file.name)
            except InvalidInput as reason:
                self.rejected.append(RejectedRow(shown(path), line, str(reason)))
                continue
            good += 1
            text = self._fitted(document.text)
            if text is not None:
                yield document if text is document.text else document._replace(text=text)
        if rows == 0:
            self.empty.append(path)
            return
        self.filled += 1
        self.read_well += good > 0
        self._check_filter(path, names)
        if raw.columns is None:
            self._check_columns(path, columns, names)
        if good == 0 and not raw.is_page:
            rejected = self.rejected[first_rejected:]
            found, todo = "none", "repair or replace the file"
            if rejected:
                found = f"{len(rejected):,} rows and all bad, first line {rejected[0].line}: "
                found += rejected[0].reason
            if any(NO_UTF8 in row.reason for row in rejected):
                todo = TO_UTF8
            raise InvalidInput(
                f"{shown(path)}: expected rows with the column {columns.text!r}, found {found}; {todo}"
            )
        self._account(path, raw)

    def _account(self, path: Path, raw: RawFile) -> None:
        """Adds what was found in the file's format to the counts and warnings."""
        counts, group = raw.counts, self.reading.group
        self.counts.update({name: counts[name] for name in CSV_COUNTS})
        if unbalanced := counts["quotes_unbalanced"]:
            todo = (
                f"{group}.csv=lenient reads such quotes as text, {group}.csv=unquoted all quotes"
                if group
                else "write it again with quotes doubled"
            )
            self.warnings.append(
                f"{shown(path.name)}: {unbalanced:,} lines with unbalanced quotes are rejected; {todo}"
            )
        lines, blocks = counts["lines"], counts["blocks"]
        if not self.reading.lines and lines >= MANY_LINES * max(blocks, 1):
            todo = f"; {group}.lines=true reads a document a line" if group else ""
            self.warnings.append(
                f"{shown(path.name)}: read as {blocks:,} documents of {lines:,} lines, since blank lines "
                f"separate documents{todo}"
            )

    def _passes(self, row: Mapping[str, object]) -> bool:
        passes = True
        for column, accepted in self.filter.only.items():
            value = str(row.get(column))
            known = self._values[column]
            if value in accepted or len(known) < MOST_VALUES:
                known.add(value)
            passes = passes and value in accepted
        self.counts["filtered"] += not passes
        return passes

    def _fitted(self, text: str) -> str | None:
        min_chars, max_chars = self.filter.min_chars, self.filter.max_chars
        if min_chars is not None and len(text) < min_chars:
            self.counts["too_short"] += 1
            return None
        if max_chars is not None and len(text) > max_chars:
            self.counts["cut"] += 1
            return text.strip()[:max_chars]
        return text

    def _check_filter(self, path: Path, names: Mapping[str, None]) -> None:
        for column, accepted in self.filter.only.items():
            if column not in names:
                raise InvalidInput(
                    f"{path}: expected the column {column!r} to choose rows by; "
                    f"{near(column, names)}"
                )
            for value in accepted:
                if value not in self._values[column]:
                    raise InvalidInput(
                        f"{path}: expected rows whose {column!r} is {value!r}, found none; "
                        f"{near(value, self._values[column])}"
                    )

    def _check_columns(self, path: Path, columns: Columns, names: Mapping[str, None]) -> None:
        for kind, name in columns.named.items():
            if names and name not in names and kind not in columns.optional:
                of_pool = kind in ("text", "domain", "mass", "licence", "toxicity")
                other = f" (pool=files: set pool.{kind}=COLUMN)" if of_pool else ""
                raise InvalidInput(
                    f"{shown(path)}: expected the column {name!r}, found the columns: "
                    f"{', '.join(map(repr, names))}; set task.{kind}=COLUMN{other}"
                )


def _document(row: Mapping[str, Any], columns: Columns, default_domain: str) -> Document:
    domain: Any = default_domain if columns.domain is None else row.get(columns.domain)
    text = _text(row, columns.text)
    text_b = None if columns.text_b is None else _text(row, columns.text_b)
    label = None if columns.label is None else _label(row, columns)
    if domain is None or domain == "" or domain != domain:
        domain = default_domain
    if isinstance(domain, int | float) and not isinstance(domain, bool):
        domain = str(domain)
    if not isinstance(domain, str):
        raise Reject(f"column {columns.domain!r}: expected a string, found {type(domain).__name__}")
    mass = 1.0 if columns.mass is None else _measure(row, columns.mass, "mass", LARGEST_MASS)
    licence = "" if columns.licence is None else str(row.get(columns.licence) or "")
    toxicity = 0.0 if columns.toxicity is None else _measure(row, columns.toxicity, "toxicity", 1.0)
    domain = encodable(domain, f"column {columns.domain or ''!r}")
    licence = encodable(licence, f"column {columns.licence or ''!r}")
    return Document(text, text_b, label, domain, mass, licence, toxicity)


def _text(row: Mapping[str, Any], column: str) -> str:
    if column not in row:
        raise Reject(f"column {column!r} is missing")
    value = row[column]
    if value is None:
        raise Reject(f"column {column!r} is null")
    if not isinstance(value, str):
        raise Reject(f"column {column!r}: expected a string, found {type(value).__name__}")
    if not value.strip():
        raise Reject(f"column {column!r} is empty")
    return encodable(value, f"column {column!r}")


def encodable(value: str, place: str) -> str:
    """Returns a text that can be written as UTF-8.

    Args:
        value: the text. Bytes that are no UTF-8 are lone surrogates, which JSON can also spell out.
        place: where it stands, for messages.

    Raises:
        Reject: it cannot.
    """
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise Reject(f"{place} holds bytes that are {NO_UTF8} at character {error.start}") from None
    return value


def _label(row: Mapping[str, Any], columns: Columns) -> str | float:
    value = row.get(columns.label or "")
    if value is None or value == "":
        raise Reject(f"label {columns.label!r} is missing")
    if columns.numeric:
        number = _finite(value)
        if math.isnan(number):
            raise Reject(
                f"label {columns.label!r}: expected a finite number, found {str(value)[:40]!r}"
            )
        return number
    if columns.names is not None:
        return _class_name(value, columns.names)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | str):
        return encodable(str(value), f"column {columns.label or ''!r}")
    raise Reject(
        f"label {columns.label!r}: expected a string or an integer, found {type(value).__name__}"
    )


def _measure(row: Mapping[str, Any], column: str, kind: str, most: float) -> float:
    value = row.get(column)
    number = _finite(value)
    tiny = kind == "mass" and 0 < number < SMALLEST_MASS
    if not 0 <= number <= most or tiny:
        expected = f"from 0 to {most:g}"
        if kind == "mass":
            expected = f"of 0, or from {SMALLEST_MASS:.3g} to {most:.3g} (float32)"
        raise Reject(f"{kind} {column!r}: expected a number {expected}, found {str(value)[:40]!r}")
    return number


def _class_name(value: object, names: Sequence[str]) -> str:
    try:
        index = int(str(value))
    except ValueError:
        index = -1
    if not 0 <= index < len(names):
        raise Reject(
            f"label: expected an integer from 0 to {len(names) - 1}, found {str(value)[:40]!r}"
        )
    return names[index]


def _finite(value: Any) -> float:
    """Returns the value as a finite number, or NaN where it is none."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):  # an integer of 400 digits
        number = math.nan
    return number if math.isfinite(number) else math.nan
