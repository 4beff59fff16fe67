"""Tasks that come as files: from a folder or from the hub, one configuration per task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from shortlist.core import Corpus
from shortlist.data.readers import Columns, Progress, RejectedRow, read_files
from shortlist.data.sources import Source
from shortlist.data.splits import TaskData, sample_rows, split_of
from shortlist.errors import InvalidInput
from shortlist.tasks.base import Task, TaskKind


class FromSource(Task):
    """A task read from the source by its name.

    Args:
        name: the task's name, in the folder and in tables.
        metrics: names of the metrics to report.
        primary: the one that ranks the task's table.
        pair: whether an example is a pair of texts (columns `text_a`, `text_b`).
        kind: classes or numbers; `unlabelled` trains on no label and keeps those of the test split
            for its evaluators.
        positive: the class whose F1 the metric `f1` is.
        max_train: at most so many training examples, a sample by id; None for all.
        validation_share: share of train that becomes validation where the source has none.
        seed: seed of the sample and of that split.
        hub: the data set on the hub, or None.
        folder: its name in the folder, where that is another task's; None for its own.
        evaluators: by name, how a language model is questioned on it.
    """

    def __init__(
        self,
        name: str,
        metrics: Sequence[str],
        primary: str,
        pair: bool = False,
        kind: TaskKind = "classification",
        positive: str | None = None,
        max_train: int | None = None,
        validation_share: float = 0.1,
        seed: int = 0,
        hub: Mapping[str, Any] | None = None,
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

    def identity(self, source: Source) -> dict[str, str]:
        """Returns a digest per split: of the files' bytes, or the hub's commit."""
        return source.task_files(self.folder, self.hub).digests()

    def load(self, source: Source, progress: Progress) -> TaskData:
        """Returns the splits as they are published: rows that repeat stay.

        Raises:
            Missing: the source does not have the task.
            InvalidInput: a file cannot be read, or a split is empty.
        """
        found = source.task_files(self.folder, self.hub)
        own = Columns(
            text="text_a" if self.pair else "text",
            text_b="text_b" if self.pair else None,
            label="label",
        )
        columns = replace(found.columns or own, domain=None, numeric=self.kind == "regression")
        if (columns.text_b is not None) != self.pair or columns.label is None:
            raise InvalidInput(
                f"task {self.name!r}: hub.columns must name "
                f"label{' and text_b' if self.pair else ' and no text_b'}; correct the "
                "configuration"
            )
        splits = read_splits(self.name, found.files, columns, progress)
        return self._assembled(splits, found.revision)

    def _assembled(self, splits: Splits, revision: str) -> TaskData:
        train, counts = splits.corpora["train"], Counter(splits.counts)
        validation = splits.corpora.get("validation")
        if validation is None and self.kind == "unlabelled":
            validation = train.take([])
        if validation is None:
            train, validation = cut(train, self.validation_share, self.seed)
            counts["validation_cut_from_train"] = len(validation)
        rows = sample_rows(train.ids, self.max_train, self.seed)
        counts["train_not_sampled"] = len(train) - len(rows)
        train = train.take(rows)
        if self.kind == "unlabelled":
            train, validation = train.unlabelled(), validation.unlabelled()
            counts["train_copies"] = len(rows) - len(train)
        return self.assemble(
            train,
            validation,
            splits.corpora["test"],
            counts,
            splits.quarantined,
            revision,
        )


class Splits:
    """Corpora by split, with what was set aside on the way.

    Attributes:
        corpora: the documents of each split.
        counts: rows read and quarantined, by split.
        quarantined: the rows that were set aside.
    """

    def __init__(self) -> None:
        self.corpora: dict[str, Corpus] = {}
        self.counts: Counter[str] = Counter()
        self.quarantined: tuple[RejectedRow, ...] = ()


def read_splits(
    name: str, files: Mapping[str, tuple[Path, ...]], columns: Columns, progress: Progress
) -> Splits:
    """Returns the splits of a task; rows that repeat stay, each with an id of its own."""
    splits = Splits()
    for done, (split, paths) in enumerate(files.items()):
        progress(done, len(files), f"task {name} {split}")
        loaded = read_files(paths, columns, default_domain=name, keep_copies=True)
        splits.corpora[split] = loaded.corpus
        splits.counts[f"rows_read_{split}"] = loaded.counts["rows_read"]
        splits.counts[f"quarantined_{split}"] = loaded.counts["quarantined"]
        splits.quarantined += loaded.quarantined
    progress(len(files), len(files), f"task {name}")
    return splits


def cut(corpus: Corpus, share: float, seed: int) -> tuple[Corpus, Corpus]:
    """Returns the rest and a part of about `share` of a corpus, by the hash of the text.

    By text, so that equal texts stay on one side.

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
