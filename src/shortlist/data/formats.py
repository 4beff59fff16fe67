"""Raw rows of the readable file formats with their line numbers; only syntax is judged."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeAlias, cast

import pyarrow as pa
import pyarrow.parquet as pq

from shortlist.errors import InvalidInput, Missing, near

if TYPE_CHECKING:
    import _csv

READABLE = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet", ".csv", ".csv.gz", ".txt")

# A row is its columns, or the reason why it has none.
RawRow: TypeAlias = tuple[int, Mapping[str, object] | str]

_BROKEN_STREAM = (EOFError, OSError, zlib.error, pa.ArrowInvalid)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def readable_suffix(path: Path) -> str:
    """Returns the suffix of `READABLE` that `path` ends in.

    Raises:
        InvalidInput: it ends in none of them.
    """
    name = path.name.lower()
    for suffix in sorted(READABLE, key=len, reverse=True):
        if name.endswith(suffix):
            return suffix
    raise InvalidInput(
        f"{path}: expected a file that ends in one of {', '.join(READABLE)}, found "
        f"{path.suffix or 'no suffix'!r}; convert or rename it"
    )


def raw_rows(path: Path) -> Iterator[RawRow]:
    """Returns the rows of a file in order, each with its line number from 1.

    A JSON Lines row is one line, blank lines are none; a CSV row starts at the line it is named
    after; a text file holds one document per block between blank lines; a Parquet row counts as a
    line.

    Raises:
        Missing: there is no such file.
        InvalidInput: the file as a whole cannot be read (not that format, truncated, no
        permission).
    """
    if not path.exists():
        folder = path.parent
        beside = [item.name for item in folder.iterdir()] if folder.is_dir() else []
        there = near(path.name, beside) if beside else f"{folder} is empty or no folder"
        raise Missing(f"{path}: expected a file, found none; {there}")
    if path.is_dir():
        raise InvalidInput(
            f"{path}: expected a file, found a folder; name the files in it, as in '{path}/*.jsonl'"
        )
    suffix = readable_suffix(path)
    if suffix == ".parquet":
        yield from _parquet_rows(path)
        return
    try:
        with _opened(path, suffix) as stream:
            match suffix.split(".")[1]:
                case "jsonl":
                    yield from _json_rows(stream)
                case "csv":
                    yield from _csv_rows(path, stream)
                case _:
                    yield from _text_rows(stream)
    except _BROKEN_STREAM as error:
        raise InvalidInput(
            f"{path}: expected a whole {suffix} file, found one that breaks off or cannot be "
            "unpacked "
            f"({str(error).splitlines()[0]}); copy or download it again"
        ) from error


def _opened(path: Path, suffix: str) -> IO[bytes]:
    if suffix.endswith(".gz"):
        return cast("IO[bytes]", gzip.open(path, "rb"))
    if suffix.endswith(".zst"):
        return cast("IO[bytes]", io.BufferedReader(pa.input_stream(str(path), compression="zstd")))
    return path.open("rb")


def _json_rows(stream: IO[bytes]) -> Iterator[RawRow]:
    for line, raw in enumerate(stream, start=1):
        raw = raw.removeprefix(_BYTE_ORDER_MARK) if line == 1 else raw
        if not raw.strip():
            continue
        try:
            value = json.loads(raw.decode())
        except UnicodeDecodeError as error:
            yield line, f"bytes that are no UTF-8 at byte {error.start} of the line"
        except json.JSONDecodeError as error:
            yield line, f"broken JSON: {error.msg} at character {error.pos}"
        except (RecursionError, ValueError):
            yield line, "broken JSON: nested too deeply, or a number of thousands of digits"
        else:
            yield (
                line,
                value
                if isinstance(value, dict)
                else f"expected a JSON object, found {type(value).__name__}",
            )


def _csv_rows(path: Path, stream: IO[bytes]) -> Iterator[RawRow]:
    # The default limit of 131,072 characters a field is a setting of the whole process; documents
    # are longer.
    csv.field_size_limit(2**31 - 1)
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    try:
        yield from _csv_cells(path, csv.reader(text, strict=True))
    finally:
        text.detach()  # the stream is closed by whoever opened it


def _csv_cells(path: Path, reader: _csv.Reader) -> Iterator[RawRow]:
    try:
        header = next(reader, None)
    except csv.Error as error:
        raise InvalidInput(
            f"{path}: expected a CSV header line, found a broken one ({error}); repair it"
        ) from error
    if header is None:
        return
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield line, f"broken CSV: {error}"
            continue
        if cells is None:
            return
        if not cells:
            continue
        if len(cells) != len(header):
            yield line, f"expected {len(header)} CSV cells as in the header, found {len(cells)}"
            continue
        yield line, dict(zip(header, cells, strict=True))


def _text_rows(stream: IO[bytes]) -> Iterator[RawRow]:
    start, block = 0, list[bytes]()
    for line, raw in enumerate(stream, start=1):
        raw = raw.removeprefix(_BYTE_ORDER_MARK) if line == 1 else raw
        if raw.strip():
            start = start or line
            block.append(raw)
        elif block:
            yield start, _decoded(b"".join(block))
            start, block = 0, []
    if block:
        yield start, _decoded(b"".join(block))


def _decoded(raw: bytes) -> Mapping[str, object] | str:
    try:
        return {"text": raw.decode().strip()}
    except UnicodeDecodeError as error:
        return f"bytes that are no UTF-8 at byte {error.start} of the block"


def _parquet_rows(path: Path) -> Iterator[RawRow]:
    line = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=8192):
                columns = {name: _values(batch[name]) for name in batch.schema.names}
                for row in range(batch.num_rows):
                    line += 1
                    yield line, {name: values[row] for name, values in columns.items()}
    except (OSError, pa.ArrowException) as error:
        raise InvalidInput(
            f"{path}: expected a whole Parquet file, found something else "
            f"({str(error).splitlines()[0]}); "
            "write or download it again"
        ) from error


def _values(column: pa.Array) -> list[object]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return column.to_pylist()
    # Through bytes: one value that is no UTF-8 must not take the other rows with it.
    raw = column.cast(pa.large_binary()).to_pylist()
    return [value if value is None else value.decode("utf-8", "surrogateescape") for value in raw]
