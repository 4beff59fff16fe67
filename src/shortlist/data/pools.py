"""Pools to select from: package documentation, the domains of a benchmark, a user's files.

A pool is a set of documents: of exact copies the one of the first domain (alphabetically) stays,
and the rows are sorted by id, so the order of rows and files has no effect.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from shortlist.core import Corpus, added_masses, digest
from shortlist.data import package_docs
from shortlist.data.files import Reading, file_digest, shown
from shortlist.data.finding import Found, find
from shortlist.data.quotes import CsvDialect
from shortlist.data.readers import (
    Columns,
    DocumentStream,
    Loaded,
    Progress,
    RowFilter,
    column_name,
    read_files,
    tracked,
    unreadable,
)
from shortlist.data.sources import Source, TaskFiles, needed_files
from shortlist.data.splits import sample_rows
from shortlist.data.streams import Distinct, sample_texts
from shortlist.errors import InvalidInput, Missing, near
from shortlist.needs import Need, given_files
from shortlist.settings import Count, Seed


class Pool(ABC):
    """A set of documents to select from.

    Constructors store settings; files are read in `identity` and `load`.

    Attributes:
        version: raised when the same settings and files would give another corpus.
    """

    version: ClassVar[int] = 1

    @abstractmethod
    def identity(self, source: Source) -> dict[str, str]:
        """Returns digests by name of what would be read; cheap, and free of paths and times."""

    @abstractmethod
    def load(self, source: Source, progress: Progress) -> Loaded:
        """Returns the documents without exact copies, sorted by id, and what was left out."""


class PackageDocs(Pool):
    """The documentation of the locked distributions, one domain each; see `package_docs`.

    Args:
        per_package: at most so many passages of a package, a sample by id; None for all.
        max_files: at most so many files of a package are read, chosen by the hash of their path.
        min_chars: shortest passage.
        max_chars: longest passage.
        held_out: packages to leave out, because a task is made of them.
        seed: seed of the sample.
    """

    version = 2

    def __init__(
        self,
        per_package: Count | None,
        max_files: Count,
        min_chars: Count,
        max_chars: Count,
        held_out: Sequence[str],
        seed: Seed,
    ) -> None:
        self.per_package = per_package
        self.limits = {"max_files": max_files, "min_chars": min_chars, "max_chars": max_chars}
        self.held_out = tuple(held_out)
        self.seed = seed

    def identity(self, source: Source) -> dict[str, str]:
        """Returns one digest of the versions and file lists of the packages that would be read."""
        packages = self._packages().distributions
        parts = [(name, package_docs.digest_of(one)) for name, one in packages.items()]
        return {"installed": digest([part for pair in parts for part in pair])}

    def load(self, source: Source, progress: Progress) -> Loaded:
        """Returns the passages of all locked packages but the held-out ones.

        Raises:
            Missing: a held-out package is not installed.
        """
        packages = self._packages()
        counts = Counter(packages.check("pool=pydocs"))
        others = package_docs.installed().keys() - package_docs.locked().keys()
        counts["other_distributions"] = len(others)
        parts: list[Loaded] = []
        found = packages.distributions.items()
        for name, distribution in tracked(found, "package documentation", progress):
            passages, dropped = package_docs.read_package(name, distribution, **self.limits)
            counts.update(dropped)
            texts = sorted({passage.text for passage in passages})
            counts.update(rows_read=len(passages), exact_copies=len(passages) - len(texts))
            corpus = _sampled(Corpus.build(texts, name), self.per_package, self.seed, counts)
            parts.append(Loaded(corpus, {}))
        return merge(parts, counts)

    def _packages(self) -> package_docs.Packages:
        installed, locked = package_docs.installed(), package_docs.locked()
        held_out = package_docs.check_names(self.held_out, installed)
        return package_docs.Packages.of(locked.keys() - set(held_out), installed, locked)


class Domains(Pool):
    """The domains of a benchmark: one file each in a folder, or data sets of the hub.

    Args:
        domains: the domains to read; None for all.
        per_domain: at most so many documents of a domain, a sample by id; None for all.
        seed: seed of the sample.
        chunk: texts are joined and cut to passages of so many characters; None leaves them.
        min_chars: texts of fewer characters are left out; None keeps all.
        max_chars: texts of more characters are cut there; None leaves them.
        files: by domain, where it is not in `pools/`: `path` under the data folder, without suffix,
            and `only`, the accepted values by column.
        hub: specification by domain, where there is one.

    Raises:
        InvalidInput: a number of characters is not positive, or texts would be cut twice.
    """

    def __init__(
        self,
        domains: Sequence[str] | None,
        per_domain: Count | None,
        seed: Seed,
        chunk: int | None = None,
        hub: Mapping[str, Any] | None = None,
        min_chars: int | None = None,
        max_chars: int | None = None,
        files: Mapping[str, Any] | None = None,
    ) -> None:
        self.domains = None if domains is None else tuple(domains)
        self.per_domain = per_domain
        self.seed = seed
        self.chunk = chunk
        self.hub = hub
        self.min_chars, self.max_chars, self.files = min_chars, max_chars, files
        for setting, value in (
            ("chunk", chunk),
            ("min_chars", min_chars),
            ("max_chars", max_chars),
        ):
            if value is not None and value < 1:
                raise InvalidInput(
                    f"pool.{setting} must be 1 character or more, or null, found {value}"
                )
        if chunk is not None and max_chars is not None:
            raise InvalidInput(
                f"pool.chunk={chunk} and pool.max_chars={max_chars} both cut texts; set one to null"
            )

    @classmethod
    def needs(cls, place: str, node: Mapping[str, Any], source: Source) -> Iterator[Need]:
        """Yields the data set of each domain, or its files in the folder of the data."""
        hub, files = node.get("hub"), node.get("files")
        try:
            names = node["domains"] or source.pool_names(hub, files)
        except Missing as error:
            yield Need("file", "pool", "pool", False, str(error), command="set paths.data=DIR")
            return
        for domain in names:
            find = partial(source.pool_files, domain, hub, files)
            yield from needed_files(
                f"pool domain {domain!r}", (hub or {}).get(domain), source, find
            )

    def identity(self, source: Source) -> dict[str, str]:
        """Returns a digest per domain: of the file's bytes, or the hub's commit."""
        found = {
            name: source.pool_files(name, self.hub, self.files) for name in self._names(source)
        }
        return {
            name: files.revision or digest(sorted(map(file_digest, files.files["pool"])))
            for name, files in found.items()
        }

    def load(self, source: Source, progress: Progress) -> Loaded:
        """Returns the documents of the domains.

        Raises:
            Missing: a domain is not there.
            InvalidInput: no domain is asked for, or a file cannot be read.
        """
        parts: list[Loaded] = []
        counts: Counter[str] = Counter()
        for name in tracked(self._names(source), "pool domains", progress):
            files = source.pool_files(name, self.hub, self.files)
            loaded = self._domain(name, files)
            counts.update({key: value for key, value in loaded.counts.items() if key != "kept"})
            parts.append(loaded)
        return merge(parts, counts)

    def _domain(self, name: str, files: TaskFiles) -> Loaded:
        """Returns the sample of one domain; no text outside it is held in memory."""

        def stream() -> DocumentStream:
            return DocumentStream(
                files.files["pool"],
                Columns(text=files.columns.text) if files.columns else Columns(),
                row_filter=RowFilter(files.only, self.min_chars, self.max_chars),
            )

        read = stream()
        if self.chunk is None:
            sample = sample_texts((row.text for row in read), self.per_domain, self.seed)
            copies = sample.copies
        else:
            distinct = Distinct(row.text for row in read)
            copies = distinct.copies
            texts = distinct.of(row.text for row in stream())
            sample = sample_texts(chunks(texts, self.chunk), self.per_domain, self.seed)
        counts = read.fates(len(sample.texts), copies) | {"not_sampled": sample.left_out}
        return Loaded(
            Corpus.build(sample.texts, name),
            counts,
            tuple(read.rejected),
            files.revision,
            tuple(read.warnings),
        )

    def _names(self, source: Source) -> tuple[str, ...]:
        known = source.pool_names(self.hub, self.files)
        if self.domains is None:
            return known
        if not self.domains:
            raise InvalidInput(
                f"pool.domains is empty, expected at least one domain; known: {', '.join(known)}"
            )
        for name in self.domains:
            if name not in known:
                raise Missing(f"pool domain {name!r} is not there; {near(name, known)}")
        return tuple(sorted(set(self.domains)))


class Files(Pool):
    """A user's own files, of every readable format.

    Args:
        paths: files, patterns (`pool/*.jsonl.zst`, `**` for all folders below) or folders of parts;
            see `finding.find`.
        text: column of the text (a text file has none).
        domain: column of the domain, or a key of a folder `lang=en/`; where it is None or empty the
            name of the file, or of the folder whose part it is, is the domain.
        mass: column of how much a document counts, for methods that weigh documents; copies add up.
        licence: column of the licence, whose mix the report shows.
        toxicity: column of a toxicity from 0 to 1, likewise.
        csv: how quotes in CSV files are read: `strict`, `lenient` or `unquoted`; see
            `quotes.csv_rows`.
        lines: whether each line of a text file is a document; else they stand between blank lines.
        longest_mb: most megabytes of a line, as `Reading` has it.
        expansion: most times its size that a compressed file may unpack to.
    """

    version = 2

    def __init__(
        self,
        paths: Sequence[str],
        text: str = "text",
        domain: str | None = None,
        mass: str | None = None,
        licence: str | None = None,
        toxicity: str | None = None,
        csv: CsvDialect = Reading.csv,
        lines: bool = Reading.lines,
        longest_mb: int = Reading.longest_mb,
        expansion: int = Reading.expansion,
    ) -> None:
        self.paths = tuple([paths] if isinstance(paths, str) else paths)
        self.columns = Columns(
            text=column_name(text) or "text",
            domain=column_name(domain),
            mass=column_name(mass),
            licence=column_name(licence),
            toxicity=column_name(toxicity),
        )
        self.reading = Reading(csv, lines, longest_mb, expansion, group="pool")

    @classmethod
    def needs(cls, place: str, node: Mapping[str, Any], source: Source) -> Iterator[Need]:
        """Yields the files and folders that are named."""
        return given_files(place, "paths", node["paths"])

    def identity(self, source: Source) -> dict[str, str]:
        """Returns a digest per name, of the bytes of the files of that name and of the keys of
        their folders that are read.
        """
        wanted = set(self.columns.named.values())
        by_name: dict[str, list[str]] = {}
        for file in self._found().files:
            part = file_digest(file.path)
            keys = [f"{name}={value}" for name, value in file.keys.items() if name in wanted]
            by_name.setdefault(file.name, []).append(digest([part, *keys]) if keys else part)
        return {name: digest(sorted(digests)) for name, digests in sorted(by_name.items())}

    def load(self, source: Source, progress: Progress) -> Loaded:
        """Returns the documents of the files; those without rows are counted as `empty_files`.

        Raises:
            Missing: a pattern matches nothing.
            InvalidInput: no pattern is given, a file cannot be read, or none holds a row.
        """
        found = self._found()
        parts: list[Loaded] = []
        counts = Counter(found.counts)
        for file in tracked(found.files, "pool files", progress):
            parts.append(read_files([file], self.columns, reading=self.reading, may_be_empty=True))
            counts.update({key: n for key, n in parts[-1].counts.items() if key != "kept"})
        if counts["empty_files"] == len(parts):
            raise InvalidInput(
                f"{shown(found.files[0].path)}: expected rows with the column "
                f"{self.columns.text!r}, found none; repair or replace the file"
            )
        loaded = merge(parts, counts)
        if loaded.quarantined and counts["quarantined"] == counts["rows_read"]:
            raise unreadable(loaded.quarantined)
        return loaded

    def _found(self) -> Found:
        return find(self.paths, "pool.paths")


def _sampled(corpus: Corpus, size: int | None, seed: int, counts: Counter[str]) -> Corpus:
    rows = sample_rows(corpus.ids, size, seed)
    counts["not_sampled"] += len(corpus) - len(rows)
    return corpus.take(rows)


def merge(parts: Sequence[Loaded], counts: Counter[str]) -> Loaded:
    """Returns the parts as one pool: each text once, sorted by id.

    A column that not all parts have is dropped. Copies between the parts and the documents that are
    kept are added to `counts`.
    """
    tables = [part.corpus.table for part in parts if len(part.corpus)]
    if not tables:
        corpus = Corpus.build([])
    else:
        shared = [
            name
            for name in tables[0].column_names
            if all(name in table.column_names for table in tables)
        ]
        table = pa.concat_tables([table.select(shared) for table in tables])
        table = table.sort_by([("id", "ascending"), ("domain", "ascending")])
        ids = table["id"].to_pylist()
        first = np.flatnonzero([row == 0 or ids[row] != ids[row - 1] for row in range(len(ids))])
        corpus = Corpus(table).take(first)
        if "mass" in shared:
            masses = added_masses(ids, table["mass"].to_pylist(), corpus.ids)
            place = corpus.table.column_names.index("mass")
            corpus = Corpus(corpus.table.set_column(place, "mass", pa.array(masses)))
        counts["exact_copies"] += len(ids) - len(corpus)
    counts["kept"] = len(corpus)
    rejected = [row for part in parts for row in part.quarantined]
    revisions = sorted({part.revision for part in parts if part.revision})
    warnings = tuple(warning for part in parts for warning in part.warnings)
    return Loaded(
        corpus, dict(sorted(counts.items())), tuple(rejected), "+".join(revisions), warnings
    )


def chunks(texts: Iterable[str], characters: int) -> Iterator[str]:
    """Yields the texts joined and cut to passages of at most `characters` characters.

    Short texts are joined by a line break as long as the next one fits; long texts are cut after
    the last white space that fits, or within a word longer than a passage. Only white space at a
    cut is dropped. GOT-D prepares its pools so (section C.1.2), without saying where it cuts.
    """
    passage = ""
    for text in texts:
        rest = text.strip()
        if passage and len(passage) + 1 + len(rest) > characters:
            yield passage
            passage = ""
        while len(rest) > characters:
            head = rest[: characters + 1]
            space = max((at for at, letter in enumerate(head) if letter.isspace()), default=0)
            cut = space or characters
            yield rest[:cut].rstrip()
            rest = rest[cut:].lstrip()
        if rest:
            passage = f"{passage}\n{rest}" if passage else rest
    if passage:
        yield passage
