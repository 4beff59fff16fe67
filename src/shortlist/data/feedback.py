"""Corrections of a model's predictions: screened against a task, joined to its training split."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from shortlist.core import Corpus, digest
from shortlist.core.typed import typed
from shortlist.data.corrections import Correction, compared, filled, in_words, masked_by
from shortlist.data.files import Reading, check_file, open_rows
from shortlist.data.splits import PROTECTED, TaskData
from shortlist.errors import InvalidInput, near

FATES = (
    "unknown_label", "repeats_test", "repeats_validation", "conflicting", "already_in_train", "copies",
)  # fmt: skip
ORDER = tuple(reversed(PROTECTED))  # test first


@dataclass(frozen=True)
class Screened:
    """Corrections after their comparison with a task and with each other.

    Attributes:
        kept: those that can join the training split.
        counts: number of the others by fate, one of `FATES`, of which the first that applies
            counts.
        left_out: the others as plain data, each with its `fate` and what it contradicts or repeats.
    """

    kept: tuple[Correction, ...]
    counts: Mapping[str, int]
    left_out: tuple[Mapping[str, Any], ...]


def feedback_lines(corrections: Iterable[Correction]) -> str:
    """Returns the file that `read_feedback` reads: a JSON object a line, empty fields left out."""
    rows = ({k: v for k, v in asdict(one).items() if v not in (None, "")} for one in corrections)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read_feedback(path: Path) -> tuple[Correction, ...]:
    """Returns the corrections in a file of `shortlist feedback import`.

    Raises:
        Missing: there is no such file.
        InvalidInput: a line is not one of it, or there is none.
    """
    check_file(path)
    found: list[Correction] = []
    for number, row in open_rows(path, Reading()).rows:
        where = f"{path}, line {number}"
        if isinstance(row, str):
            raise InvalidInput(f"{where}: {row}; import the corrections again")
        try:
            made: Correction = typed(Correction, dict(row), "")
            filled("text", made.text)
            filled("label", made.label)
            if made.error is not None and not 0 <= made.error <= 1:
                raise InvalidInput(f"expected an error from 0 to 1, found {made.error!r}")
            if made.round < 1:
                raise InvalidInput(f"expected a round of 1 or more, found {made.round!r}")
        except InvalidInput as error:
            raise InvalidInput(f"{where}: {error}; import the corrections again") from error
        found.append(made)
    if not found:
        raise InvalidInput(f"{path}: expected corrections, found none; import some first")
    return tuple(found)


def fingerprint(corrections: Iterable[Correction]) -> str:
    """Returns a hash of corrections that does not depend on their order."""
    return digest(sorted(json.dumps(asdict(one), sort_keys=True) for one in corrections))


def keys_of(texts: Iterable[str], data: TaskData) -> list[str]:
    """Returns what makes texts equal to each other and to those of a task: `compared`, of the text
    of the task where a text is one with masked personal data (`masked_by`), test first.
    """
    known = dict.fromkeys(
        compared(text) for split in (*ORDER, "train") for text in data.split(split).joined()
    )
    return [masked_by(one, known) or one for one in map(compared, texts)]


def screen(corrections: Sequence[Correction], data: TaskData) -> Screened:
    """Returns which corrections can join the training split of a task.

    Left out are labels that are no class of the task; texts that equal or nearly copy
    (`near_copies`) one of the test or the validation split; all corrections of a text with several
    labels, those of the training split included; texts that train has with the same label; and all
    but the first of equal corrections. Texts are equal up to white space, and up to personal data
    that a log has masked. The order of the corrections decides nothing else.
    """
    from shortlist.data.near_copies import near_copies  # numba takes a third of a second to import

    texts = [one.joined for one in corrections]
    fates: dict[int, tuple[str, Any]] = {}
    labels = data.labels or ()
    for row, one in enumerate(corrections):
        if one.label not in labels:
            fates[row] = ("unknown_label", one.label)
    keys = keys_of(texts, data)
    for split in ORDER:
        held = data.split(split).joined()
        equal = {compared(text): text for text in held}
        for row, key in enumerate(keys):
            if key in equal:
                fates.setdefault(row, (f"repeats_{split}", equal[key]))
        for pair in near_copies(texts, held) if texts and held else ():
            fates.setdefault(pair.row, (f"repeats_{split}", held[pair.of]))
    given: dict[str, set[str]] = {}
    for text, label in zip(data.train.joined(), data.train.labels or (), strict=True):
        given.setdefault(compared(text), set()).add(str(label))
    trained = {text: set(known) for text, known in given.items()}
    for row, one in enumerate(corrections):
        if row not in fates:
            given.setdefault(keys[row], set()).add(one.label)
    kept: dict[tuple[str, str], Correction] = {}
    for row, one in enumerate(corrections):
        if row in fates:
            continue
        if len(given[keys[row]]) > 1:
            fates[row] = ("conflicting", sorted(given[keys[row]]))
        elif keys[row] in trained:
            fates[row] = ("already_in_train", one.label)
        elif (keys[row], one.label) in kept:
            fates[row] = ("copies", one.label)
        else:
            kept[keys[row], one.label] = one
    counts = Counter(fate for fate, _ in fates.values())
    left_out = tuple(
        {**asdict(corrections[row]), "fate": fate, "against": against}
        for row, (fate, against) in sorted(fates.items())
    )
    return Screened(tuple(kept.values()), {name: counts[name] for name in FATES}, left_out)


@dataclass(frozen=True)
class Feedback:
    """The corrections that join the training split of a task.

    Attributes:
        path: the file of `shortlist feedback import`.
        weight: how much more a text counts in the target of a selection that the model is surely
            wrong about: the mass of a correction is 1 + weight * error, of other texts 1.
    """

    path: Path
    weight: float

    def masses(self, corrections: Sequence[Correction]) -> list[float]:
        """Returns the mass of each correction; one of unknown error counts as other texts do."""
        return [1 + self.weight * (one.error or 0.0) for one in corrections]

    def join(self, name: str, data: TaskData) -> tuple[TaskData, dict[str, Any]]:
        """Returns the task with the corrections in its training split and its target, and facts for
        the record; the other splits stay as they are.

        The rows are screened again, because the splits of a fold are others.

        Args:
            name: the task's name.
            data: its splits.

        Raises:
            InvalidInput: the file is broken or of another task, or none of its rows can join.
        """
        rows = read_feedback(self.path)
        pairs = data.train.texts_b is not None
        for number, one in enumerate(rows, start=1):
            if one.label not in (data.labels or ()):
                raise InvalidInput(
                    f"{self.path}, line {number}: expected a class of task {name}, found {one.label!r}; "
                    f"{near(one.label, data.labels or ())}"
                )
            if (one.text_b is not None) != pairs:
                raise InvalidInput(
                    f"{self.path}, line {number}: expected {'pairs of texts' if pairs else 'one text'}, "
                    f"as task {name} has, found {'one text' if pairs else 'a pair'}"
                )
        done = screen(rows, data)
        if not done.kept:
            raise InvalidInput(
                f"{self.path}: expected rows that can join the training split of task {name}, found "
                f"none of {len(rows):,} ({in_words(done.counts)}); set task.feedback=null"
            )
        kept = done.kept
        train = _with_rows(data.train, kept, self._masses(data.train, kept), labelled=True)
        target = _with_rows(data.target, kept, self._masses(data.target, kept), labelled=False)
        counts = {"joined": len(kept), "train": len(train)}
        counts |= {fate: n for fate, n in done.counts.items() if n}
        errors = [one.error for one in kept if one.error is not None]
        facts = {
            "round": max(one.round for one in rows),
            "rows": len(rows),
            "joined": len(kept),
            "left_out": {fate: n for fate, n in done.counts.items() if n},
            "rounds": _counted(str(one.round) for one in kept),
            "annotators": _counted(one.annotator for one in kept),
            "model_versions": _counted(one.model_version for one in kept),
            "sources": _counted(one.source for one in kept),
            "wrong": sum(one.predicted not in (None, one.label) for one in kept),
            "mean_error": float(np.mean(errors)) if errors else None,
            "weight": self.weight,
            "fingerprint": fingerprint(rows),
        }
        return replace(data, train=train, target=target, counts=counts, quarantined=()), facts

    def _masses(self, corpus: Corpus, kept: Sequence[Correction]) -> list[float] | None:
        """Returns the masses of a corpus and the corrections after it; None where all are alike.
        What is 1 for the corrections is the mean mass of the corpus.
        """
        if corpus.masses is None and self.weight == 0:
            return None
        own = np.ones(len(corpus)) if corpus.masses is None else corpus.masses
        unit = float(own.mean())
        return [*own.tolist(), *(unit * mass for mass in self.masses(kept))]


def _with_rows(
    corpus: Corpus, kept: Sequence[Correction], masses: list[float] | None, *, labelled: bool
) -> Corpus:
    """Returns a corpus with corrections after its rows, sorted by id."""
    domains = set(corpus.domains)
    domain = domains.pop() if len(domains) == 1 else "feedback"
    pairs = labelled and corpus.texts_b is not None
    return Corpus.build(
        [*corpus.texts, *((one.text if pairs else one.joined) for one in kept)],
        [*corpus.domains, *[domain] * len(kept)],
        texts_b=[*(corpus.texts_b or ()), *(one.text_b for one in kept)] if pairs else None,  # type: ignore[list-item]
        labels=[*(corpus.labels or ()), *(one.label for one in kept)] if labelled else None,
        masses=masses,
    ).canonical()


def _counted(values: Iterator[str]) -> dict[str, int]:
    return dict(sorted(Counter(value or "not known" for value in values).items()))
