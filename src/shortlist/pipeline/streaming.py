"""Selection from a pool that need not fit into memory: shards in one or two passes, best ones merged.

A shard is a file. The first pass takes from each what `fit` reads of the pool (the trait
`reads_pool`): sums of vectors, or a sample by hash of id. The second scores the documents and keeps
the best of each shard. Memory is that of a batch, of the sample and of the picks, whatever the
pool. An artifact a shard: what is interrupted goes on, and a file whose bytes changed is read again.
"""

from __future__ import annotations

import copy
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from safetensors.torch import load_file

from shortlist.backends import map_shards
from shortlist.core import Budget, Corpus, Features, Selection, digest
from shortlist.data import decontamination
from shortlist.data.files import Reading, file_digest, shown
from shortlist.data.finding import DataFile, find
from shortlist.data.pools import Files
from shortlist.data.readers import Columns, DocumentStream, RejectedRow, render, unreadable
from shortlist.data.streams import ID_BYTES, Copies, Smallest, batches
from shortlist.errors import InvalidInput
from shortlist.featurizers.base import Featurizer, ShardedFeaturizer, check_computed
from shortlist.pipeline.data import QUARANTINE, TaskSplits, load_targets, load_task
from shortlist.pipeline.leaks import evaluation_texts, protected_targets
from shortlist.pipeline.scoring import (
    FITTED,
    Method,
    Vectors,
    featurize,
    fit,
    methods_of,
    target_texts,
    targets_of,
)
from shortlist.pipeline.selection import SHORTLIST, shortlist_rows
from shortlist.pipeline.stage import Cell, Stage
from shortlist.runtime import Runtime
from shortlist.selectors.bag_of_words import column_totals
from shortlist.selectors.base import BATCH_ROWS, ScoredPool, Selector, check_scores, option_name
from shortlist.stats.sampling import order
from shortlist.store import formats
from shortlist.store.atomic import write_jsonl, write_text
from shortlist.store.cache import Artifact, Mode, Store
from shortlist.trainers.base import seeded

log = logging.getLogger(__name__)

IDS, TOTALS, REPEATS = "ids.bin", "totals.npy", "repeats.npy"
CORPUS, BEST, SCORES = "corpus.arrow", "best.arrow", "scores.npy"
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
class Streamed:
    """A selection from a streamed pool.

    Attributes:
        selection: the selection, best first.
        documents: the selected documents, in that order.
        facts: what was read, left out and computed, as plain data.
        directory: the run's directory, which holds `shortlist.jsonl` and `stream.json`.
    """

    selection: Selection
    documents: Corpus
    facts: Mapping[str, Any]
    directory: Path

    def to_arrow(self) -> pa.Table:
        """Returns the columns id, rank, score, domain and text, best first."""
        return pa.Table.from_pylist(list(shortlist_rows(self.selection, self.documents)))


@dataclass(frozen=True)
class _Pass:
    """One pass over a shard, as a process gets it: nothing in it is fitted or open."""

    root: Path
    mode: Mode
    device: str
    runtime: Runtime
    columns: Columns
    reading: Reading
    featurizer: Featurizer
    vectors: Mapping[str, Any]  # what decides them: the featurizer's settings, version and identity

    def stage(
        self,
        name: str,
        settings: Mapping[str, Any],
        inputs: Mapping[str, str],
        compute: Callable[[Path], Mapping[str, Any]],
    ) -> Artifact:
        store = Store(self.root, self.mode, self.device)
        read = {"columns": asdict(self.columns), "reading": asdict(self.reading)}
        return store.stage(name, 1, {**read, **settings}, inputs, compute)

    def stream(self, shard: Shard) -> DocumentStream:
        return DocumentStream([shard.file], self.columns, reading=self.reading, may_be_empty=True)

    def featurized(self) -> Callable[[Corpus], tuple[Any, Mapping[str, int]]]:
        """Returns a function from documents to their vectors and what was cut or empty."""
        built = self.featurizer
        if isinstance(built, ShardedFeaturizer):
            reader = built.reader(self.runtime)
            rows = lambda documents: reader.rows(documents, lambda done: None)  # noqa: E731
        else:
            rows = lambda documents: built.compute(documents, Path(), self.runtime)  # noqa: E731

        def compute(documents: Corpus) -> tuple[Any, Mapping[str, int]]:
            values, counts = rows(documents)
            check_computed(values, documents, f"{type(built).__name__} of the pool")
            return values, counts

        return compute

    def fates(self, stream: DocumentStream, directory: Path) -> dict[str, Any]:
        """Returns the rows by fate, and writes down the rejected ones."""
        if stream.rejected:
            write_text(directory / QUARANTINE, render(stream.rejected))
        first = stream.rejected[0] if stream.rejected and not stream.read else None
        return {
            "counts": {**stream.fates(0, 0), "documents": stream.read},
            "warnings": list(stream.warnings),
            "unreadable": None if first is None else list(first),
        }


