"""Tasks read from files: from the source by name, or from files of the user's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np

from shortlist.core import Corpus, digest
from shortlist.data.files import Reading, file_digest
from shortlist.data.finding import DataFile, find
from shortlist.data.quotes import CsvDialect
from shortlist.data.readers import (
    CSV_COUNTS,
    Columns,
    Progress,
    RejectedRow,
    column_name,
    read_files,
)
from shortlist.data.sources import Source, TaskFiles, needed_files
from shortlist.data.splits import SPLITS, Split, TaskData, sample_rows, split_of
from shortlist.errors import InvalidInput
from shortlist.needs import Need, given_files
from shortlist.settings import Count, Range, Seed
from shortlist.tasks.base import Task, TaskKind

FEWEST_TO_HOLD_OUT_FROM = 30  # rows: a tenth of fewer estimates no loss, and the target needs them
_ABSENT = "\x00"  # stands for the value of a column that a row lacks
DEFAULT_METRICS = {
    "unlabelled": (),
    "regression": ("spearman", "pearson"),
    "classification": ("macro_f1", "accuracy"),
}


class FromSource(Task):
    """A task read from the source by its name.

    Args:
        name: the task's name, in tables and in the source.
        metrics: names of the metrics to report.
        primary: the one that ranks the task's table.
        max_train: at most so many training examples, a sample by id; None for all.
        seed: seed of the sample and of the validation split.
        hub: the data set on the hub, or None.
        validation_share: share of train that becomes validation where the source has none; None
            where the task needs no validation.
        pair: whether an example is a pair of texts (columns `text_a`, `text_b`).
        kind: labels are classes or numbers; `unlabelled` trains on no label and keeps those of the
            test split for its evaluators.
        positive: the class whose F1 is the metric `f1`.
        folder: its folder in the source, where that is named otherwise.
        evaluators: evaluators of the language model, by name.
    """

    def __init__(
        self,
        name: str,
        metrics: Sequence[str],
        primary: str,
        max_train: Count | None,
        seed: Seed,
        hub: Mapping[str, Any] | None,
        validation_share: Annotated[float, Range(0, 1, below=True)] | None = None,
        pair: bool = False,
        kind: TaskKind = "classification",
        positive: str | None = None,
        folder: str | None = None,
        evaluators: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(name, metrics, primary, kind, positive, evaluators)
        self.pair = pair
        self.max_train = max_train
        self.validation_share = validation_share
        self.seed = seed
        self.hub = hub
        self.folder = folder or name

    @classmethod
    def needs(cls, place: str, node: Mapping[str, Any], source: Source) -> Iterator[Need]:
        """Yields the data set, or its files in the folder of the data."""
        name, hub = node.get("folder") or node["name"], node["hub"]
        yield from needed_files(f"task {name!r}", hub, source, lambda: source.task_files(name, hub))

    def identity(self, source: Source) -> dict[str, str]:
        """Returns a digest per split: of the files' bytes, or the hub's commit."""
        return source.task_files(self.folder, self.hub).digests()

    def load(self, source: Source, progress: Progress) -> TaskData:
        """Returns the splits as they are published; repeated rows stay.

        Raises:
            Missing: the source does not have the task.
            InvalidInput: a file cannot be read, or a split is empty.
        """
        files = source.task_files(self.folder, self.hub)
        columns = self._columns(files)
        splits = read_splits(self.name, files.files, columns, progress)
        train, counts = splits.corpora["train"], splits.counts
        validation = splits.corpora.get("validation")
        if validation is None and self.kind == "unlabelled":
            validation = train.take([])
        if validation is None:
            train, validation = cut(train, self.validation_share or 0.0, self.seed)
            counts["validation_cut_from_train"] = len(validation)
        rows = sample_rows(train.ids, self.max_train, self.seed)
        counts["train_not_sampled"] = len(train) - len(rows)
        train = train.take(rows)
        if self.kind == "unlabelled":
            train, validation = train.unlabelled(), validation.unlabelled()
            counts["train_copies"] = len(rows) - len(train)
        test, quarantined = splits.corpora["test"], splits.quarantined
        return self.assemble(train, validation, test, counts, quarantined, files.revision)

    def column(
        self, source: Source, name: str, progress: Progress
    ) -> Mapping[Split, Mapping[str, str]]:
        """Returns the values of a column of the source's files, as `Task.column` says."""
        files = source.task_files(self.folder, self.hub)
        return column_values(self.name, files.files, self._columns(files), name, progress)

    def _columns(self, files: TaskFiles) -> Columns:
        columns = files.columns or Columns(
            text="text_a" if self.pair else "text",
            text_b="text_b" if self.pair else None,
            label="label",
        )
        columns = replace(columns, domain=None, numeric=self.kind == "regression")
        if (columns.text_b is not None) != self.pair or columns.label is None:
            raise InvalidInput(
                f"task {self.name!r}: hub.columns must name "
                f"label{' and text_b' if self.pair else ' and no text_b'}; correct the "
                "configuration"
            )
        return columns


