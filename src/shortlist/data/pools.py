"""What can be chosen from: installed documentation, a benchmark's domains, own files.

A pool is a set of documents. However the rows were ordered or sharded, the same documents give the
same
corpus: exact copies go (under the first domain name, alphabetically), the rest is sorted by id.
"""

from __future__ import annotations

import glob
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from shortlist.core import Corpus, added_masses, digest
from shortlist.data import installed
from shortlist.data.chunks import chunks
from shortlist.data.quarantine import BadRow, Loaded, Progress
from shortlist.data.readers import Columns, file_digest, read_files, stem
from shortlist.data.sources import Source
from shortlist.data.splits import sample_rows
from shortlist.data.taken import Taken
from shortlist.errors import InvalidInput, Missing, near


class Pool(ABC):
    """What a pool can do. Constructors store settings; files are touched in `identity` and `load`.

    Attributes:
        version: raised when the same settings and files would give another corpus.
    """

    version: ClassVar[int] = 1

    @abstractmethod
    def identity(self, source: Source) -> dict[str, str]:
        """Returns what would be read, as digests by name; cheap, and free of paths and times."""

    @abstractmethod
    def load(self, source: Source, progress: Progress) -> Loaded:
        """Returns the documents without exact copies, sorted by id, and what was left out."""


class InstalledDocs(Pool):
    """The documentation of the packages installed in the environment, one domain per package.

    Args:
        per_package: at most so many passages of a package, a sample by id; None for all.
        max_files: at most so many files of a package are read, chosen by the hash of their path.
        min_chars: shortest passage.
        max_chars: longest passage.
        held_out: packages to leave out, because a task is made of them.
        seed: seed of the sample.
    """

    def __init__(
        self,
        per_package: int | None,
        max_files: int,
        min_chars: int,
        max_chars: int,
        held_out: Sequence[str],
        seed: int,
    ) -> None:
        self.per_package = per_package
        self.max_files = max_files
        self.min_chars = min_chars
        self.max_chars = max_chars
        self.held_out = tuple(held_out)
        self.seed = seed

    def identity(self, source: Source) -> dict[str, str]:
        """Returns one digest for the versions and file lists of the packages that would be read."""
        packages = self._packages()
        return {
            "installed": digest(
                [
                    part
                    for name, one in packages.items()
                    for part in (name, installed.digest_of(one))
                ]
            )
        }

    def load(self, source: Source, progress: Progress) -> Loaded:
        """Returns the passages of all packages but the held-out ones.

        Raises:
            Missing: a held-out package is not installed.
        """
        parts: list[Corpus] = []
        counts: Counter[str] = Counter()
        packages = self._packages()
        for done, (name, distribution) in enumerate(packages.items()):
            progress(done, len(packages), "installed documentation")
            found, dropped = installed.read_package(
                name,
                distribution,
                max_files=self.max_files,
                min_chars=self.min_chars,
                max_chars=self.max_chars,
            )
            counts.update(dropped)
            counts["rows_read"] += len(found)
            texts = sorted({passage.text for passage in found})
            counts["exact_copies"] += len(found) - len(texts)
            corpus = Corpus.build(texts, name)
            rows = sample_rows(corpus.ids, self.per_package, self.seed)
            counts["not_sampled"] += len(corpus) - len(rows)
            parts.append(corpus.take(rows))
        progress(len(packages), len(packages), "installed documentation")
        return merged([Loaded(corpus, {}) for corpus in parts], counts)

    def _packages(self) -> dict[str, Any]:
        packages = installed.installed()
        out = set(installed.chosen(self.held_out, packages))
        return {name: one for name, one in packages.items() if name not in out}


