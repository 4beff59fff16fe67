"""Rows of files with their line numbers: JSON Lines, CSV, Parquet, Arrow, text, PDF and HTML."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, chain
from pathlib import Path
from typing import IO, Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from shortlist.data.pages import TEXT_OF, NoText
from shortlist.data.quotes import DIALECTS, CsvDialect, csv_rows
from shortlist.errors import InvalidInput, Missing, near

_WHOLE = ("md", *TEXT_OF)  # formats of one document a file
_TEXT_FILES = ("txt", *_WHOLE)
_TEXT_FORMATS = (".jsonl", ".csv", ".tsv", ".txt", ".md")
READABLE = (
    *(f"{name}{packed}" for name in _TEXT_FORMATS for packed in ("", ".gz", ".zst")),
    ".json.gz",
    ".json.zst",
    ".parquet",
    ".arrow",
    *(f".{name}" for name in TEXT_OF),
)

# Line number from 1, and the columns of the row or the reason why it cannot be read.
RawRow: TypeAlias = tuple[int, Mapping[str, object] | str]

_COMPRESSION = {".gz": "gzip", ".zst": "zstd"}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
NO_UTF8 = "no UTF-8"  # in the reason of a rejected row
TO_UTF8 = "convert the file first: iconv -f LATIN1 -t UTF-8 FILE > NEW, if it is Latin-1"
_MEGABYTE = 1 << 20
_FREE = 100 * _MEGABYTE  # unpacked bytes that every compressed file may have
_ROWS = 8192  # of a table that are read at a time
_TABLE_ERRORS = (OSError, pa.ArrowException, ValueError, KeyError, OverflowError)
_BINARY = {
    pa.string(): pa.binary(),
    pa.large_string(): pa.large_binary(),
    pa.string_view(): pa.binary_view(),
}
_KINDS = {
    stat.S_ISFIFO: "a FIFO",
    stat.S_ISCHR: "a character device",
    stat.S_ISBLK: "a block device",
    stat.S_ISSOCK: "a socket",
}


@dataclass(frozen=True)
class Reading:
    """How files are cut into rows.

    Attributes:
        csv: how quotes in CSV files are read: see `quotes.csv_rows`.
        lines: whether each line of a text file is a document; else documents are separated by blank
            lines.
        longest_mb: most megabytes of a line, and of a block of a text file.
        expansion: most times its size that a compressed file may unpack to (100 MB are always
            allowed).
        group: the group of the settings above (`pool`, `task`), for messages; empty where they
            cannot be set.

    Raises:
        InvalidInput: a setting has no such value.
    """

    csv: CsvDialect = "strict"
    lines: bool = False
    longest_mb: int = 256
    expansion: int = 200
    group: str = ""

    def __post_init__(self) -> None:
        if self.csv not in DIALECTS:
            raise InvalidInput(
                f"{self.group}.csv: unknown dialect {self.csv!r}; {near(str(self.csv), DIALECTS)}"
            )
        for name in ("longest_mb", "expansion"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidInput(
                    f"{self.group}.{name}: expected an integer of 1 or more, found {value!r}"
                )

    @property
    def longest(self) -> int:
        """Most bytes of a line."""
        return self.longest_mb * _MEGABYTE

    def advice(self, setting: str, otherwise: str) -> str:
        """Returns what to do: set `setting` where that is possible, or `otherwise`."""
        return f"{otherwise} or set {self.group}.{setting}" if self.group else otherwise


@dataclass
class RawFile:
    """The rows of one file.

    Attributes:
        format: `jsonl`, `csv`, ...
        rows: the rows in order; read once.
        columns: the names of the columns where the file states them before its rows; else None.
        counts: what was found while the rows were read, complete after the last one: of CSV the
            counts of `quotes.csv_rows`, of text files `lines` and `blocks`.
    """

    format: str
    rows: Iterator[RawRow]
    columns: tuple[str, ...] | None = None
    counts: Counter[str] = field(default_factory=Counter[str])

    @property
    def has_columns(self) -> bool:
        """Whether a row has columns that can be named; that of a text file is a text."""
        return self.format not in _TEXT_FILES

    @property
    def is_page(self) -> bool:
        """Whether it is a PDF or HTML file, of which some hold no text."""
        return self.format in TEXT_OF


def raw_rows(path: Path) -> Iterator[RawRow]:
    """Returns the rows of a file in order, all columns; see `open_rows`."""
    yield from open_rows(path, Reading()).rows


def open_rows(path: Path, reading: Reading, wanted: Collection[str] | None = None) -> RawFile:
    """Returns the rows of a file in order, each with its line number from 1.

    A row of JSON Lines is a line that is not blank; a CSV row has the number of its first line; a
    document of a text file is a block between blank lines or a line; a row of Parquet and Arrow
    counts as a line; Markdown, PDF and HTML files are one row.

    Args:
        path: the file.
        reading: how it is cut into rows.
        wanted: the columns that are read, where the file has them; None reads all. What the other
            columns hold has no effect.

    Raises:
        Missing: there is no such file.
        InvalidInput: the file as a whole cannot be read (other format, truncated, no permission, no
            regular file), a wanted column stands in it twice or cannot be read, a line is too long,
            or it unpacks to too much. Also raised while the rows are read.
    """
    check_file(path)
    format_, compression = _format(path)
    if format_ in ("parquet", "arrow"):
        table = open_table(path, wanted)
        return RawFile(format_, _table_rows(path, table), table.columns)
    if format_ in TEXT_OF:
        return RawFile(format_, _page_rows(path, format_, reading), ("text",))
    try:
        raw: Any = pa.input_stream(_source(path), compression=compression)
        limit = None
        if compression:
            limit = max(_FREE, reading.expansion * path.stat().st_size)
        stream = io.BufferedReader(_Unpacked(raw, limit), _MEGABYTE)
        start = stream.peek(2)[:2]
    except (OSError, pa.ArrowException, _TooLarge) as error:
        raise _broken(path, error, reading) from error
    if start in _UTF16:
        raise InvalidInput(f"{shown(path)}: expected UTF-8, found UTF-16; save it as UTF-8")
    if format_ in ("csv", "tsv"):
        return _opened_csv(path, stream, "," if format_ == "csv" else "\t", reading, wanted)
    counts = Counter[str]()
    lines = _lines(stream, reading.longest)
    if format_ in _TEXT_FILES:
        whole = format_ == "md"
        rows = _whole_text(lines, reading) if whole else _text_rows(lines, reading, counts)
        return RawFile(format_, _located(path, rows, stream, reading), ("text",), counts)
    rows = _json_rows(lines, wanted)
    return RawFile(format_, _located(path, rows, stream, reading), None, counts)


def check_file(path: Path) -> None:
    """Checks that a file exists and is a regular one.

    Raises:
        Missing: there is no such file.
        InvalidInput: it is a folder, a device or a FIFO, or its name cannot be looked up.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        folder = path.parent
        beside = [shown(item.name) for item in folder.iterdir()] if folder.is_dir() else []
        hint = near(path.name, beside) if beside else f"{shown(folder)} is empty or no folder"
        raise Missing(f"{shown(path)}: expected a file, found none; {hint}") from None
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"{shown(path)[:300]}: expected the path of a file, found one that cannot be looked up "
            f"({getattr(error, 'strerror', None) or error}); correct the path"
        ) from error
    if stat.S_ISDIR(mode):
        raise InvalidInput(
            f"{shown(path)}: expected a file, found a folder; name the files in it, as in "
            f"'{shown(path)}/*.jsonl'"
        )
    if not stat.S_ISREG(mode):
        found = next((name for test, name in _KINDS.items() if test(mode)), "something else")
        raise InvalidInput(
            f"{shown(path)}: expected a regular file, found {found}; write its content to a file"
        )