class FromFiles(Task):
    """A task made of the user's files. Its splits are compared with each other.

    Without a label column it is unlabelled: documents can be selected for it and, where some texts
    are held out to measure the language-model loss on, a model warmed up.

    Args:
        name: the task's name, as in tables.
        train: the file of target texts.
        validation: file of validation examples; None cuts them from train (without labels: none).
        test: file of test examples; None cuts them from train.
        text: column of the text (of a pair: the first).
        text_b: column of the second text of a pair, or None.
        label: column of the label, or None where there is none.
        domain: column of the target that a text belongs to (the label's column is allowed), for
            methods that treat several targets separately; None makes one target.
        mass: column of the weight of a target text, for methods that weigh texts; those of equal
            texts add up.
        numeric: whether labels are numbers (a regression).
        metrics: names of the metrics to report (with labels); None for `DEFAULT_METRICS` of the
            kind.
        primary: the one that ranks the table; None for the first.
        holdout: without labels, share of train that becomes test where no file is given; fewer
            than `FEWEST_TO_HOLD_OUT_FROM` rows stay whole.
        validation_share: with labels, share of train that becomes validation where no file is
            given.
        test_share: with labels, share of train that becomes test where no file is given.
        seed: seed of these splits and of the sample.
        max_train: at most so many training examples, a sample by id after the splits are cut; None
            for all.
        positive: the class whose F1 is the metric `f1`.
        evaluators: evaluators of the language model, by name.
        csv: how quotes in CSV files are read; see `quotes.csv_rows`.
        lines: whether each line of a text file is a text; else they stand between blank lines.
        longest_mb: most megabytes of a line, as `Reading` has it.
        expansion: most times its size that a compressed file may unpack to.

    Raises:
        InvalidInput: `holdout` is no share, `max_train` is below 1, or a metric is unknown.
    """

    own_splits = True
    structured: ClassVar[TaskKind | None] = None
    default_metrics: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        name: str,
        train: str | None,
        validation: str | None,
        test: str | None,
        text: str,
        text_b: str | None,
        label: str | None,
        domain: str | None,
        mass: str | None,
        numeric: bool,
        metrics: Sequence[str] | None,
        primary: str | None,
        holdout: float,
        validation_share: Annotated[float, Range(0, 1, below=True)],
        test_share: Annotated[float, Range(0, 1, below=True)],
        seed: Seed,
        max_train: Count | None,
        positive: str | None,
        csv: CsvDialect = Reading.csv,
        lines: bool = Reading.lines,
        longest_mb: Count = Reading.longest_mb,
        expansion: Count = Reading.expansion,
        evaluators: Mapping[str, Any] | None = None,
    ) -> None:
        kind: TaskKind = (
            "unlabelled" if label is None else "regression" if numeric else "classification"
        )
        kind = self.structured or kind
        chosen = tuple(metrics or self.default_metrics or DEFAULT_METRICS[kind])
        first = primary or next(iter(chosen), None)
        super().__init__(str(name), chosen, first, kind, positive, evaluators)
        if not 0 <= holdout < 1:
            raise InvalidInput(
                f"task {name!r}: expected task.holdout from 0 to below 1, found {holdout}"
            )
        if max_train is not None and max_train < 1:
            raise InvalidInput(
                f"task {name!r}: expected task.max_train of 1 or more, or null, found {max_train}"
            )
        self.max_train = max_train
        self.files = {"train": train, "validation": validation, "test": test}
        self.columns = Columns(
            column_name(text) or "text",
            *map(column_name, (text_b, label, domain)),
            numeric=numeric,
            mass=column_name(mass),
        )
        self.reading = Reading(csv, lines, longest_mb, expansion, group="task")
        self.holdout = holdout
        self.shares = {"validation": validation_share, "test": test_share}
        self.seed = seed

    @classmethod
    def needs(cls, place: str, node: Mapping[str, Any], source: Source) -> Iterator[Need]:
        """Yields the files of its splits."""
        return given_files(place, "train", node["train"], map(node.get, ("validation", "test")))

    def identity(self, source: Source) -> dict[str, str]:
        """Returns a digest per given file, of its bytes.

        Raises:
            InvalidInput: no train file is given.
            Missing: a file is not there.
        """
        return {
            split: digest([file_digest(file.path) for file in files])
            for split, files in self._files().items()
        }

    def load(self, source: Source, progress: Progress) -> TaskData:
        """Returns the splits; those without a file are cut from train where they are needed.

        The count `held_out_texts` is the number of test texts of an unlabelled task.

        Raises:
            InvalidInput: no train file is given, a file cannot be read, or there is too little to
            cut from. Missing: a file is not there.
        """
        splits = read_splits(self.name, self._files(), self.columns, progress, self.reading)
        load = self._unlabelled if self.kind == "unlabelled" else self._labelled
        return load(splits)

    def column(
        self, source: Source, name: str, progress: Progress
    ) -> Mapping[Split, Mapping[str, str]]:
        """Returns the values of a column of the files, as `Task.column` says."""
        return column_values(self.name, self._files(), self.columns, name, progress, self.reading)

    def _unlabelled(self, splits: Splits) -> TaskData:
        train = splits.corpora["train"]
        if "test" not in splits.corpora:
            train, splits.corpora["test"] = self._hold_out(train)
        validation = splits.corpora.get("validation", train.take([]))
        counts = Counter({**splits.counts, "held_out_texts": len(splits.corpora["test"])})
        train = self._sampled(train, counts)
        data = self.assemble(train, validation, splits.corpora["test"], counts, splits.quarantined)
        return replace(data, warnings=splits.warnings)

    def _hold_out(self, train: Corpus) -> tuple[Corpus, Corpus]:
        """Returns the rest and the held-out texts; equal texts stay on one side."""
        texts = sorted(set(train.texts))
        size = 0
        if self.holdout and len(train) >= FEWEST_TO_HOLD_OUT_FROM:
            size = min(max(round(self.holdout * len(texts)), 1), len(texts) - 1)
        # By rank of the hash and not, as in `cut`, by its value, which may leave a side of few rows
        # empty.
        held = {texts[row] for row in sample_rows(texts, size, self.seed)}
        out = np.array([text in held for text in train.texts], dtype=bool)
        return train.take(np.flatnonzero(~out)), train.take(np.flatnonzero(out))

    def _labelled(self, splits: Splits) -> TaskData:
        counts, train = Counter(splits.counts), splits.corpora["train"]
        # Test first and with another seed, so that it does not depend on a validation file.
        for offset, split in enumerate(("test", "validation")):
            if split not in splits.corpora:
                train, splits.corpora[split] = self._cut(train, split, self.seed + offset)
                counts[f"{split}_cut_from_train"] = len(splits.corpora[split])
        train = self._sampled(train, counts)
        data = self.assemble(
            train, splits.corpora["validation"], splits.corpora["test"], counts, splits.quarantined
        )
        return replace(data, warnings=splits.warnings)

    def _sampled(self, train: Corpus, counts: Counter[str]) -> Corpus:
        """Returns at most `max_train` examples; how many are left out is counted."""
        if self.max_train is None:
            return train
        rows = sample_rows(train.ids, self.max_train, self.seed)
        counts["train_not_sampled"] = len(train) - len(rows)
        return train.take(rows)

    def _cut(self, train: Corpus, split: str, seed: int) -> tuple[Corpus, Corpus]:
        try:
            return cut(train, self.shares[split], seed)
        except InvalidInput as error:
            raise InvalidInput(f"{self.files['train']}: {error}; set task.{split}=FILE") from error

    def _files(self) -> dict[str, tuple[DataFile, ...]]:
        if not self.files["train"]:
            raise InvalidInput(
                "task=own: expected a file of target texts, found none; set task.train=FILE"
            )
        return {
            split: find([path], f"task.{split}").files for split, path in self.files.items() if path
        }


