"""Rows of files in JSON Lines, CSV, Parquet and plain text, with their line numbers."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import IO, Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from shortlist.errors import InvalidInput, Missing, near

READABLE = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet", ".csv", ".csv.gz", ".txt")

# Line number from 1, and the columns of the row or the reason why it cannot be read.
RawRow: TypeAlias = tuple[int, Mapping[str, object] | str]

_COMPRESSION = {".gz": "gzip", ".zst": "zstd"}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def raw_rows(path: Path) -> Iterator[RawRow]:
    """Returns the rows of a file in order, each with its line number from 1.

    A row of JSON Lines is a line that is not blank; a CSV row has the number of its first line; a
    document of a text file is a block between blank lines; a row of Parquet counts as a line.

    Raises:
        Missing: there is no such file.
        InvalidInput: the file as a whole cannot be read (other format, truncated, no permission).
    """
    if not path.exists():
        folder = path.parent
        beside = [item.name for item in folder.iterdir()] if folder.is_dir() else []
        hint = near(path.name, beside) if beside else f"{folder} is empty or no folder"
        raise Missing(f"{path}: expected a file, found none; {hint}")
    if path.is_dir():
        raise InvalidInput(
            f"{path}: expected a file, found a folder; name the files in it, as in '{path}/*.jsonl'"
        )
    suffix = _readable_suffix(path)
    if suffix == ".parquet":
        yield from _parquet_rows(path)
        return
    rows = {"jsonl": _json_rows, "csv": _csv_rows, "txt": _text_rows}[suffix.split(".")[1]]
    try:
        compression = _COMPRESSION.get(path.suffix.lower())
        raw: Any = pa.input_stream(str(path), compression=compression)
        with io.BufferedReader(raw) as stream:
            yield from rows(path, stream)
    except (OSError, pa.ArrowInvalid) as error:
        raise InvalidInput(
            f"{path}: expected a whole {suffix} file, found one that breaks off or cannot be "
            f"unpacked ({str(error).splitlines()[0]}); copy or download it again"
        ) from error


def stem(path: str | Path) -> str:
    """Returns the file's name without the readable suffix: `news` for `pools/news.jsonl.gz`."""
    path = Path(path)
    return path.name[: -len(_readable_suffix(path))]


def file_digest(path: str | Path) -> str:
    """Returns the BLAKE2b hash of the bytes of a file, 24 hexadecimal digits.

    Raises:
        Missing: there is no such file.
        InvalidInput: it cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        next(iter(raw_rows(path)))  # raises the error that describes the path
    state = hashlib.blake2b(digest_size=12)
    try:
        with path.open("rb") as stream:
            while piece := stream.read(1 << 20):
                state.update(piece)
    except OSError as error:
        raise InvalidInput(
            f"{path}: expected a readable file, found: {error.strerror}; check its permissions"
        ) from error
    return state.hexdigest()


def _readable_suffix(path: Path) -> str:
    name = path.name.lower()
    for suffix in sorted(READABLE, key=len, reverse=True):
        if name.endswith(suffix):
            return suffix
    raise InvalidInput(
        f"{path}: expected a file that ends in one of {', '.join(READABLE)}, found "
        f"{path.suffix or 'no suffix'!r}; convert or rename it"
    )


def _lines(stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    for line, raw in enumerate(stream, start=1):
        yield line, raw.removeprefix(_BYTE_ORDER_MARK) if line == 1 else raw


def _json_rows(path: Path, stream: IO[bytes]) -> Iterator[RawRow]:
    for line, raw in _lines(stream):
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
            is_row = isinstance(value, dict)
            yield line, value if is_row else f"expected a JSON object, found {type(value).__name__}"


def _csv_rows(path: Path, stream: IO[bytes]) -> Iterator[RawRow]:
    # Documents exceed the default limit of 131,072 characters a field, a setting of the process.
    csv.field_size_limit(2**31 - 1)
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    reader = csv.reader(text, strict=True)
    try:
        header = next(reader, None)
    except csv.Error as error:
        raise InvalidInput(
            f"{path}: expected a CSV header line, found a broken one ({error}); repair it"
        ) from error
    while header is not None:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield line, f"broken CSV: {error}"
            continue
        if cells is None:
            return
        if cells and len(cells) == len(header):
            yield line, dict(zip(header, cells, strict=True))
        elif cells:
            yield line, f"expected {len(header)} CSV cells as in the header, found {len(cells)}"


def _text_rows(path: Path, stream: IO[bytes]) -> Iterator[RawRow]:
    start, block = 0, list[bytes]()
    for line, raw in chain(_lines(stream), [(0, b"")]):
        if raw.strip():
            start = start or line
            block.append(raw)
        elif block:
            try:
                yield start, {"text": b"".join(block).decode().strip()}
            except UnicodeDecodeError as error:
                yield start, f"bytes that are no UTF-8 at byte {error.start} of the block"
            start, block = 0, []


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
            f"({str(error).splitlines()[0]}); write or download it again"
        ) from error


def _values(column: pa.Array) -> list[object]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return column.to_pylist()
    # Decoded one by one, so that a value that is no UTF-8 affects no other row.
    raw = column.cast(pa.large_binary()).to_pylist()
    return [value if value is None else value.decode("utf-8", "surrogateescape") for value in raw]
