"""Rows computed shard by shard, each kept as soon as it is whole: a kill costs one shard."""

from __future__ import annotations

import json
import logging
import shutil
from abc import abstractmethod
from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from shortlist import progress
from shortlist.core import digest
from shortlist.featurizers.base import Featurizer
from shortlist.store.atomic import write_text
from shortlist.store.cache import unfinished

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.core import Corpus
    from shortlist.progress import Report
    from shortlist.runtime import Runtime

log = logging.getLogger(__name__)

VALUES = "values.npy"


class Reader(Protocol):
    """What turns documents into rows: a model that is open, and all it needs."""

    @property
    def columns(self) -> int:
        """Numbers a row."""
        ...

    def rows(self, documents: Corpus, report: Report) -> tuple[NDArray[np.float32], dict[str, int]]:
        """Returns (n, columns) rows in the order of the documents, and what is to be counted."""
        ...


class Sharded(Featurizer):
    """A featurizer that goes through a corpus in shards of consecutive documents.

    A shard is computed by itself whether or not there was a kill before it, so the rows are bitwise
    those of an undisturbed run. In a pool, whose order is that of hashes, every shard is a uniform
    sample: documents a second are the same in all of them, and the time left can be believed.
    """

    shard = 4096
    doing = "embeddings"

    @abstractmethod
    def reader(self, runtime: Runtime) -> Reader:
        """Returns what reads all shards."""

    def compute(
        self, corpus: Corpus, directory: Path, runtime: Runtime
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Returns (n, columns) float32 and the sums of what the shards counted.

        Rows lie in a folder beside `directory` until all are there; see `store.cache.unfinished`.
        """
        reader = self.reader(runtime)
        folder = unfinished(directory)
        values = _opened(folder, len(corpus), reader.columns)
        starts = range(0, len(corpus), self.shard)
        shards = [np.arange(at, min(at + self.shard, len(corpus))) for at in starts]
        marks = [_Mark(folder, rows, corpus) for rows in shards]
        left = [number for number, mark in enumerate(marks) if not mark.stands()]
        to_do = sum(len(shards[number]) for number in left)
        if to_do < len(corpus):
            log.info("%s: going on, %s documents are done", self.doing, f"{len(corpus) - to_do:,}")
        with progress.bar(self.doing, to_do, "documents", show=runtime.progress) as report:
            for number in left:
                found, counts = reader.rows(corpus.take(shards[number]), report)
                values[shards[number][0] : shards[number][-1] + 1] = found
                values.flush()
                marks[number].set(counts)
        totals: Counter[str] = Counter()
        for mark in marks:
            totals.update(mark.counts())
        (folder / VALUES).replace(directory / VALUES)
        shutil.rmtree(folder)
        return values, dict(totals)


class _Mark:
    """The file that says: these documents' rows are on disk."""

    def __init__(self, folder: Path, rows: NDArray[np.int64], corpus: Corpus) -> None:
        self.path = folder / f"{rows[0]:09d}.json"
        self.documents = digest(corpus.ids[rows[0] : rows[-1] + 1])

    def stands(self) -> bool:
        return (
            self.path.exists()
            and json.loads(self.path.read_text(encoding="utf-8"))["documents"] == self.documents
        )

    def set(self, counts: dict[str, int]) -> None:
        write_text(self.path, json.dumps({"documents": self.documents, "counts": counts}))

    def counts(self) -> dict[str, int]:
        return json.loads(self.path.read_text(encoding="utf-8"))["counts"]


def _opened(folder: Path, rows: int, columns: int) -> np.memmap[Any, Any]:
    """Returns the rows so far; marks without their rows, or rows of another shape, are removed."""
    path = folder / VALUES
    try:
        values: Any = np.load(path, mmap_mode="r+", allow_pickle=False)
        if values.shape == (rows, columns) and values.dtype == np.float32:
            return values
    except (OSError, ValueError):  # absent, or a kill came while it was made
        pass
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(rows, columns))
