"""Inputs that are not files of a readable format: tables in memory, standard input, saved data
sets, data sets of the hub. Each becomes files, under a name that is a hash of their content.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from shortlist.data.files import READABLE, Reading, file_digest, open_rows
from shortlist.data.sources import HubSource
from shortlist.errors import InvalidInput, Missing, ShortlistError, near

# A path or a pattern (str or Path), several (a list of Path, or Files), texts (a list of str), rows
# (a list of dictionaries), or a table: pyarrow, pandas, polars, `datasets.Dataset`, whatever
# exports Arrow streams.
Data: TypeAlias = Any

HUB = "hf:"
_STATE, _SPLITS = "state.json", "dataset_dict.json"  # of a folder that `save_to_disk` wrote
_MAGIC = {b"\x1f\x8b": ".jsonl.gz", b"\x28\xb5\x2f\xfd": ".jsonl.zst", b"PAR1": ".parquet"}


@dataclass(frozen=True)
class Files:
    """An input as files.

    Attributes:
        paths: files and patterns.
        table: the wanted columns, where the input was in memory.
    """

    paths: tuple[str, ...]
    table: pa.Table | None = None


def given(
    data: Data, folder: Path, name: str, columns: Sequence[str], optional: Sequence[str] = ()
) -> Files:
    """Returns an input as files; what is no file yet is written under `folder`.

    Args:
        data: see `Data`; a path may also be `hf:ORGANISATION/NAME` or a folder of `save_to_disk`.
        folder: where new files go, each in a folder named by its content.
        name: what the input is called in messages; the name of its file, hence the default domain.
        columns: the columns that are wanted of a table.
        optional: columns that are taken where the table has them.

    Raises:
        InvalidInput: the data are of another kind, or a table lacks a column.
        Missing: a data set is not there.
    """
    if isinstance(data, str | os.PathLike):
        data = Files((str(data),))
    if isinstance(data, Files):
        located = [_located(path) for path in data.paths]
        return Files(tuple(path for found in located for path in found))
    if isinstance(data, Iterable) and not hasattr(data, "__arrow_c_stream__"):
        data = data if hasattr(data, "with_format") else list(data)
    if isinstance(data, list) and data and all(isinstance(item, os.PathLike) for item in data):
        return given(Files(tuple(map(str, data))), folder, name, columns, optional)
    table = _table(data, name, columns, optional)
    return Files((str(_written(table, folder, name)),), table)


def column_of(data: Data, wanted: str, otherwise: str) -> str:
    """Returns `wanted`, or `otherwise` where the data lack the first column and have the second."""
    names = _names(data, wanted, otherwise)
    return otherwise if otherwise in names and wanted not in names else wanted


def stdin(stream: BinaryIO, folder: Path) -> Path:
    """Returns a file with what `stream` holds: JSON lines (plain, gzip, zstd), Parquet or text.

    The format is that of the first bytes; text that does not begin with `{` is a document for each
    block between blank lines, as in a text file.

    Raises:
        InvalidInput: there is nothing.
    """
    head = b""
    while not head.strip() and (more := stream.read(4096)):
        head = (head if head.strip() else b"") + more
    if not head.strip():
        raise InvalidInput(
            "-: expected documents on standard input, found none; pipe JSON lines into it"
        )
    suffix = next((end for start, end in _MAGIC.items() if head.startswith(start)), "")
    suffix = suffix or (".jsonl" if head.lstrip().startswith(b"{") else ".txt")

    def write(file: BinaryIO) -> None:
        file.write(head)
        while piece := stream.read(1 << 20):
            file.write(piece)

    return _kept(write, folder, f"stdin{suffix}")


def texts_of(table: pa.Table, column: str) -> Iterator[object]:
    """Yields the values of a column one by one."""
    for chunk in table[column].chunks:
        for start in range(0, len(chunk), 8192):
            yield from chunk.slice(start, 8192).to_pylist()


def _names(data: Data, *wanted: str) -> set[str]:
    """Returns the names of the columns; none where they cannot be read, which is said later.

    Of JSON Lines the rows are read until the first of the wanted columns is found.
    """
    if isinstance(data, list) and all(isinstance(row, dict) for row in data):
        return {name for row in data for name in row}
    if not isinstance(data, str | os.PathLike | Files):
        columns = getattr(data, "column_names", None)
        return set(getattr(data, "columns", ()) if columns is None else columns)
    paths = data.paths if isinstance(data, Files) else (str(data),)
    path = Path(paths[0]).expanduser()
    names = set[str]()
    if len(paths) == 1 and path.is_file():
        try:
            raw = open_rows(path, Reading(), wanted)
            if not raw.has_columns:  # whatever is set
                return names
            names.update(raw.columns or ())
            for _, row in raw.rows if raw.columns is None else ():
                names.update(() if isinstance(row, str) else row)
                if wanted[0] in names:
                    break
        except ShortlistError:
            return names
    return names


def _located(path: str) -> list[str]:
    """Returns the files of the hub that a path names; another path stays: the readers find it."""
    if path.startswith(HUB):
        return _from_hub(path)
    place = Path(path).expanduser()
    if (place / _SPLITS).is_file():
        splits = json.loads((place / _SPLITS).read_text(encoding="utf-8")).get("splits", [])
        raise InvalidInput(
            f"{path}: expected one data set, found the splits {', '.join(splits)}; name one of them: "
            f"{place / (splits[0] if splits else 'train')}"
        )
    if (place / _STATE).is_file():
        state = json.loads((place / _STATE).read_text(encoding="utf-8"))
        if state.get("_indices_data_files"):
            raise InvalidInput(
                f"{path}: expected rows, found an index into rows; save it again after "
                "dataset.flatten_indices()"
            )
    return [path]


def _from_hub(path: str) -> list[str]:
    """Returns the files of `hf:ORGANISATION/NAME[@REVISION][/PATTERN]`, out of the hub's cache.

    Without a pattern every readable file of the data set is read.
    """
    parts = path.removeprefix(HUB).removeprefix("//").removeprefix("datasets/").split("/")
    named, pattern = "/".join(parts[:2]), "/".join(parts[2:])
    dataset, _, revision = named.partition("@")
    if not dataset or not all(dataset.split("/")):
        raise InvalidInput(
            f"{path}: expected hf:ORGANISATION/NAME[@REVISION][/PATTERN], found no name of a data set"
        )
    patterns = [pattern] if pattern else [f"**/*{suffix}" for suffix in READABLE]
    spec = {"dataset": dataset, "files": {"pool": patterns}, "revision": revision or "main"}
    offline = os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE")
    files = HubSource(offline or None).text_files(path, None, spec).files["pool"]
    return [str(file) for file in files]


def _table(data: Data, name: str, columns: Sequence[str], optional: Sequence[str]) -> pa.Table:
    """Returns the wanted columns of what is in memory."""
    if hasattr(data, "with_format") and hasattr(data, "column_names"):  # datasets.Dataset
        if isinstance(data.column_names, dict):
            raise InvalidInput(
                f"{name}: expected one data set, found the splits {', '.join(data.column_names)}; "
                "take one of them"
            )
        missing_columns(name, columns, data.column_names)
        wanted = [*columns, *(column for column in optional if column in data.column_names)]
        data = data.select_columns(wanted).with_format("arrow")[:]
    elif isinstance(data, list):
        data = _rows(data, name, columns[0])
    elif not isinstance(data, pa.Table):
        if not hasattr(data, "__arrow_c_stream__"):
            raise InvalidInput(
                f"{name}: expected texts, rows, a table or a path, found {type(data).__name__}"
            )
        try:
            data = pa.table(data)
        except pa.ArrowInvalid:  # a single column: a series
            data = pa.table({columns[0]: pa.chunked_array(data)})
    missing_columns(name, columns, data.column_names)
    if len(data) == 0:
        raise InvalidInput(f"{name}: expected documents, found an empty table; give it rows")
    return data.select([*columns, *(c for c in optional if c in data.column_names)])


def _rows(rows: list[Any], name: str, column: str) -> pa.Table:
    if not rows:
        raise InvalidInput(f"{name}: expected documents, found an empty list; give it texts")
    if all(isinstance(row, dict) for row in rows):
        return pa.Table.from_pylist(rows)
    for place, row in enumerate(rows):
        if not isinstance(row, str):
            raise InvalidInput(
                f"{name}: expected a list of texts, found {type(row).__name__} at row {place}"
            )
    first = list(islice(rows, 100))
    if all(len(row) < 4096 and row.lower().endswith(READABLE) for row in first):
        raise InvalidInput(
            f"{name}: expected texts, found a list of file names ({first[0]}); a list of files is a "
            "list of pathlib.Path"
        )
    try:
        return pa.table({column: pa.array(rows, pa.large_string())})
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{name}: a text holds characters that are no UTF-8: {error}") from error


def missing_columns(name: str, wanted: Iterable[str], known: Iterable[str]) -> None:
    """Refuses a table without one of the wanted columns.

    Raises:
        InvalidInput: a column is missing.
    """
    known = list(known)
    for column in wanted:
        if column not in known:
            found = ", ".join(map(repr, known)) or "none"
            raise InvalidInput(
                f"{name}: expected the column {column!r}, found the columns: {found}; "
                f"{near(column, known)}"
            )


def _written(table: pa.Table, folder: Path, name: str) -> Path:
    def write(file: BinaryIO) -> None:
        pq.write_table(table.replace_schema_metadata(), file, compression="zstd")

    return _kept(write, folder, f"{name}.parquet")


def _kept(write: Any, folder: Path, name: str) -> Path:
    """Returns the file `name` in a folder named by its content, after `write` filled it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".") as temporary:
            path = Path(temporary) / name
            with path.open("wb") as file:
                write(file)
            place = folder / file_digest(path)
            place.mkdir(exist_ok=True)
            return path.replace(place / name)
    except OSError as error:
        raise Missing(
            f"{folder}: expected a folder that can be written to, found: {error.strerror}; set "
            "paths.cache=DIR"
        ) from error
