"""Toy files for the tests of data."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest


def write_rows(path: Path, rows: Sequence[dict[str, object]]) -> Path:
    """Returns the path of a file of any readable format that holds these rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
        return path
    if path.name.endswith(".arrow"):
        table = pa.Table.from_pylist(list(rows))
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as file:
            file.write_table(table)
        return path
    if ".csv" in path.name or ".tsv" in path.name:
        out = io.StringIO()
        writer = csv.DictWriter(out, list(rows[0]), delimiter="," if ".csv" in path.name else "\t")
        writer.writeheader()
        writer.writerows(rows)
        raw = out.getvalue().encode()
    elif ".txt" in path.name or ".md" in path.name:
        raw = "\n\n".join(str(row["text"]) for row in rows).encode()
    else:
        raw = "".join(json.dumps(row) + "\n" for row in rows).encode()
    if path.name.endswith(".gz"):
        raw = gzip.compress(raw)
    if path.name.endswith(".zst"):
        with pa.output_stream(str(path), compression="zstd") as stream:
            stream.write(raw)
        return path
    path.write_bytes(raw)
    return path


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, Sequence[dict[str, object]]], Path]:
    """Returns a function that writes rows to a file under the test's folder."""
    return lambda name, rows: write_rows(tmp_path / name, rows)
