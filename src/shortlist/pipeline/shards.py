"""The passes over one file of a streamed pool; each writes an artifact of that file.

A pass is sent to a process of a backend: its fields are settings, paths and keys. The vectors of a
file are computed a batch at a time, and not stored.
"""

from __future__ import annotations

import copy
import gc
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from safetensors.torch import load_file

from shortlist.core import Budget, Corpus, Features, digest, document_id
from shortlist.data import decontamination
from shortlist.data.files import Reading
from shortlist.data.finding import DataFile
from shortlist.data.readers import Columns, DocumentStream, render
from shortlist.data.streams import CHANGED, Smallest, batches
from shortlist.errors import InvalidInput
from shortlist.featurizers.base import Featurizer, check_computed
from shortlist.pipeline.data import CORPUS, QUARANTINE
from shortlist.pipeline.scoring import SCORES
from shortlist.runtime import Runtime
from shortlist.selectors.bag_of_words import column_totals
from shortlist.selectors.base import BATCH_ROWS, ScoredPool, Selector, check_scores
from shortlist.stats.sampling import order, seeded
from shortlist.store import formats
from shortlist.store.atomic import write_text
from shortlist.store.cache import Artifact, Store

IDS, TOTALS, BEST = "ids.bin", "totals.npy", "best.arrow"
SAMPLE_SEED = 0


@dataclass(frozen=True)
class Shard:
    """A file of the pool.

    Attributes:
        file: the file.
        digest: the hash of its bytes.
    """

    file: DataFile
    digest: str

    @property
    def inputs(self) -> dict[str, str]:
        """What decides its documents beside the settings."""
        keys = [f"{name}={value}" for name, value in self.file.keys.items()]
        return {"bytes": self.digest, "domain": digest([self.file.name, *keys])}


@dataclass(frozen=True)
class ShardReader:
    """Reads shards, computes their vectors and stores artifacts: what all passes share.

    Attributes:
        store: where artifacts live.
        runtime: the machine.
        columns: names of the pool's columns.
        reading: how its files are read.
        featurizer: turns documents into vectors.
        vectors: what decides the vectors: the featurizer's settings, version and identity.
    """

    store: Store
    runtime: Runtime
    columns: Columns
    reading: Reading
    featurizer: Featurizer
    vectors: Mapping[str, Any]

    def stage(
        self,
        name: str,
        settings: Mapping[str, Any],
        inputs: Mapping[str, str],
        compute: Callable[[Path], Mapping[str, Any]],
    ) -> Artifact:
        """Returns the artifact of a pass over a shard, computed if it does not exist."""
        read = {"columns": asdict(self.columns), "reading": asdict(self.reading)}
        gc.freeze()  # else every collection looks through all imported modules, for each batch
        try:
            return self.store.stage(name, 1, {**read, **settings}, inputs, compute)
        finally:
            gc.unfreeze()

    def documents(self, shard: Shard) -> DocumentStream:
        """Returns the documents of a shard."""
        return DocumentStream([shard.file], self.columns, reading=self.reading, may_be_empty=True)

    def vectorizer(self) -> Callable[[Corpus], tuple[Any, Mapping[str, int]]]:
        """Returns a function from documents to their vectors and what was cut or empty.

        Raises:
            InvalidInput: a vector is not finite.
        """
        compute = self.featurizer.vectorizer(self.runtime)

        def checked(documents: Corpus) -> tuple[Any, Mapping[str, int]]:
            values, counts = compute(documents)
            check_computed(values, documents, f"{type(self.featurizer).__name__} of the pool")
            return values, counts

        return checked


