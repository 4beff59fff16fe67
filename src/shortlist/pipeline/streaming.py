"""Selection from a pool that need not fit into memory: one or two passes over its files.

A shard is a file. The first pass takes from each what `fit` reads of the pool (the trait
`reads_pool`): sums of vectors, or a sample by hash of id. The second scores the documents and keeps
the best of each shard, which are merged here. Memory is that of a batch, of the sample and of the
picks, whatever the pool. Each shard has artifacts of its own: an interrupted selection goes on, and
a file whose bytes changed is read again.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from shortlist.backends import map_shards
from shortlist.core import Corpus, Selection, digest
from shortlist.data.files import file_digest, shown
from shortlist.data.finding import find
from shortlist.data.pools import Files
from shortlist.data.readers import RejectedRow, unreadable
from shortlist.data.streams import ID_BYTES, Copies, Smallest
from shortlist.errors import InvalidInput
from shortlist.pipeline.data import CORPUS, QUARANTINE, TaskSplits, load_targets, load_task
from shortlist.pipeline.leaks import evaluation_texts, protected_targets
from shortlist.pipeline.scoring import (
    FITTED,
    SCORES,
    Method,
    Vectors,
    featurize,
    fit,
    methods_of,
    target_texts,
    targets_of,
)
from shortlist.pipeline.selection import SHORTLIST, shortlist_rows
from shortlist.pipeline.shards import (
    BEST,
    IDS,
    SAMPLE_SEED,
    TOTALS,
    Best,
    CopiesPass,
    FirstPass,
    SecondPass,
    Shard,
    ShardReader,
)
from shortlist.pipeline.stage import Cell, Stage
from shortlist.selectors.base import option_name
from shortlist.store import formats
from shortlist.store.atomic import write_jsonl, write_text
from shortlist.store.cache import Artifact

log = logging.getLogger(__name__)

REPEATS = "repeats.npy"


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


def stream_selection(cell: Cell, sample: int) -> Streamed:
    """Returns what a method selects of a pool of files of any size; also written to the directory.

    The ids are those of `select` for a method that reads sums of the pool; for one that reads a
    sample, those of all documents scored by the same fit. Leaks are looked for among the documents
    that would be selected.

    Args:
        cell: the cell; its pool is `Files`.
        sample: documents of the pool that stand for it where `fit` reads a sample.

    Raises:
        InvalidInput: the method or a setting needs the pool as a whole; the sample is empty; the
            budget is more than the pool has; there are leaks and `leaks.action` is `refuse`.
    """
    if sample < 1:
        raise InvalidInput(
            f"--sample: expected 1 document or more, found {sample:,}; leave it out for 100,000"
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
    wanted = target_texts(method.selector, target.target)
    aimed, _ = featurize(cell, method, wanted, wanted.fingerprint, "target")
    reader = ShardReader(
        cell.store,
        replace(cell.parts.runtime, progress=False),
        pool.columns,
        pool.reading,
        method.featurizer,
        {
            "featurizer": method.featurizer_settings,
            "version": method.featurizer.version,
            **method.featurizer.identity(cell.parts.runtime),
        },
    )
    fitted, first = _fitted(cell, method, aimed, shards, reader, sample)
    ids = {shard.file.path: one.path / IDS for shard, one in zip(shards, first, strict=False)}
    one = _second_pass(cell, method, fitted, task, target, reader, ids)
    second = map_shards(one, shards, cell.parts.backend)
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
    reader: ShardReader,
    sample: int,
) -> tuple[Stage, Sequence[Artifact]]:
    """Returns the fit, and the artifacts of the first pass (none where there is none)."""
    reads = method.selector.traits.reads_pool
    if reads == "nothing":
        return fit(cell, method, aimed, aimed), ()
    first = map_shards(FirstPass(reader, reads, sample), shards, cell.parts.backend)
    _check_read(shards, first)
    if reads == "sample":
        return fit(cell, method, aimed, _sample(cell, method, first, sample)), first
    return fit(cell, method, aimed, _totals(cell, shards, first, reader)), first


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
    cell: Cell, shards: Sequence[Shard], first: Sequence[Artifact], reader: ShardReader
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
    one = CopiesPass(reader, copies.path / REPEATS, copies.key, where)
    again = [shard for shard, rows in zip(shards, holds, strict=True) if rows]
    minus = map_shards(one, again, cell.parts.backend)
    summary = Corpus.build(["the sum of the vectors of a pool"])

    def compute(directory: Path) -> dict[str, Any]:
        # Counts are whole numbers: these sums are exact in any order.
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


def _second_pass(
    cell: Cell,
    method: Method,
    fitted: Stage,
    task: TaskSplits,
    target: TaskSplits,
    reader: ShardReader,
    ids: Mapping[Path, Path],
) -> SecondPass:
    found, _ = evaluation_texts(cell, task, {target.name: target})
    if cell.parts.leaks.targets:
        found |= protected_targets(cell, {target.name: target})
    texts = {
        name: (stage.facts[file], stage.path / f"{file}.arrow")
        for name, (stage, file) in found.items()
    }
    return SecondPass(
        reader,
        selector=method.selector,
        fitted=fitted.path / FITTED,
        key=fitted.key,
        budget=cell.parts.budget,
        seed=cell.parts.seed if method.selector.traits.stochastic else None,
        protected=texts,
        report_leaks=cell.parts.leaks.action == "report",
        ids=ids,
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
