"""Base classes of featurizers, which turn documents into vectors, and what they need beforehand."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from shortlist import progress
from shortlist.core import Corpus, digest
from shortlist.errors import InvalidInput
from shortlist.models.pretrained import Pretrained
from shortlist.progress import Report
from shortlist.runtime import Runtime
from shortlist.store.atomic import write_text
from shortlist.store.cache import unfinished
from shortlist.store.disk import reserve
from shortlist.store.formats import VALUES, allocate
from shortlist.vectors import row_slices, unusable_rows

log = logging.getLogger(__name__)

Vectorizer: TypeAlias = Callable[[Corpus], tuple[NDArray[Any] | csr_array, Mapping[str, int]]]


@dataclass(frozen=True)
class Requirements:
    """What a featurizer needs before it can compute vectors.

    Attributes:
        model: the model that reads the documents, or None.
        token_head: whether that model must predict tokens; an encoder without such a head then gets
            the one that its settings describe, trained on the pool.
        tuning: the trainer that fine-tunes the model on the target first (on its labels, or on its
            texts), or None.
        learns_from: whose documents `learn` reads, or None if it is not called.
    """

    model: Pretrained | None = None
    token_head: bool = False
    tuning: Any = None
    learns_from: Literal["pool", "target"] | None = None

    @property
    def any(self) -> bool:
        """Whether something must be trained or learned first; an existing model does not count."""
        untrained = self.model is not None and self.model.requires_training
        headless = self.token_head and self.model is not None and self.model.head is not None
        return untrained or headless or self.tuning is not None or self.learns_from is not None


class Featurizer(ABC):
    """A function from documents to vectors; no vector depends on another document.

    The pipeline provides what `requirements` names by `with_model` and `with_learned`.

    Attributes:
        version: raised when the meaning of the vectors changes.
        passes: forward passes of its model over a document, for forecasts; a backward pass is two.
        predicts: whether those end in the head, which predicts every token.
        model: the model it reads with, or None.
        inner: the featurizer whose vectors this one transforms together, or None.
        scorer: the toxicity scorer whose score is the vector, or None.
        learned: directory and key of what `learn` wrote; None before `with_learned`.
    """

    version = 1
    passes: ClassVar[int] = 0
    predicts: ClassVar[bool] = False
    model: Any = None  # Pretrained | None; subclasses narrow it
    inner: Any = None  # Featurizer | None
    scorer: Any = None  # Scorer | None
    learned: tuple[Path, str] | None = None

    def requirements(self) -> Requirements:
        """Returns what must exist before `compute`; for `inner`, where there is one."""
        return Requirements(self.model)

    def with_model(self, model: Pretrained) -> Self:
        """Returns a copy that reads with `model`."""
        changed = copy.copy(self)
        changed.model = model
        return changed

    def with_learned(self, directory: Path, key: str) -> Self:
        """Returns a copy that uses what `learn` wrote into `directory`; `key` enters `identity`."""
        changed = copy.copy(self)
        changed.learned = (directory, key)
        return changed

    def identity(self, runtime: Runtime) -> dict[str, str]:
        """Returns what decides the vectors beside the settings: digests of weights, the precision
        that `auto` resolves to.
        """
        return {} if self.model is None else self.model.identity()

    def learn(self, corpus: Corpus, directory: Path, runtime: Runtime) -> dict[str, Any]:
        """Returns facts of what was learned from pool or target and written to `directory`."""
        return {}

    @abstractmethod
    def compute(
        self, corpus: Corpus, directory: Path, runtime: Runtime
    ) -> tuple[NDArray[Any] | csr_array, dict[str, Any]]:
        """Returns the (n, d) vectors in the order of the corpus, and counts for the record.

        Vectors that may exceed memory are written through `store.formats.allocate`.
        """

    def vectorizer(self, runtime: Runtime) -> Vectorizer:
        """Returns `compute` as a function of a corpus alone, for many small ones in turn."""

        def vectors(corpus: Corpus) -> tuple[NDArray[Any] | csr_array, Mapping[str, int]]:
            with tempfile.TemporaryDirectory() as folder:
                return self.compute(corpus, Path(folder), runtime)

        return vectors


def check_computed(values: NDArray[Any] | csr_array, corpus: Corpus, what: str) -> None:
    """Refuses vectors that are not finite before they are stored, hence for every selector.

    Raises:
        InvalidInput: the documents whose vectors are not.
    """
    bad = unusable_rows(values)
    if not len(bad):
        return
    named = ", ".join(
        f"{corpus.ids[row]} ({corpus.table['text'][int(row)].as_py()[:40]!r})" for row in bad[:3]
    )
    raise InvalidInput(
        f"vectors of finite numbers, shorter than 1e19, were expected from {what}, found "
        f"{len(bad):,} of {len(corpus):,} that are not, those of the documents {named}"
        f"{' and others' if len(bad) > 3 else ''}; leave those documents out, or repair the vectors"
    )


def embed(
    featurizer: Featurizer, corpus: Corpus, runtime: Runtime, what: str
) -> NDArray[np.float32]:
    """Returns the (n, d) vectors of documents in memory; nothing is stored.

    Args:
        featurizer: has nothing to learn first.
        corpus: the documents.
        runtime: where it runs.
        what: the setting that names the featurizer, for messages.

    Raises:
        InvalidInput: the vectors are sparse, empty or not finite.
    """
    with tempfile.TemporaryDirectory() as folder:
        values, _ = featurizer.compute(corpus, Path(folder), runtime)
        check_computed(values, corpus, what)
        if not isinstance(values, np.ndarray) or values.shape[1] == 0:
            raise InvalidInput(
                f"{what} must give dense vectors, found those of {type(featurizer).__name__}; choose "
                "a featurizer of a model, such as minilm or static"
            )
        return np.array(values, dtype=np.float32)


class NoFeatures(Featurizer):
    """The empty vector for every document, for selectors that read no vectors.

    Formula:
        v(x) = ()

    Paper:
        None.

    Deviations:
        None.

    Cost:
        None.
    """

    def compute(
        self, corpus: Corpus, directory: Path, runtime: Runtime
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Returns an (n, 0) array."""
        return np.zeros((len(corpus), 0), dtype=np.float32), {}


