"""Scores of files of any size by a scorer, a block of documents at a time."""

from __future__ import annotations

import itertools
import json
from contextlib import nullcontext
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from shortlist.core import document_id
from shortlist.store.atomic import replacing

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from shortlist.data.readers import Document
    from shortlist.distil.base import Scorer
    from shortlist.progress import Report

BLOCK = 1024  # documents that are held at once
SCHEMA = pa.schema([("id", pa.string()), ("score", pa.float64()), ("percentile", pa.float64())])


@dataclass(frozen=True)
class JsonLines:
    """Writes blocks as JSON lines.

    Attributes:
        file: where to.
    """

    file: IO[bytes]

    def write_batch(self, block: pa.RecordBatch) -> None:
        """Writes one line a row."""
        self.file.writelines(json.dumps(row).encode() + b"\n" for row in block.to_pylist())


WRITERS: dict[str, Any] = {
    ".parquet": lambda file: pq.ParquetWriter(file, SCHEMA, compression="zstd"),
    ".csv": lambda file: pyarrow.csv.CSVWriter(file, SCHEMA),
    ".jsonl": lambda file: nullcontext(JsonLines(file)),
}


def score_documents(
    scorer: Scorer, documents: Iterable[Document], out: Path, report: Report
) -> int:
    """Returns the number of documents, after writing id, score and percentile of each in their
    order; the file appears when it is whole.

    Memory is that of the scorer and of `BLOCK` documents. Ids are those of `document_id`, so equal
    texts have one; the percentile is null where the scorer file does not hold its distribution.

    Args:
        scorer: an open scorer.
        documents: the documents, read once.
        out: the file; its ending is a key of `WRITERS`.
        report: called with the number of documents just scored.
    """
    count, rest = 0, iter(documents)
    with (
        replacing(out) as temporary,
        temporary.open("wb") as file,
        WRITERS[out.suffix](file) as writer,
    ):
        while texts := [one.text for one in itertools.islice(rest, BLOCK)]:
            scores = scorer.score(texts)
            shares = scorer.description.percentiles(scores)
            columns = [
                pa.array([document_id(text) for text in texts]),
                pa.array(scores),
                pa.nulls(len(texts), pa.float64()) if shares is None else pa.array(shares),
            ]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=SCHEMA))
            count += len(texts)
            report(len(texts))
    return count