def shown(path: str | Path) -> str:
    r"""Returns a path as text that can be written: bytes that are no UTF-8 as `\xff`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _source(path: Path) -> Any:
    """Returns the path for pyarrow, which opens no name that is not UTF-8: an open file then."""
    name = os.fspath(path)
    try:
        name.encode()
    except UnicodeEncodeError:
        return path.open("rb")
    return name


def stem(path: str | Path) -> str:
    """Returns the file's name without the readable suffix: `news` for `pools/news.jsonl.gz`.

    Raises:
        InvalidInput: it has none.
    """
    name = Path(path).name
    return shown(name[: -len(_readable_suffix(Path(path)))])


def is_whole(path: str | Path) -> bool:
    """Returns whether the name is that of a file which is one document: Markdown, PDF, HTML."""
    return is_readable(path) and _readable_suffix(Path(path)).split(".")[1] in _WHOLE


def is_readable(path: str | Path) -> bool:
    """Returns whether the name ends in a readable suffix."""
    return str(path).lower().endswith(READABLE)


def file_digest(path: str | Path) -> str:
    """Returns the BLAKE2b hash of the bytes of a file, 24 hexadecimal digits.

    Raises:
        Missing: there is no such file.
        InvalidInput: it cannot be read.
    """
    path = Path(path)
    check_file(path)
    state = hashlib.blake2b(digest_size=12)
    try:
        with path.open("rb") as stream:
            while piece := stream.read(_MEGABYTE):
                state.update(piece)
    except OSError as error:
        raise _unreadable(path, error) from error
    return state.hexdigest()


def _readable_suffix(path: Path) -> str:
    name = path.name.lower()
    for suffix in sorted(READABLE, key=len, reverse=True):
        if name.endswith(suffix):
            return suffix
    raise InvalidInput(
        f"{shown(path)}: expected a file that ends in one of {', '.join(READABLE)}, found "
        f"{shown(path.suffix) or 'no suffix'!r}; convert or rename it"
    )


def _format(path: Path) -> tuple[str, str | None]:
    """Returns the format by the file's name (`jsonl`, `csv`, ...) and its compression.

    A compressed `.json` holds an object a line, as C4 has it. One that is not compressed is not
    read: beside other data it mostly describes them (`dataset_info.json`).
    """
    name = _readable_suffix(path).split(".")[1]
    return "jsonl" if name == "json" else name, _COMPRESSION.get(path.suffix.lower())


class _TooLarge(Exception):
    """A limit of `Reading` is exceeded; the message is what was found."""

    def __init__(self, found: str, setting: str, otherwise: str) -> None:
        super().__init__(found)
        self.setting, self.otherwise = setting, otherwise


class _Unpacked(io.RawIOBase):
    """The bytes of a file after unpacking, at most `limit` of them."""

    def __init__(self, stream: Any, limit: int | None) -> None:
        self.stream, self.limit, self.count = stream, limit, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = self.stream.readinto(buffer)
        self.count += size
        if self.limit is not None and self.count > self.limit:
            raise _TooLarge(
                f"one that unpacks to more than {self.limit / _MEGABYTE:,.0f} MB",
                "expansion=N",
                "unpack it",
            )
        return size

    def close(self) -> None:
        if not self.closed:
            self.stream.close()
        super().close()


def _located(
    path: Path, rows: Iterator[RawRow], stream: IO[Any], reading: Reading
) -> Iterator[RawRow]:
    """Yields the rows; errors of the stream name the file."""
    try:
        with stream:
            yield from rows
    except (OSError, pa.ArrowException, _TooLarge) as error:
        raise _broken(path, error, reading) from error


def _broken(path: Path, error: Exception, reading: Reading) -> InvalidInput:
    if isinstance(error, _TooLarge):
        todo = reading.advice(error.setting, error.otherwise)
        expected = f"{shown(path)}: expected a file of documents, found {error}"
        return InvalidInput(f"{expected}; {todo}")
    if isinstance(error, PermissionError):
        return _unreadable(path, error)
    reason, todo = _first_line(error), "copy or download it again"
    if "too much memory" in reason:
        reason = "zstd with a long window"
        todo = "compress it without --long, or unpack it with zstd -d --long=31"
    return InvalidInput(
        f"{shown(path)}: expected a whole {_readable_suffix(path)} file, found one that breaks off or "
        f"cannot be unpacked ({reason}); {todo}"
    )


def _lines(stream: IO[bytes], longest: int) -> Iterator[tuple[int, bytes]]:
    read = partial(stream.readline, longest + 1)
    for line, raw in enumerate(iter(read, b""), start=1):
        if len(raw) > longest:
            raise _too_long(line, longest)
        yield line, raw.removeprefix(_BYTE_ORDER_MARK) if line == 1 else raw


def _too_long(line: int, longest: int) -> _TooLarge:
    return _TooLarge(
        f"more than {longest // _MEGABYTE:,} MB without an end of the row at line {line}",
        "longest_mb=N",
        "cut its documents",
    )


def _json_rows(
    lines: Iterator[tuple[int, bytes]], wanted: Collection[str] | None
) -> Iterator[RawRow]:
    names = [json.dumps(name).encode() for name in wanted or ()]
    for line, raw in lines:
        if raw.isspace():
            continue
        try:
            # A name that stands twice would silently be the last one.
            twice = False
            for name in names:  # `any` over a generator takes longer
                twice = twice or raw.count(name) > 1
            value = json.loads(raw.decode(), object_pairs_hook=_unique if twice else None)
        except UnicodeDecodeError as error:
            yield line, f"bytes that are {NO_UTF8} at byte {error.start} of the line"
        except json.JSONDecodeError as error:
            yield line, f"broken JSON: {error.msg} at character {error.pos}"
        except (RecursionError, ValueError):
            yield line, "broken JSON: nested too deeply, or a number of thousands of digits"
        else:
            if twice and isinstance(value, _Twice) and value.names & set(wanted or ()):
                yield line, f"the name {min(value.names & set(wanted or ()))!r} stands twice"
            elif isinstance(value, dict):
                yield line, value
            else:
                yield line, f"expected a JSON object, found {type(value).__name__}"


class _Twice(dict[str, Any]):
    """An object of which some names stand twice."""

    names: set[str]


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    value = _Twice(pairs)
    if len(value) == len(pairs):
        return dict(pairs)
    value.names = {name for name, count in Counter(name for name, _ in pairs).items() if count > 1}
    return value


def _opened_csv(
    path: Path,
    stream: Any,
    delimiter: str,
    reading: Reading,
    wanted: Collection[str] | None,
) -> RawFile:
    counts = Counter[str]()
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")

    def lines() -> Iterator[str]:
        read = partial(text.readline, reading.longest + 1)
        for line, value in enumerate(iter(read, ""), start=1):
            if len(value) > reading.longest:
                raise _too_long(line, reading.longest)
            yield value

    found = csv_rows(lines(), delimiter, reading.csv, reading.longest, counts)
    try:
        first = next(found, None)
    except (OSError, pa.ArrowException, _TooLarge) as error:
        raise _broken(path, error, reading) from error
    header = first.cells if first else []
    if isinstance(header, str):
        raise InvalidInput(
            f"{shown(path)}: expected a CSV header line, found a broken one ({header}); repair it or "
            f"{reading.advice('csv=unquoted', 'write it again')}"
        )
    _check_unique(path, header, wanted)

    def rows() -> Iterator[RawRow]:
        for line, cells in found:
            if isinstance(cells, str):
                yield line, cells
            elif len(cells) == len(header):
                yield line, dict(zip(header, cells, strict=True))
            else:
                yield line, f"expected {len(header)} CSV cells as in the header, found {len(cells)}"

    columns = tuple(header) or None
    return RawFile("csv", _located(path, rows(), text, reading), columns, counts)


def _check_unique(path: Path, columns: Sequence[str], wanted: Collection[str] | None) -> None:
    for name, count in Counter(columns).items():
        if count > 1 and (wanted is None or name in wanted):
            places = [str(place) for place, other in enumerate(columns, start=1) if other == name]
            raise InvalidInput(
                f"{shown(path)}: expected one column {name!r}, found {count} (columns "
                f"{' and '.join(places)}); rename all but one"
            )


def _text_rows(
    lines: Iterator[tuple[int, bytes]], reading: Reading, counts: Counter[str]
) -> Iterator[RawRow]:
    start, block, size = 0, list[bytes](), 0
    for line, raw in chain(lines, [(0, b"")]):
        filled = bool(raw.strip())
        counts["lines"] += filled
        if filled and (not reading.lines or not block):
            start = start or line
            block.append(raw)
            size += len(raw)
            if size > reading.longest:
                raise _too_long(start, reading.longest)
            if not reading.lines:
                continue
        if block:
            counts["blocks"] += 1
            try:
                yield start, {"text": b"".join(block).decode().strip()}
            except UnicodeDecodeError as error:
                yield start, f"bytes that are {NO_UTF8} at byte {error.start} of the block"
            start, block, size = 0, [], 0


def _whole_text(lines: Iterator[tuple[int, bytes]], reading: Reading) -> Iterator[RawRow]:
    """Yields the text of a file as one document; nothing for a blank file."""
    text = bytearray()
    for line, raw in lines:
        text += raw
        if len(text) > reading.longest:
            raise _too_long(line, reading.longest)
    if text.strip():
        try:
            yield 1, {"text": text.decode().strip()}
        except UnicodeDecodeError as error:
            yield 1, f"bytes that are {NO_UTF8} at byte {error.start} of the file"


def _page_rows(path: Path, format_: str, reading: Reading) -> Iterator[RawRow]:
    """Yields the text of a PDF or HTML file as one row, or why it has none; none if it is empty."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(reading.longest + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    if not raw:
        return
    try:
        if len(raw) > reading.longest:
            todo = reading.advice("longest_mb=N", "part it")
            raise NoText(f"more than {reading.longest_mb:,} MB; {todo}")
        yield 1, {"text": TEXT_OF[format_](raw, reading.longest)}
    except NoText as reason:
        yield 1, str(reason)


