"""A person's own task: one file of target texts, with or without labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from shortlist.core import Corpus, digest
from shortlist.data.files import file_digest
from shortlist.data.readers import Columns, Progress
from shortlist.data.sources import Source
from shortlist.data.splits import TaskData, sample_rows
from shortlist.errors import InvalidInput
from shortlist.tasks.base import Task, TaskKind
from shortlist.tasks.files import Splits, cut, read_splits

# Rows. A tenth of fewer says nothing of a loss, and the target needs them.
FEWEST_TO_HOLD_OUT_FROM = 30


class Own(Task):
    """A task made of a person's own files.

    Without a label column it is unlabelled: it can be selected for and, where some texts are held
    out to measure the language-model loss on, warmed up for.

    Args:
        train: the file of target texts.
        validation: file of validation examples; None cuts them from train (without labels: none).
        test: file of test examples; None cuts them from train.
        text: column of the text (of a pair: the first).
        text_b: column of the second text of a pair, or None.
        label: column of the label, or None where there is none.
        domain: column that says which of several targets a text belongs to (the label's column will
            do), for methods that keep them apart; None makes them one.
        numeric: whether labels are numbers (a regression).
        mass: column of how much a target text counts, for methods that weigh texts; equal ones add up.
        metrics: names of the metrics to report (with labels); None for the usual of the kind.
        primary: the one that ranks the table; None for the first.
        holdout: without labels, share of train that becomes test where no file is given; fewer
            than `FEWEST_TO_HOLD_OUT_FROM` rows stay whole.
        validation_share: with labels, share of train that becomes validation where no file is
            given.
        test_share: with labels, share of train that becomes test where no file is given.
        seed: seed of these splits.

    Raises:
        InvalidInput: `holdout` is no share, or a metric is unknown.
    """

    def __init__(
        self,
        train: str | None = None,
        validation: str | None = None,
        test: str | None = None,
        text: str = "text",
        text_b: str | None = None,
        label: str | None = None,
        domain: str | None = None,
        numeric: bool = False,
        metrics: Sequence[str] | None = None,
        primary: str | None = None,
        holdout: float = 0.1,
        validation_share: float = 0.1,
        test_share: float = 0.1,
        seed: int = 0,
        name: str = "own",
        mass: str | None = None,
    ) -> None:
        kind: TaskKind = (
            "unlabelled" if label is None else "regression" if numeric else "classification"
        )
        usual = {
            "unlabelled": (),
            "regression": ("spearman", "pearson"),
            "classification": ("macro_f1", "accuracy"),
        }
        chosen = tuple(metrics or ()) if kind == "unlabelled" else tuple(metrics or usual[kind])
        super().__init__(name, chosen, primary or next(iter(chosen), None), kind)
        if not 0 <= holdout < 1:
            raise InvalidInput(
                f"task {name!r}: expected task.holdout from 0 to below 1, found {holdout}"
            )
        self.files = {"train": train, "validation": validation, "test": test}
        self.columns = Columns(text, text_b, label, domain, numeric=numeric, mass=mass)
        self.holdout = holdout
        self.shares = {"validation": validation_share, "test": test_share}
        self.seed = seed

    def identity(self, source: Source) -> dict[str, str]:
        """Returns a digest per given file, of its bytes.

        Raises:
            InvalidInput: no train file is given.
            Missing: a file is not there.
        """
        return {
            split: digest([file_digest(path) for path in paths])
            for split, paths in self._paths().items()
        }

    def load(self, source: Source, progress: Progress) -> TaskData:
        """Returns the splits; those without a file are cut from train, as far as they are needed.

        `held_out_texts` counts the test texts of an unlabelled task.

        Raises:
            InvalidInput: no train file is given, a file cannot be read, or there is too little to
            cut from. Missing: a file is not there.
        """
        splits = read_splits(self.name, self._paths(), self.columns, progress)
        return self._unlabelled(splits) if self.kind == "unlabelled" else self._labelled(splits)

    def _unlabelled(self, splits: Splits) -> TaskData:
        train = splits.corpora["train"]
        if "test" not in splits.corpora:
            train, splits.corpora["test"] = self._hold_out(train)
        validation = splits.corpora.get("validation", train.take([]))
        counts = {**splits.counts, "held_out_texts": len(splits.corpora["test"])}
        return self.assemble(train, validation, splits.corpora["test"], counts, splits.quarantined)

    def _hold_out(self, train: Corpus) -> tuple[Corpus, Corpus]:
        """Returns the rest and the texts held out; equal texts stay on one side."""
        texts = sorted(set(train.texts))
        size = 0
        if self.holdout and len(train) >= FEWEST_TO_HOLD_OUT_FROM:
            size = min(max(round(self.holdout * len(texts)), 1), len(texts) - 1)
        # By rank and not, as in `cut`, by hash alone: that may leave a side of so few rows empty.
        held = {texts[row] for row in sample_rows(texts, size, self.seed)}
        out = np.array([text in held for text in train.texts], dtype=bool)
        return train.take(np.flatnonzero(~out)), train.take(np.flatnonzero(out))

    def _labelled(self, splits: Splits) -> TaskData:
        counts, train = Counter(splits.counts), splits.corpora["train"]
        # Test first and with a seed of its own, so that giving a validation file leaves test as it
        # was.
        for offset, split in enumerate(("test", "validation")):
            if split not in splits.corpora:
                train, splits.corpora[split] = self._cut(train, split, self.seed + offset)
                counts[f"{split}_cut_from_train"] = len(splits.corpora[split])
        return self.assemble(
            train, splits.corpora["validation"], splits.corpora["test"], counts, splits.quarantined
        )

    def _cut(self, train: Corpus, split: str, seed: int) -> tuple[Corpus, Corpus]:
        try:
            return cut(train, self.shares[split], seed)
        except InvalidInput as error:
            raise InvalidInput(f"{self.files['train']}: {error}; set task.{split}=FILE") from error

    def _paths(self) -> dict[str, tuple[Path, ...]]:
        if not self.files["train"]:
            raise InvalidInput(
                "task=own: expected a file of target texts, found none; set task.train=FILE"
            )
        return {split: (Path(path),) for split, path in self.files.items() if path}
