"""Streams of texts that need not fit into memory: their exact copies, and samples by hash of id."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shortlist.core import ID_CHARACTERS, Corpus, document_id
from shortlist.data.readers import Document
from shortlist.data.splits import check_size, draw
from shortlist.errors import InvalidInput

ID_BYTES = ID_CHARACTERS // 2
CHANGED = (
    "pool: expected files that do not change while they are read, found other documents at the second "
    "reading; repeat the command"
)
_RECORD = np.dtype([("id", f"S{ID_BYTES}"), ("row", "<i8")])
_PARTS = 256  # of the ids on disk, by their first byte
_HELD = 1 << 20  # ids in memory, 20 bytes each, before they go to disk


class Copies:
    """Which rows of a stream repeat an earlier one, exactly: no filter that may err.

    Ids are held in memory up to `held` of them, then in files by their first byte, one of which is
    sorted at a time: 20 bytes of disk a row (TMPDIR), and of memory 80 MB a billion rows.
    """

    def __init__(self, held: int = _HELD) -> None:
        self.rows, self._held = 0, held
        self._ids = bytearray()
        self._folder: TemporaryDirectory[str] | None = None

    def add(self, key: str) -> None:
        """Adds the id of the next row."""
        self.extend(bytes.fromhex(key))

    def extend(self, ids: bytes) -> None:
        """Adds the ids of the next rows, 12 bytes each."""
        self._ids += ids
        self.rows += len(ids) // ID_BYTES
        if len(self._ids) >= self._held * ID_BYTES:
            self._to_disk()

    def repeats(self) -> Iterator[NDArray[np.int64]]:
        """Yields the rows whose id an earlier row has, some at a time; ends the stream."""
        try:
            if self._folder is None:
                yield _repeats(self._records())
                return
            self._to_disk()
            for part in sorted(Path(self._folder.name).iterdir()):
                yield _repeats(np.fromfile(part, _RECORD))
        finally:
            if self._folder is not None:
                self._folder.cleanup()

    def _records(self) -> NDArray[np.void]:
        ids = np.frombuffer(bytes(self._ids), _RECORD["id"])
        records = np.empty(len(ids), _RECORD)
        records["id"], records["row"] = ids, np.arange(self.rows - len(ids), self.rows)
        return records

    def _to_disk(self) -> None:
        self._folder = self._folder or TemporaryDirectory(prefix="shortlist_ids_")
        records = self._records()
        parts = np.frombuffer(bytes(self._ids), np.uint8)[::ID_BYTES]
        order = np.argsort(parts, kind="stable")
        ends = np.searchsorted(parts[order], np.arange(1, _PARTS + 1))
        for part, rows in enumerate(np.split(order, ends[:-1])):
            if len(rows):
                with (Path(self._folder.name) / f"{part:03d}").open("ab") as file:
                    records[rows].tofile(file)
        self._ids.clear()


def _repeats(records: NDArray[np.void]) -> NDArray[np.int64]:
    order = np.argsort(records["id"], kind="stable")  # of equal ids the first row stays first
    ids = records["id"][order]
    return records["row"][order[1:][ids[1:] == ids[:-1]]]


@dataclass(frozen=True)
class Sample:
    """A sample of the distinct texts of a stream.

    Attributes:
        texts: the texts, in the order in which they were first read.
        copies: rows that repeat an earlier text.
        left_out: distinct texts outside the sample.
    """

    texts: list[str]
    copies: int
    left_out: int


def sample_texts(texts: Iterable[str], size: int | None, seed: int, held: int = _HELD) -> Sample:
    """Returns the distinct texts of a stream, or a sample of `size` of them without replacement.

    The sample is that of `splits.sample_rows`: the ids of smallest hash, whatever the order of the
    texts. No text outside the sample is kept: memory is that of the sample, and of `Copies`.

    Raises:
        InvalidInput: `size` is negative.
    """
    check_size(size)
    if size is None:
        rows, distinct = 0, dict[str, None]()
        for rows, text in enumerate(texts, start=1):  # noqa: B007, the last number is used
            distinct[text] = None
        return Sample(list(distinct), rows - len(distinct), 0)
    ids, sample = Copies(held), Smallest(size, seed)
    for text in texts:
        key = document_id(text)
        ids.add(key)
        sample.add(key, text)
    copies = sum(map(len, ids.repeats()))
    return Sample(sample.texts, copies, ids.rows - copies - len(sample.texts))


class Smallest:
    """Of the texts that are added, each once, those of smallest hash of id; no other is kept."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed = size, seed
        self._kept: dict[int, str] = {}  # by the number (hash, id), in the order of adding
        self._largest: list[int] = []  # the same numbers, negative, as a heap

    def add(self, key: str, text: str) -> None:
        """Adds a text under its id."""
        number = draw(key, self.seed) << 4 * ID_CHARACTERS | int(key, 16)
        full = len(self._kept) == self.size
        if number in self._kept or not self.size or (full and number > -self._largest[0]):
            return
        self._kept[number] = text
        heapq.heappush(self._largest, -number)
        if full:
            del self._kept[-heapq.heappop(self._largest)]

    @property
    def texts(self) -> list[str]:
        """The texts, in the order in which they were first added."""
        return list(self._kept.values())


class Distinct:
    """The distinct texts of a stream that is read twice: first their ids, then the texts.

    Memory is one bit a row, and that of `Copies`.

    Attributes:
        copies: rows that repeat an earlier text.
    """

    def __init__(self, texts: Iterable[str], held: int = _HELD) -> None:
        found, self.copies = Copies(held), 0
        for text in texts:
            found.add(document_id(text))
        self._repeats = np.zeros(found.rows // 8 + 1, np.uint8)
        for rows in found.repeats():
            self.copies += len(rows)
            np.bitwise_or.at(self._repeats, rows >> 3, (1 << (rows & 7)).astype(np.uint8))

    def of(self, texts: Iterable[str]) -> Iterator[str]:
        """Yields each distinct text of the same stream once, where it first occurs."""
        for row, text in enumerate(texts):
            if not self._repeats[row >> 3] >> (row & 7) & 1:
                yield text


def batches(documents: Iterable[Document], rows: int, ids: Path | None = None) -> Iterator[Corpus]:
    """Yields the documents some at a time, with id, text and domain.

    Equal texts have equal ids, unlike in a corpus that holds all of its rows.

    Args:
        documents: the documents.
        rows: how many at a time.
        ids: file of their ids, `ID_BYTES` each, where they have been computed before.

    Raises:
        InvalidInput: there are more documents than ids.
    """
    stream = iter(documents)
    with nullcontext() if ids is None else ids.open("rb") as known:
        while batch := list(islice(stream, rows)):
            if known is None:
                keys = [document_id(row.text) for row in batch]
            else:
                keys = known.read(ID_BYTES * len(batch)).hex(" ", ID_BYTES).split()
                if len(keys) != len(batch):
                    raise InvalidInput(CHANGED)
            texts, domains = [row.text for row in batch], [row.domain for row in batch]
            yield Corpus(pa.table({"id": keys, "text": texts, "domain": domains}))