@dataclass
class Splits:
    """Corpora by split.

    Attributes:
        corpora: the documents of each split.
        counts: numbers of rows read and quarantined, by split.
        quarantined: the rows that could not be read.
        warnings: what is suspicious about a file.
    """

    corpora: dict[str, Corpus] = field(default_factory=dict[str, Corpus])
    counts: Counter[str] = field(default_factory=Counter[str])
    quarantined: tuple[RejectedRow, ...] = ()
    warnings: tuple[str, ...] = ()


def read_splits(
    name: str,
    files: Mapping[str, Sequence[Path | DataFile]],
    columns: Columns,
    progress: Progress,
    reading: Reading | None = None,
    default_domain: str | None = None,
) -> Splits:
    """Returns the splits of a task; repeated rows stay and have different ids. Rows without a
    domain get `default_domain`, or else the name of the task.
    """
    splits = Splits()
    for done, (split, paths) in enumerate(files.items()):
        progress(done, len(files), f"task {name} {split}")
        loaded = read_files(
            paths, columns, default_domain=default_domain or name, keep_copies=True, reading=reading
        )
        splits.corpora[split] = loaded.corpus
        splits.warnings += loaded.warnings
        csv = {f"{count}_{split}": loaded.counts.get(count, 0) for count in CSV_COUNTS}
        splits.counts.update({name: count for name, count in csv.items() if count})
        splits.counts[f"rows_read_{split}"] = loaded.counts["rows_read"]
        splits.counts[f"quarantined_{split}"] = loaded.counts["quarantined"]
        splits.quarantined += loaded.quarantined
    progress(len(files), len(files), f"task {name}")
    return splits