def _arrow_batches(path: Path, included: Sequence[int] | None = None) -> Any:
    """Returns a reader of the record batches of an Arrow file or stream."""
    options = pa.ipc.IpcReadOptions(included_fields=None if included is None else list(included))
    with path.open("rb") as stream:
        is_file = stream.read(6) == b"ARROW1"
    opened = pa.ipc.open_file if is_file else pa.ipc.open_stream
    return opened(_source(path), options=options)


@dataclass(frozen=True)
class Table:
    """The columns of a Parquet or Arrow file that are read.

    Attributes:
        columns: the names of all its columns.
        batches: the wanted columns by name, some thousand rows at a time.
    """

    columns: tuple[str, ...]
    batches: Iterator[Mapping[str, Any]]


def open_table(path: Path, wanted: Collection[str] | None = None) -> Table:
    """Returns the wanted columns (None: all) of a Parquet or Arrow file; they are read by index.

    Raises:
        InvalidInput: it cannot be read, or a wanted column stands in it twice. Also raised while
            the batches are read.
    """
    check_file(path)
    format_, _ = _format(path)
    try:
        if format_ == "parquet":
            with pq.ParquetFile(_source(path), arrow_extensions_enabled=False) as file:
                schema = file.schema_arrow
        else:
            schema = _arrow_batches(path).schema
        names = tuple(schema.names)
    except _TABLE_ERRORS as error:
        raise _broken_table(path, format_, error) from error
    _check_unique(path, names, wanted)
    chosen = [place for place, name in enumerate(names) if wanted is None or name in wanted]
    read = _parquet_batches if format_ == "parquet" else _ipc_batches

    def batches() -> Iterator[Mapping[str, Any]]:
        try:
            for batch in read(path, schema, chosen):
                yield {
                    names[place]: column
                    for place, column in zip(chosen, batch.columns, strict=True)
                }
        except _TABLE_ERRORS as error:
            raise _broken_table(path, format_, error) from error

    return Table(names, batches())