class Reader(Protocol):
    """An open model that turns documents into rows."""

    @property
    def columns(self) -> int:
        """Numbers per row."""
        ...

    def rows(self, documents: Corpus, report: Report) -> tuple[NDArray[np.float32], dict[str, int]]:
        """Returns (n, columns) rows in the order of the documents, and counts."""
        ...


class ShardedFeaturizer(Featurizer):
    """A featurizer that computes shards of consecutive documents and stores each when it is done.

    After an interruption only the unfinished shard is computed again. A shard is computed by itself
    in any case, so the rows are bitwise those of an uninterrupted run. A pool is in the order of
    its ids, which are hashes: every shard is a uniform sample, and documents a second are the same
    in all of them.

    Attributes:
        shard: documents per shard.
        doing: what progress shows.
    """

    shard = 4096
    doing = "embeddings"

    @abstractmethod
    def reader(self, runtime: Runtime) -> Reader:
        """Returns what reads all shards."""

    def compute(
        self, corpus: Corpus, directory: Path, runtime: Runtime
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Returns (n, columns) float32 and the shards' counts, added up.

        Rows lie in a folder beside `directory` until all are there (`store.cache.unfinished`).
        """
        reader = self.reader(runtime)
        folder = unfinished(directory)
        values = _open_rows(folder, len(corpus), reader.columns)
        shards = [_Shard(folder, rows, corpus) for rows in row_slices(len(corpus), self.shard)]
        left = [shard for shard in shards if not shard.is_done(values)]
        to_do = sum(shard.rows.stop - shard.rows.start for shard in left)
        if to_do < len(corpus):
            log.info("%s: going on, %s documents are done", self.doing, f"{len(corpus) - to_do:,}")
        with progress.bar(self.doing, to_do, "documents", show=runtime.progress) as report:
            for shard in left:
                documents = corpus.take(np.arange(shard.rows.start, shard.rows.stop))
                values[shard.rows], counts = reader.rows(documents, report)
                values.flush()
                shard.set_done(values, counts)
        totals: Counter[str] = Counter()
        for shard in shards:
            totals.update(shard.counts())
        (folder / VALUES).replace(directory / VALUES)
        shutil.rmtree(folder)
        return values, dict(totals)

    def vectorizer(self, runtime: Runtime) -> Vectorizer:
        """Returns a function from a corpus to its rows and counts; the model is opened once."""
        reader = self.reader(runtime)
        return lambda corpus: reader.rows(corpus, lambda done: None)


class _Shard:
    """Consecutive rows, and the file that says that they are on disk: whose they are, their SHA-256
    and their counts.
    """

    def __init__(self, folder: Path, rows: slice, corpus: Corpus) -> None:
        self.rows, self.path = rows, folder / f"{rows.start:09d}.json"
        self.documents = digest(corpus.ids[rows])

    def is_done(self, values: NDArray[Any]) -> bool:
        try:
            mark = json.loads(self.path.read_bytes())
            return mark == {**self._mark(values), "counts": dict(mark["counts"])}
        except (OSError, ValueError, KeyError, TypeError):  # absent, or damaged
            return False

    def set_done(self, values: NDArray[Any], counts: dict[str, int]) -> None:
        write_text(self.path, json.dumps({**self._mark(values), "counts": counts}))

    def counts(self) -> dict[str, int]:
        return json.loads(self.path.read_text(encoding="utf-8"))["counts"]

    def _mark(self, values: NDArray[Any]) -> dict[str, str]:
        rows = np.ascontiguousarray(values[self.rows]).data
        return {"documents": self.documents, "sha256": hashlib.sha256(rows).hexdigest()}


def _open_rows(folder: Path, rows: int, columns: int) -> Any:
    """Returns the rows so far; marks without their rows, or rows of another shape, are removed."""
    path = folder / VALUES
    try:
        values: Any = np.lib.format.open_memmap(path, mode="r+")
        if values.shape == (rows, columns) and values.dtype == np.float32:
            reserve(path)  # a full disk may have interrupted just that
            return values
    except (OSError, ValueError):  # absent, or interrupted while it was made: empty, half a header
        pass
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return allocate(path, (rows, columns))