def column_values(
    name: str,
    files: Mapping[str, Sequence[Path | DataFile]],
    columns: Columns,
    column: str,
    progress: Progress,
    reading: Reading | None = None,
) -> dict[Split, dict[str, str]]:
    """Returns the values of a column by split and id of the row; a split without files is cut from
    train and has the values of train. Rows without a value are left out.
    """
    wanted = replace(columns, domain=column)
    try:
        splits = read_splits(name, files, wanted, progress, reading, default_domain=_ABSENT)
    except InvalidInput as error:
        said = str(error).partition("; set task.domain")[0]
        raise InvalidInput(
            f"{said}; correct task.split.column or task.cross_validation.column"
        ) from error
    values = {
        split: {
            key: value
            for key, value in zip(corpus.ids, corpus.domains, strict=True)
            if value != _ABSENT
        }
        for split, corpus in splits.corpora.items()
    }
    return {split: values.get(split, values["train"]) for split in SPLITS}


def cut(corpus: Corpus, share: float, seed: int) -> tuple[Corpus, Corpus]:
    """Returns the rest and a part of about `share` of a corpus, by the hash of the text, so that
    equal texts stay on one side.

    Raises:
        InvalidInput: a side would be empty.
    """
    side = [split_of(text, {"rest": 1 - share, "part": share}, seed) for text in corpus.texts]
    rest, part = (
        [row for row, name in enumerate(side) if name == wanted] for wanted in ("rest", "part")
    )
    if not rest or not part:
        raise InvalidInput(
            f"cannot cut a share of {share:g} from {len(corpus)} rows; give more rows or a file of "
            "its own"
        )
    return corpus.take(rest), corpus.take(part)