def _table_rows(path: Path, table: Table) -> Iterator[RawRow]:
    line = 0
    for batch in table.batches:
        columns = {name: values_of(path, name, column) for name, column in batch.items()}
        # Without any wanted column there is no batch of known length, and no row to be read.
        for row in zip(*columns.values(), strict=True):
            line += 1
            yield line, dict(zip(columns, row, strict=True))


def _parquet_batches(path: Path, schema: Any, chosen: Sequence[int]) -> Iterator[Any]:
    ends = list(accumulate(_leaves(field_.type) for field_ in schema))
    leaves = [leaf for place in chosen for leaf in range(([0, *ends])[place], ends[place])]
    with pq.ParquetFile(_source(path), arrow_extensions_enabled=False) as file:
        # By number: names may stand twice, or contain dots as nested columns do.
        groups = range(file.metadata.num_row_groups)
        yield from file.reader.iter_batches(_ROWS, row_groups=groups, column_indices=leaves)


def _leaves(kind: Any) -> int:
    """Returns how many Parquet columns hold an Arrow column of this type."""
    if pa.types.is_dictionary(kind) or not kind.num_fields:
        return 1
    return sum(_leaves(kind.field(place).type) for place in range(kind.num_fields))


def _ipc_batches(path: Path, schema: Any, chosen: Sequence[int]) -> Iterator[Any]:
    reader = _arrow_batches(path, chosen)
    count = getattr(reader, "num_record_batches", None)
    for whole in reader if count is None else map(reader.get_batch, range(count)):
        for start in range(0, whole.num_rows, _ROWS):
            yield whole.slice(start, _ROWS)


