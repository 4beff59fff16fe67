"""Which family of libraries does a passage of documentation come from?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from shortlist.core import Corpus, digest
from shortlist.data import installed
from shortlist.data.quarantine import Progress
from shortlist.data.sources import Source
from shortlist.data.splits import sample_rows, split_of, without_near_copies
from shortlist.data.task import TaskData
from shortlist.errors import InvalidInput
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

    def __init__(
        self,
        name: str,
        metrics: Sequence[str],
        primary: str,
        families: Mapping[str, Sequence[str]],
        held_out: Sequence[str],
        fractions: Mapping[str, float],
        per_family: Mapping[str, int],
        max_files: int,
        min_chars: int,
        max_chars: int,
        seed: int,
    ) -> None:
        super().__init__(name, metrics, primary)
        self.families = {family: tuple(packages) for family, packages in sorted(families.items())}
        self.fractions = dict(fractions)
        self.per_family = dict(per_family)
        self.max_files = max_files
        self.min_chars = min_chars
        self.max_chars = max_chars
        self.seed = seed
        packages = sorted(
            installed.normalised(one) for some in self.families.values() for one in some
        )
        if packages != sorted(map(installed.normalised, held_out)):
            raise InvalidInput(
                f"task {name!r}: task.held_out must list the packages of task.families once each, "
                "or the pool holds "
                f"what the task measures; expected {packages}, found {sorted(held_out)}"
            )

    def identity(self, source: Source) -> dict[str, str]:
        """Returns a digest per family, of the versions and file lists of its packages."""
        there = installed.installed()
        return {
            family: digest(
                [installed.digest_of(there[name]) for name in installed.chosen(packages, there)]
            )
            for family, packages in self.families.items()
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
        for family, passage in self._passages(progress, counts):
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

    def _passages(
        self, progress: Progress, counts: Counter[str]
    ) -> list[tuple[str, installed.Passage]]:
        there = installed.installed()
        wanted = [
            (family, name)
            for family, some in self.families.items()
            for name in installed.chosen(some, there)
        ]
        found: list[tuple[str, installed.Passage]] = []
        for done, (family, name) in enumerate(wanted):
            progress(done, len(wanted), "held-out documentation")
            passages, dropped = installed.read_package(
                name,
                there[name],
                max_files=self.max_files,
                min_chars=self.min_chars,
                max_chars=self.max_chars,
            )
            counts.update(dropped)
            counts["rows_read"] += len(passages)
            found += [(family, passage) for passage in passages]
        progress(len(wanted), len(wanted), "held-out documentation")
        return sorted(found, key=lambda item: (item[1].document, item[1].text))

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