@dataclass(frozen=True)
class _First(_Pass):
    """What `fit` reads of a shard: `sums` or a `sample`, and the ids of its rows."""

    reads: str
    sample: int

    def __call__(self, shard: Shard) -> Artifact:
        settings = {"reads": self.reads}
        settings |= self.vectors if self.reads == "sums" else {"sample": self.sample}

        def compute(directory: Path) -> dict[str, Any]:
            stream = self.stream(shard)
            vectorize = self.featurized() if self.reads == "sums" else None
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
            return self.fates(stream, directory)

        return self.stage("stream_first", settings, shard.inputs, compute)


@dataclass(frozen=True)
class _Repeats(_Pass):
    """The sums of the rows of a shard that repeat an earlier row of the pool."""

    copies: Path  # their numbers in the pool, ascending
    key: str
    ends: Mapping[Path, tuple[int, int]]  # first row of a file in the pool, and the next one's

    def __call__(self, shard: Shard) -> Artifact:
        def compute(directory: Path) -> dict[str, Any]:
            first, end = self.ends[shard.file.path]
            repeats = np.load(self.copies, mmap_mode="r")
            lo, hi = np.searchsorted(repeats, [first, end])
            rows, vectorize, start = repeats[lo:hi] - first, self.featurized(), 0
            totals: Any = 0.0
            for batch in batches(self.stream(shard), BATCH_ROWS):
                lo, hi = np.searchsorted(rows, [start, start + len(batch)])
                if hi > lo:
                    totals = totals + _sums(vectorize(batch.take(rows[lo:hi] - start))[0])
                start += len(batch)
            np.save(directory / TOTALS, totals)
            return {"rows": len(rows)}

        return self.stage(
            "stream_repeats", self.vectors, {**shard.inputs, "copies": self.key}, compute
        )


@dataclass(frozen=True)
class _Second(_Pass):
    """The documents of a shard that the method ranks first, without those that repeat protected
    texts.
    """

    selector: Selector
    fitted: Path
    key: str
    budget: Budget
    seed: int | None  # None: nothing is drawn
    protected: Mapping[str, tuple[str, Path]]  # key and file of texts, by name
    report_leaks: bool

    def __call__(self, shard: Shard) -> Artifact:
        settings = {**self.vectors, "budget": self.budget.amount, "seed": self.seed}
        settings["keep_leaks"] = self.report_leaks
        inputs = {name: key for name, (key, _) in self.protected.items()}

        def compute(directory: Path) -> dict[str, Any]:
            selector = copy.deepcopy(self.selector)
            selector.restore(load_file(self.fitted))
            stream, vectorize = self.stream(shard), self.featurized()
            best, counts = Best(self.budget.amount), Counter[str]()
            leaked: dict[str, float] = {}
            protected = [formats.load_corpus(path) for _, path in self.protected.values()]
            for batch in batches(stream, BATCH_ROWS):
                values, cut = vectorize(batch)
                counts.update(cut)
                scores = selector.score_all(Features(_filled(values), "", ""), self.runtime)
                scores = scores[: len(batch)]
                check_scores(scores, type(selector).__name__)
                choice = selector.select(
                    ScoredPool(scores, batch.id_bits(), documents=batch),
                    replace(self.budget, amount=min(self.budget.amount, len(batch))),
                    seeded(self.seed or 0, "selection"),
                )
                near = choice.scores >= best.least
                found, ranked = batch.take(choice.rows[near]), choice.scores[near]
                leaks = {
                    leak.id
                    for texts in protected
                    for leak in decontamination.find_leaks(found, texts)
                }
                if leaks:
                    clean = np.array([key not in leaks for key in found.ids])
                    pairs = zip(found.ids, ranked.tolist(), strict=True)
                    leaked |= {key: score for key, score in pairs if key in leaks}
                    if not self.report_leaks:
                        found, ranked = found.take(np.flatnonzero(clean)), ranked[clean]
                best.add(found, ranked)
            documents, ranked = best.ranked()
            formats.save_corpus(directory / BEST, documents)
            np.save(directory / SCORES, ranked)
            return {
                **self.fates(stream, directory),
                "vectors": {name: count for name, count in counts.items() if count},
                "leaked": {key: score for key, score in leaked.items() if score >= best.least},
            }

        return self.stage(
            "stream_second", settings, {**shard.inputs, **inputs, "fit": self.key}, compute
        )


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