def values_of(path: Path, name: str, column: Any) -> list[Any]:
    """Returns the values of a column; texts that are no UTF-8 hold lone surrogates, times are text.

    Raises:
        InvalidInput: the values cannot be read.
    """
    kind = column.type
    try:
        if isinstance(column, pa.ExtensionArray):
            column, kind = column.storage, column.storage.type
        if pa.types.is_dictionary(kind):
            column.validate(full=True)
            column, kind = column.cast(kind.value_type), kind.value_type
        binary = _BINARY.get(kind)
        if binary is None:
            column.validate(full=True)
            if pa.types.is_timestamp(kind):  # in UTC: no time zone is looked up
                column = column.view(pa.int64()).view(pa.timestamp(kind.unit))
            return (column.cast(pa.string()) if pa.types.is_temporal(kind) else column).to_pylist()
        # Decoded one by one, so that a value that is no UTF-8 affects no other row.
        raw = column.view(binary)
        raw.validate(full=True)
        return [
            value if value is None else value.decode("utf-8", "surrogateescape")
            for value in raw.to_pylist()
        ]
    except _TABLE_ERRORS as error:
        raise InvalidInput(
            f"{shown(path)}: expected values of the column {name!r} ({kind}) that can be read, found "
            f"others ({_first_line(error)}); write the column again, as text"
        ) from error


def _broken_table(path: Path, format_: str, error: BaseException) -> InvalidInput:
    if isinstance(error, PermissionError):
        return _unreadable(path, error)
    kind = {"parquet": "Parquet", "arrow": "Arrow"}[format_]
    return InvalidInput(
        f"{shown(path)}: expected a whole {kind} file, found something else ({_first_line(error)}); "
        "write or download it again"
    )


def _unreadable(path: Path, error: OSError) -> InvalidInput:
    return InvalidInput(
        f"{shown(path)}: expected a readable file, found: {error.strerror}; check its permissions"
    )


def _first_line(error: BaseException) -> str:
    """Returns the first line of a message, or the kind of the error where it has none."""
    return next(iter(str(error).splitlines()), "")[:200] or type(error).__name__