class Domains(Pool):
    """The domains of a benchmark: one file each in a folder, or data sets of the hub.

    Args:
        domains: the domains to take; None for every one there is.
        per_domain: at most so many documents of a domain, a sample by id; None for all.
        seed: seed of the sample.
        chunk: texts are joined and cut to passages of so many characters; None leaves them.
        shortest: texts of fewer characters are left out; None takes every one.
        longest: texts of more characters are cut there; None leaves them.
        files: by domain, where it is not in `pools/`: `path` under the data folder, without suffix,
            and `only`, the values by column of the rows that are meant.
        hub: specification by domain, where there is one.

    Raises:
        InvalidInput: a number of characters is not positive, or texts would be cut twice.
    """

    def __init__(
        self,
        domains: Sequence[str] | None,
        per_domain: int | None,
        seed: int,
        chunk: int | None = None,
        hub: Mapping[str, Any] | None = None,
        shortest: int | None = None,
        longest: int | None = None,
        files: Mapping[str, Any] | None = None,
    ) -> None:
        self.domains = None if domains is None else tuple(domains)
        self.per_domain = per_domain
        self.seed = seed
        self.chunk = chunk
        self.hub = hub
        self.shortest, self.longest, self.files = shortest, longest, files
        for setting, value in (("chunk", chunk), ("shortest", shortest), ("longest", longest)):
            if value is not None and value < 1:
                raise InvalidInput(
                    f"pool.{setting} must be 1 character or more, or null, found {value}"
                )
        if chunk is not None and longest is not None:
            raise InvalidInput(
                f"pool.chunk={chunk} and pool.longest={longest} both cut texts; set one to null"
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
        names = self._names(source)
        for done, name in enumerate(names):
            progress(done, len(names), f"pool domain {name}")
            files = source.pool_files(name, self.hub, self.files)
            columns = files.columns or Columns()
            part = read_files(
                files.files["pool"],
                replace(columns, label=None, domain=None),
                default_domain=name,
                taken=Taken(files.only, self.shortest, self.longest),
            )
            counts.update({key: count for key, count in part.counts.items() if key != "kept"})
            if self.chunk is not None:
                passages = list(dict.fromkeys(chunks(part.corpus.texts, self.chunk)))
                part = replace(part, corpus=Corpus.build(passages, name))
            rows = sample_rows(part.corpus.ids, self.per_domain, self.seed)
            counts["not_sampled"] += len(part.corpus) - len(rows)
            parts.append(replace(part, corpus=part.corpus.take(rows), revision=files.revision))
        progress(len(names), len(names), "pool domains")
        return merged(parts, counts)

    def _names(self, source: Source) -> tuple[str, ...]:
        there = source.pool_names(self.hub, self.files)
        if self.domains is None:
            return there
        if not self.domains:
            raise InvalidInput(
                f"pool.domains is empty, expected at least one domain; known: {', '.join(there)}"
            )
        for name in self.domains:
            if name not in there:
                raise Missing(f"pool domain {name!r} is not there; {near(name, there)}")
        return tuple(sorted(set(self.domains)))


class Files(Pool):
    """A person's own files, of every readable format.

    Args:
        paths: files or patterns (`pool/*.jsonl.zst`, `**` for all folders below).
        text: column of the text (a text file has none).
        domain: column of the domain; where it is None or empty the file's name is the domain.
        mass: column of how much a document counts, for methods that weigh documents; copies add up.
        licence: column of the licence, whose mix the report shows.
        toxicity: column of a toxicity from 0 to 1, likewise.
    """

    def __init__(
        self,
        paths: Sequence[str],
        text: str = "text",
        domain: str | None = None,
        mass: str | None = None,
        licence: str | None = None,
        toxicity: str | None = None,
    ) -> None:
        self.paths = tuple([paths] if isinstance(paths, str) else paths)
        self.columns = Columns(
            text=text, domain=domain, mass=mass, licence=licence, toxicity=toxicity
        )

    def identity(self, source: Source) -> dict[str, str]:
        """Returns a digest per file name, of the bytes of the files of that name."""
        by_name: dict[str, list[str]] = {}
        for path in self._found():
            by_name.setdefault(stem(path), []).append(file_digest(path))
        return {name: digest(sorted(digests)) for name, digests in sorted(by_name.items())}

    def load(self, source: Source, progress: Progress) -> Loaded:
        """Returns the documents of the files.

        Raises:
            Missing: a pattern matches nothing.
            InvalidInput: no pattern is given, or a file cannot be read.
        """
        parts: list[Loaded] = []
        counts: Counter[str] = Counter()
        found = self._found()
        for done, path in enumerate(found):
            progress(done, len(found), "pool files")
            parts.append(read_files([path], self.columns, default_domain=stem(path)))
            counts.update(
                {key: parts[-1].counts[key] for key in ("rows_read", "quarantined", "exact_copies")}
            )
        progress(len(found), len(found), "pool files")
        return merged(parts, counts)

    def _found(self) -> list[str]:
        if not self.paths:
            raise InvalidInput(
                "pool=files: expected at least one file, found none; set pool.paths=[FILE,...]"
            )
        found: set[str] = set()
        for pattern in self.paths:
            matched = glob.glob(pattern, recursive=True)  # noqa: PTH207, a pattern may be absolute
            if not matched:
                raise Missing(
                    f"pool.paths: expected files {pattern}, found none; check the path and quote "
                    "the pattern"
                )
            found.update(matched)
        return sorted(found)


def merged(parts: Sequence[Loaded], counts: Counter[str]) -> Loaded:
    """Returns the parts as one pool: each text once, sorted by id.

    Copies between the parts are added to `counts`, and so is what is kept.
    """
    texts = [text for part in parts for text in part.corpus.texts]
    domains = [domain for part in parts for domain in part.corpus.domains]
    ids = [key for part in parts for key in part.corpus.ids]
    first: dict[str, int] = {}
    for row in sorted(range(len(ids)), key=lambda row: (ids[row], domains[row])):
        first.setdefault(ids[row], row)
    rows = np.fromiter(first.values(), dtype=np.int64, count=len(first))
    columns = [part.corpus.masses for part in parts]
    given = [column for column in columns if column is not None]
    masses = None
    if given and len(given) == len(columns):
        masses = added_masses(ids, np.concatenate(given).tolist(), list(first))

    def trait(name: str) -> list[Any] | None:
        known = [part.corpus.trait(name) for part in parts]
        every = [value for column in known if column is not None for value in column]
        return [every[row] for row in rows] if known and len(every) == len(ids) else None

    corpus = Corpus.build(
        [texts[row] for row in rows],
        [domains[row] for row in rows],
        masses=masses,
        licences=trait("licence"),
        toxicities=trait("toxicity"),
    ).canonical()
    counts["exact_copies"] += len(ids) - len(corpus)
    counts["kept"] = len(corpus)
    bad: list[BadRow] = [row for part in parts for row in part.quarantined]
    revisions = sorted({part.revision for part in parts if part.revision})
    return Loaded(corpus, dict(sorted(counts.items())), tuple(bad), "+".join(revisions))