def stream_selection(cell: Cell, sample: int) -> Streamed:
    """Returns what a method selects of a pool of files of any size; also written to the directory.

    The ids are those of `select` for a method that reads sums of the pool; for one that reads a
    sample, those of all documents scored by the same fit. Leaks are looked for among the documents
    that would be selected.

    Args:
        cell: the cell; its pool is `Files`.
        sample: documents of the pool that stand for it where `fit` reads a sample.

    Raises:
        InvalidInput: the method or a setting needs the pool as a whole; the budget is more than the
            pool has; there are leaks and `leaks.action` is `refuse`.
    """
    if cell.parts.leaks.semantic is not None:
        raise InvalidInput(
            "a streamed selection compares words alone with evaluation texts, found "
            f"leaks.semantic={cell.parts.leaks.semantic.threshold:g}; set leaks.semantic=null"
        )
    method = _method(cell)
    with cell.parts.backend.opened():
        return _streamed(cell, method, sample)


def _streamed(cell: Cell, method: Method, sample: int) -> Streamed:
    pool = cell.parts.pool
    found = find(pool.paths, "pool.paths")
    paths = [file.path for file in found.files]
    digests = map_shards(file_digest, paths, cell.parts.backend)
    shards = [Shard(file, each) for file, each in zip(found.files, digests, strict=True)]
    task = load_task(cell)
    (target,) = (
        splits
        for name, splits in load_targets(cell, task).items()
        if name in targets_of(cell.parts.target_spec, method.selector).weights
    )
    aimed, _ = featurize(
        cell, method, wanted := target_texts(method.selector, target.target), wanted.fingerprint,
        "target",
    )  # fmt: skip
    common: dict[str, Any] = {
        "root": cell.store.root,
        "mode": cell.store.mode,
        "device": cell.store.device,
        "runtime": replace(cell.parts.runtime, progress=False),
        "columns": pool.columns,
        "reading": pool.reading,
        "featurizer": method.featurizer,
        "vectors": {
            "featurizer": method.featurizer_settings,
            "version": method.featurizer.version,
            **method.featurizer.identity(cell.parts.runtime),
        },
    }
    fitted, first = _fitted(cell, method, aimed, shards, common, sample)
    second = map_shards(
        _second(cell, method, fitted, task, target, common), shards, cell.parts.backend
    )
    return _merged(cell, method, shards, first, second, fitted, dict(found.counts))


def _method(cell: Cell) -> Method:
    """Returns the method of the cell.

    Raises:
        InvalidInput: the method, or a setting, needs the pool as a whole.
    """
    parts, selector = cell.parts, cell.parts.selector
    name = option_name(type(selector).__name__)
    reasons = {
        f"selector={name} is made of others; name one of them": bool(selector.members),
        f"selector={name}, as it is set, needs the vectors of all documents at once; select some "
        "times the budget by gotd or dsir first, and run it on those": (
            selector.traits.reads_pool == "vectors" and not selector.members
        ),
        "budget_unit=tokens is not counted; set budget_unit=documents": (
            parts.budget.unit != "documents"
        ),
        "pool must be files; set pool=files": not isinstance(parts.pool, Files),
        "pool.prepare looks at the whole pool; run `shortlist prepare` on its files first": bool(
            parts.prepare["pool"].operations
        ),
        "pool.prefilter looks at the whole pool; set pool.prefilter.keep=null": (
            parts.prefilter is not None
        ),
        "leaks.semantic reads every document with an encoder; set leaks.semantic=null": (
            parts.leaks.semantic is not None
        ),
        "one target is expected": len(targets_of(parts.target_spec, selector).weights) != 1,
        "the featurizer has something to learn first; set featurizer=static or featurizer=ngrams": (
            parts.featurizer.requirements().any or parts.featurizer.inner is not None
        ),
    }
    for reason, holds in reasons.items():
        if holds:
            raise InvalidInput(f"a streamed selection reads a document at a time: {reason}")
    settings = cell.settings
    (method,) = methods_of(
        selector, parts.featurizer, settings["selector"], settings["featurizer"]
    ).values()
    return method


