"""The embedded task: classify passages of documentation by the family of their library."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from shortlist.core import Corpus, digest
from shortlist.data import package_docs
from shortlist.data.near_copies import without_near_copies
from shortlist.data.readers import Progress, tracked
from shortlist.data.sources import Source
from shortlist.data.splits import TaskData, sample_rows, split_of
from shortlist.errors import InvalidInput
from shortlist.settings import Count, NaturalNumber, Seed, Share
from shortlist.tasks.base import Task


class PydocsFamilies(Task):
    """Passages of held-out packages, labelled with the family of libraries the package belongs to.

    A document (a source file, a README) lies in one split, and train and validation hold no
    near-copy of what is measured on.

    Args:
        name: the task's name, as in tables.
        metrics: names of the metrics to report.
        primary: the one that ranks the task's table.
        families: the packages of each family.
        held_out: all of these packages; the pool leaves them out under this name.
        fractions: share of documents per split.
        per_family: at most so many passages of a family per split, a sample by id.
        max_files: at most so many files of a package are read, chosen by the hash of their path.
        min_chars: shortest passage.
        max_chars: longest passage.
        seed: seed of the splits and samples.

    Raises:
        InvalidInput: `held_out` is not the list of the families' packages, or there are too few
            families.
    """

    extra = "pydocs"

    def __init__(
        self,
        name: str,
        metrics: Sequence[str],
        primary: str,
        families: Mapping[str, Sequence[str]],
        held_out: Sequence[str],
        fractions: Mapping[str, Share],
        per_family: Mapping[str, NaturalNumber],
        max_files: Count,
        min_chars: Count,
        max_chars: Count,
        seed: Seed,
    ) -> None:
        super().__init__(name, metrics, primary)
        self.families = {
            family: tuple(map(package_docs.normalised, packages))
            for family, packages in sorted(families.items())
        }
        self.fractions = dict(fractions)
        self.per_family = dict(per_family)
        self.limits = {"max_files": max_files, "min_chars": min_chars, "max_chars": max_chars}
        self.seed = seed
        packages = sorted(one for some in self.families.values() for one in some)
        if packages != sorted(map(package_docs.normalised, held_out)):
            raise InvalidInput(
                f"task {name!r}: task.held_out must list the packages of task.families once each, "
                "or the pool holds "
                f"what the task measures; expected {packages}, found {sorted(held_out)}"
            )

    def identity(self, source: Source) -> dict[str, str]:
        """Returns a digest per family, of the versions and file lists of its packages."""
        found = self._packages().distributions
        return {
            family: digest([package_docs.digest_of(found[name]) for name in sorted(names)])
            for family, names in self.families.items()
        }

    def load(self, source: Source, progress: Progress) -> TaskData:
        """Returns the splits.

        Raises:
            Missing: a package of a family is not installed.
            InvalidInput: a split is empty.
        """
        counts: Counter[str] = Counter()
        rows: dict[str, list[tuple[str, str, str]]] = {split: [] for split in self.fractions}
        seen: dict[str, str] = {}
        for family, passage in self._read(progress, counts):
            if seen.setdefault(passage.text, passage.document) != passage.document:
                counts["exact_copies"] += 1
                continue
            split = split_of(passage.document, self.fractions, self.seed)
            rows[split].append((passage.text, passage.package, family))
        corpora = {split: self._corpus(found, counts) for split, found in rows.items()}
        test = self._capped(corpora["test"], "test", counts)
        validation = self._apart(corpora["validation"], "validation", counts, test)
        validation = self._capped(validation, "validation", counts)
        train = self._apart(corpora["train"], "train", counts, validation, test)
        return self.assemble(self._capped(train, "train", counts), validation, test, counts)

    def _packages(self) -> package_docs.Packages:
        installed = package_docs.installed()
        names = [name for some in self.families.values() for name in some]
        checked = package_docs.check_names(names, installed)
        return package_docs.Packages.of(checked, installed, package_docs.locked())

    def _read(
        self, progress: Progress, counts: Counter[str]
    ) -> list[tuple[str, package_docs.Passage]]:
        packages = self._packages()
        counts.update(packages.check(f"task {self.name}"))
        family_of = {name: family for family, some in self.families.items() for name in some}
        read: list[tuple[str, package_docs.Passage]] = []
        found = packages.distributions.items()
        for name, distribution in tracked(found, "held-out documentation", progress):
            passages, dropped = package_docs.read_package(name, distribution, **self.limits)
            counts.update(dropped)
            counts["rows_read"] += len(passages)
            read += [(family_of[name], passage) for passage in passages]
        return sorted(read, key=lambda item: (item[1].document, item[1].text))

    def _corpus(self, rows: list[tuple[str, str, str]], counts: Counter[str]) -> Corpus:
        unique = sorted(set(rows))
        counts["exact_copies"] += len(rows) - len(unique)
        texts, packages, families = ([row[column] for row in unique] for column in range(3))
        return Corpus.build(texts, packages, labels=families).canonical()

    def _capped(self, corpus: Corpus, split: str, counts: Counter[str]) -> Corpus:
        kept: list[int] = []
        labels = corpus.labels or []
        for family in self.families:
            rows = [row for row, label in enumerate(labels) if label == family]
            drawn = sample_rows(
                [corpus.ids[row] for row in rows], self.per_family[split], self.seed
            )
            kept += [rows[place] for place in drawn]
        counts[f"not_sampled_{split}"] = len(corpus) - len(kept)
        return corpus.take(sorted(kept))

    def _apart(
        self, corpus: Corpus, split: str, counts: Counter[str], *protected: Corpus
    ) -> Corpus:
        kept = without_near_copies(corpus, *protected)
        counts[f"near_copies_{split}"] = len(corpus) - len(kept)
        return kept