@dataclass(frozen=True)
class FirstPass:
    """What `fit` reads of a shard: `sums` or a `sample`, and the ids of its rows."""

    reader: ShardReader
    reads: str
    sample: int

    def __call__(self, shard: Shard) -> Artifact:
        """Returns the artifact: `ids.bin`, and `totals.npy` or `corpus.arrow`."""
        settings = {"reads": self.reads}
        settings |= self.reader.vectors if self.reads == "sums" else {"sample": self.sample}

        def compute(directory: Path) -> dict[str, Any]:
            stream = self.reader.documents(shard)
            vectorize = self.reader.vectorizer() if self.reads == "sums" else None
            smallest, totals = Smallest(self.sample, SAMPLE_SEED), None
            with (directory / IDS).open("wb") as file:
                for batch in batches(stream, BATCH_ROWS):
                    file.write(bytes.fromhex("".join(batch.ids)))
                    if vectorize is None:
                        for key, text in zip(batch.ids, batch.texts, strict=True):
                            smallest.add(key, text)
                    else:
                        sums = _sums(vectorize(batch)[0])
                        totals = sums if totals is None else totals + sums
            if totals is not None:
                np.save(directory / TOTALS, totals)
            elif vectorize is None:
                formats.save_corpus(directory / CORPUS, Corpus.build(smallest.texts))
            return _read_rows(stream, directory)

        return self.reader.stage("stream_first", settings, shard.inputs, compute)


@dataclass(frozen=True)
class CopiesPass:
    """The sums of the rows of a shard that repeat an earlier row of the pool.

    Attributes:
        reader: reads the shard.
        copies: file of the numbers of such rows in the pool, ascending.
        key: the key of that file.
        ends: by file of the pool, the number of its first row and that of the next file.
    """

    reader: ShardReader
    copies: Path
    key: str
    ends: Mapping[Path, tuple[int, int]]

    def __call__(self, shard: Shard) -> Artifact:
        """Returns the artifact: `totals.npy`."""

        def compute(directory: Path) -> dict[str, Any]:
            first, end = self.ends[shard.file.path]
            repeats = np.load(self.copies, mmap_mode="r")
            lo, hi = np.searchsorted(repeats, [first, end])
            rows, vectorize, start = repeats[lo:hi] - first, self.reader.vectorizer(), 0
            totals: Any = 0.0
            for batch in batches(self.reader.documents(shard), BATCH_ROWS):
                lo, hi = np.searchsorted(rows, [start, start + len(batch)])
                if hi > lo:
                    totals = totals + _sums(vectorize(batch.take(rows[lo:hi] - start))[0])
                start += len(batch)
            np.save(directory / TOTALS, totals)
            return {"rows": len(rows)}

        inputs = {**shard.inputs, "copies": self.key}
        return self.reader.stage("stream_repeats", self.reader.vectors, inputs, compute)


@dataclass(frozen=True)
class SecondPass:
    """The documents of a shard that the method ranks first, without those that repeat protected
    texts.

    Attributes:
        reader: reads the shard.
        selector: the method, not fitted.
        fitted: file of what it learned.
        key: the key of the fit.
        budget: how many documents are selected of the pool.
        seed: seed of a method that draws; None: nothing is drawn.
        protected: key and file of protected texts, by name.
        report_leaks: whether documents that repeat them stay.
        ids: file of the ids of a first pass, by file of the pool; hashing is a fifth of a pass.
    """

    reader: ShardReader
    selector: Selector
    fitted: Path
    key: str
    budget: Budget
    seed: int | None
    protected: Mapping[str, tuple[str, Path]]
    report_leaks: bool
    ids: Mapping[Path, Path]

    def __call__(self, shard: Shard) -> Artifact:
        """Returns the artifact: `best.arrow` and `scores.npy`, best first."""
        settings = {**self.reader.vectors, "budget": self.budget.amount, "seed": self.seed}
        settings["keep_leaks"] = self.report_leaks
        protected = {name: key for name, (key, _) in self.protected.items()}
        inputs = {**shard.inputs, **protected, "fit": self.key}
        return self.reader.stage(
            "stream_second", settings, inputs, lambda directory: self._compute(shard, directory)
        )

    def _compute(self, shard: Shard, directory: Path) -> dict[str, Any]:
        selector, runtime = copy.deepcopy(self.selector), self.reader.runtime
        selector.restore(load_file(self.fitted))
        stream, vectorize = self.reader.documents(shard), self.reader.vectorizer()
        best, counts = Best(self.budget.amount), Counter[str]()
        leaked: dict[str, float] = {}
        protected = [formats.load_corpus(path) for _, path in self.protected.values()]
        for batch in batches(stream, BATCH_ROWS, self.ids.get(shard.file.path)):
            values, cut = vectorize(batch)
            counts.update(cut)
            scores = selector.score_all(Features(_filled(values), "", ""), runtime)[: len(batch)]
            check_scores(scores, type(selector).__name__)
            choice = selector.select(
                ScoredPool(scores, batch.id_bits(), documents=batch),
                replace(self.budget, amount=min(self.budget.amount, len(batch))),
                seeded(self.seed or 0, "selection"),
            )
            near = choice.scores >= best.least
            found, ranked = batch.take(choice.rows[near]), choice.scores[near]
            leaks = {
                leak.id for texts in protected for leak in decontamination.find_leaks(found, texts)
            }
            pairs = zip(found.ids, ranked.tolist(), strict=True)
            leaked |= {key: score for key, score in pairs if key in leaks}
            if leaks and not self.report_leaks:
                clean = np.flatnonzero([key not in leaks for key in found.ids])
                found, ranked = found.take(clean), ranked[clean]
            best.add(found, ranked)
        documents, ranked = best.ranked()
        if documents.ids != [document_id(text) for text in documents.texts]:
            raise InvalidInput(CHANGED)
        formats.save_corpus(directory / BEST, documents)
        np.save(directory / SCORES, ranked)
        return {
            **_read_rows(stream, directory),
            "vectors": {name: count for name, count in counts.items() if count},
            "leaked": {key: score for key, score in leaked.items() if score >= best.least},
        }