def _fitted(
    cell: Cell,
    method: Method,
    aimed: Vectors,
    shards: Sequence[Shard],
    common: Mapping[str, Any],
    sample: int,
) -> tuple[Stage, Sequence[Artifact]]:
    """Returns the fit, and the artifacts of the first pass (none where there is none)."""
    reads = method.selector.traits.reads_pool
    if reads == "nothing":
        return fit(cell, method, aimed, aimed), ()
    one = _First(**common, reads=reads, sample=sample)
    first = map_shards(one, shards, cell.parts.backend)
    _check_read(shards, first)
    if reads == "sample":
        return fit(cell, method, aimed, _sample(cell, method, first, sample)), first
    return fit(cell, method, aimed, _totals(cell, shards, first, common)), first


def _check_read(shards: Sequence[Shard], passes: Sequence[Artifact]) -> None:
    """Refuses a pool without a document, as `Files.load` does."""
    counts = _counts(passes)
    if counts["documents"]:
        return
    rejected = [RejectedRow(*row) for one in passes if (row := one.facts["unreadable"])]
    if rejected:
        raise unreadable(rejected)
    raise InvalidInput(
        f"{shown(shards[0].file.path)}: expected documents, found none; repair or replace the file"
    )


def _sample(cell: Cell, method: Method, first: Sequence[Artifact], size: int) -> Vectors:
    """Returns the vectors of a sample of the pool, by hash of id."""

    def compute(directory: Path) -> dict[str, Any]:
        smallest = Smallest(size, SAMPLE_SEED)
        for one in first:
            part = formats.load_corpus(one.path / CORPUS)
            for key, text in zip(part.ids, part.texts, strict=True):
                smallest.add(key, text)
        corpus = Corpus.build(smallest.texts).canonical()
        formats.save_corpus(directory / CORPUS, corpus)
        return {"documents": len(corpus), "fingerprint": corpus.fingerprint}

    stage = cell.stage("stream_sample", 1, {"size": size}, _keys(first), compute)
    corpus = formats.load_corpus(stage.path / CORPUS)
    return featurize(cell, method, corpus, stage.facts["fingerprint"], "pool")[0]


def _totals(
    cell: Cell, shards: Sequence[Shard], first: Sequence[Artifact], common: Mapping[str, Any]
) -> Vectors:
    """Returns the sum of the vectors of the distinct documents, as the vectors of one document."""
    sizes = [one.facts["counts"]["documents"] for one in first]
    ends = np.cumsum([0, *sizes])
    copies = _copies(cell, first)
    repeats = np.load(copies.path / REPEATS, mmap_mode="r")
    holds = np.diff(np.searchsorted(repeats, ends))
    where = {
        shard.file.path: (int(first_row), int(end))
        for shard, (first_row, end) in zip(shards, pairwise(ends), strict=True)
    }
    one = _Repeats(**common, copies=copies.path / REPEATS, key=copies.key, ends=where)
    again = [shard for shard, rows in zip(shards, holds, strict=True) if rows]
    minus = map_shards(one, again, cell.parts.backend)
    summary = Corpus.build(["the sum of the vectors of a pool"])

    def compute(directory: Path) -> dict[str, Any]:
        # Counts are whole numbers: no order of these sums leaves a trace.
        added = [np.load(part.path / TOTALS) for part in first if (part.path / TOTALS).exists()]
        values = sum(added) - sum(np.load(part.path / TOTALS) for part in minus)
        formats.save_features(directory, summary.fingerprint, np.asarray(values)[None, :])
        return {}

    stage = cell.stage("stream_totals", 1, {}, _keys([*first, *minus]), compute)
    return Vectors(stage, summary)


def _copies(cell: Cell, first: Sequence[Artifact]) -> Stage:
    """Returns the rows of the pool that repeat an earlier one, over all shards."""

    def compute(directory: Path) -> dict[str, Any]:
        ids = Copies()
        for one in first:
            with (one.path / IDS).open("rb") as file:
                while piece := file.read(ID_BYTES << 16):
                    ids.extend(piece)
        rows = np.sort(np.concatenate([np.empty(0, np.int64), *ids.repeats()]))
        np.save(directory / REPEATS, rows)
        return {"copies": len(rows)}

    return cell.stage("stream_copies", 1, {}, _keys(first), compute)


def _keys(parts: Sequence[Artifact]) -> dict[str, str]:
    return {str(number): part.key for number, part in enumerate(parts)}


def _second(
    cell: Cell,
    method: Method,
    fitted: Stage,
    task: TaskSplits,
    target: TaskSplits,
    common: Mapping[str, Any],
) -> _Second:
    found, _ = evaluation_texts(cell, task, {target.name: target})
    if cell.parts.leaks.targets:
        found |= protected_targets(cell, {target.name: target})
    texts = {
        name: (stage.facts[file], stage.path / f"{file}.arrow")
        for name, (stage, file) in found.items()
    }
    stochastic = method.selector.traits.stochastic
    return _Second(
        **common,
        selector=method.selector,
        fitted=fitted.path / FITTED,
        key=fitted.key,
        budget=cell.parts.budget,
        seed=cell.parts.seed if stochastic else None,
        protected=texts,
        report_leaks=cell.parts.leaks.action == "report",
    )


def _merged(
    cell: Cell,
    method: Method,
    shards: Sequence[Shard],
    first: Sequence[Artifact],
    second: Sequence[Artifact],
    fitted: Stage,
    counts: dict[str, int],
) -> Streamed:
    """Returns the best documents of all shards, and writes them down with what is known of them."""
    _check_read(shards, second)
    budget, best = cell.parts.budget, Best(cell.parts.budget.amount, by_domain=True)
    for part in second:
        best.add(formats.load_corpus(part.path / BEST), np.load(part.path / SCORES))
    documents, scores = best.ranked()
    leaked = {
        key for part in second for key, score in part.facts["leaked"].items() if score >= best.least
    }
    action = cell.parts.leaks.action
    if leaked and action == "refuse":
        raise InvalidInput(
            f"expected no evaluation text among the documents that would be selected "
            f"(leaks.action=refuse), found {len(leaked):,}, first {min(leaked)}; set leaks.action=drop"
        )
    if len(documents) < budget.amount:
        raise InvalidInput(
            f"budget={budget.amount:,} documents is more than the pool's {len(documents):,}; set "
            f"budget={len(documents)} or less, or a larger pool"
        )
    selection = Selection(
        tuple(documents.ids),
        scores,
        digest(sorted(shard.digest for shard in shards)),
        budget,
        (type(method.selector).__doc__ or "").strip().splitlines()[0],
    )
    read = _counts(second)
    if first:
        read["exact_copies"] = _copies(cell, first).facts["copies"]
    vectors = Counter[str]()
    for part in second:
        vectors.update(part.facts["vectors"])
    rejected = "".join(
        (part.path / QUARANTINE).read_text(encoding="utf-8")
        for part in second
        if (part.path / QUARANTINE).exists()
    )
    if rejected:
        listed = write_text(cell.directory / f"pool_{QUARANTINE}", rejected)
        log.warning("pool: %d rows rejected, listed in %s", read["quarantined"], listed)
    facts = {
        "method": option_name(type(method.selector).__name__),
        "reads_pool": method.selector.traits.reads_pool,
        "size": len(selection),
        "sha256": selection.sha256,
        "domains": dict(sorted(Counter(documents.domains).items())),
        "shards": len(shards),
        "reused": sum(part.hit for part in second),
        "counts": dict(sorted((read + Counter(counts)).items())),
        "vectors": dict(vectors),
        "leaks": {"action": action, "among_the_best": len(leaked)},
        "fit": dict(fitted.facts),
        "seconds": sum(part.seconds for part in (*first, *second)),
        "warnings": [warning for part in second for warning in part.facts["warnings"]],
    }
    write_jsonl(cell.directory / SHORTLIST, shortlist_rows(selection, documents))
    write_jsonl(cell.directory / "stream.json", [facts])
    return Streamed(selection, documents, facts, cell.directory)


def _counts(parts: Sequence[Artifact]) -> Counter[str]:
    """Returns the rows of all shards by fate."""
    counts = Counter[str]()
    for part in parts:
        counts.update(part.facts["counts"])
    del counts["kept"], counts["exact_copies"]
    return counts