class Best:
    """The documents of largest score among those that are added, each once.

    Equal scores are ranked by id; of copies the one that was added first stays, or with `by_domain`
    the one of the first domain.
    """

    def __init__(self, size: int, by_domain: bool = False) -> None:
        self.size, self.by_domain = size, by_domain
        self.least = -np.inf  # documents of smaller score are not among them
        self._parts: list[tuple[pa.Table, NDArray[np.float64]]] = []
        self._rows = 0

    def add(self, documents: Corpus, scores: NDArray[np.float64]) -> None:
        """Adds documents with their scores, (n,)."""
        self._parts.append((documents.table, scores))
        self._rows += len(scores)
        if self._rows > 2 * self.size + BATCH_ROWS:
            self._keep_best()

    def ranked(self) -> tuple[Corpus, NDArray[np.float64]]:
        """Returns the documents, best first, and their scores."""
        self._keep_best()
        if not self._parts:
            return Corpus.build([]), np.empty(0)
        ((table, scores),) = self._parts
        return Corpus(table), scores

    def _keep_best(self) -> None:
        if not self._parts:
            return
        table = pa.concat_tables([part for part, _ in self._parts]).combine_chunks()
        scores = np.concatenate([part for _, part in self._parts])
        bits = Corpus(table).id_bits()
        rows = order(scores, bits)
        if self.by_domain:
            rows = np.lexsort((np.array(table["domain"].to_pylist(), dtype=object), bits, -scores))
        ids = np.array(table["id"].to_pylist(), dtype=object)[rows]
        rows = rows[np.concatenate([[True], ids[1:] != ids[:-1]])[: len(rows)]][: self.size]
        if len(rows) == self.size:
            self.least = float(scores[rows[-1]])
        self._parts, self._rows = [(table.take(pa.array(rows)), scores[rows])], len(rows)


def _read_rows(stream: DocumentStream, directory: Path) -> dict[str, Any]:
    """Returns the counts of the rows of a shard that was read; the rejected ones are listed in
    `directory`.
    """
    if stream.rejected:
        write_text(directory / QUARANTINE, render(stream.rejected))
    first = stream.rejected[0] if stream.rejected and not stream.read else None
    return {
        "counts": {**stream.fates(0, 0), "documents": stream.read},
        "warnings": list(stream.warnings),
        "unreadable": None if first is None else list(first),
    }


def _filled(values: Any) -> Any:
    """Returns dense vectors with copies of the first up to a whole batch.

    The last bits of a product depend on the number of its rows: the cut into files leaves no trace
    where every batch has as many.
    """
    if not isinstance(values, np.ndarray) or not values.size:
        return values
    return np.concatenate([values, np.repeat(values[:1], BATCH_ROWS - len(values), axis=0)])


def _sums(values: Any) -> NDArray[np.float64]:
    return column_totals(Features(values, "", ""))
