"""Corrections of a model's predictions: read, screened against a task, joined to its training split.

They come as JSON of Label Studio, rows (JSON Lines, CSV, Parquet) with `text` and `label`, or the
SQLite log of `shortlist serve`. `error` is 1 - p(label), of the probability that the model gave to
the class that the annotator chose. Where only the probability p of another, predicted class is
known, it is p, a lower bound; where no probability is known, 1 or 0 by whether the prediction was
wrong.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from shortlist.core import Corpus, digest
from shortlist.core.typed import typed
from shortlist.data.collections import choices, entries, mappings
from shortlist.data.files import Reading, check_file, open_rows
from shortlist.data.readers import RejectedRow
from shortlist.data.splits import PROTECTED, TaskData
from shortlist.errors import InvalidInput, near

SQLITE = b"SQLite format 3\x00"
SQLITE_SUFFIXES = (".db", ".sqlite", ".sqlite3")
LOG = """
SELECT p.id, p.text, p.label, p.probability, p.model_version, c.time, c.label
FROM predictions AS p JOIN corrections AS c ON c.prediction = p.id ORDER BY c.id
"""
FATES = (
    "unknown_label", "repeats_test", "repeats_validation", "conflicting", "already_in_train", "copies",
)  # fmt: skip


@dataclass(frozen=True)
class Correction:
    """A text with the label that a person gave it.

    Attributes:
        text: the text, or the first of a pair.
        label: its class.
        text_b: the second text of a pair.
        round: the round of feedback that it came in, from 1.
        predicted: the class that the model predicted; None where it is not known.
        error: 1 - p(label), see the module; None where no prediction is known.
        annotator: who corrected; empty where it is not said.
        time: when, as the source says it.
        source: the file that it was read from.
        model_version: the model that predicted.
        record: key of the record of the run whose model predicted.
    """

    text: str
    label: str
    text_b: str | None = None
    round: int = 1
    predicted: str | None = None
    error: float | None = None
    annotator: str = ""
    time: str = ""
    source: str = ""
    model_version: str = ""
    record: str = ""

    @property
    def joined(self) -> str:
        """The text; those of a pair with a line break between them."""
        return self.text if self.text_b is None else f"{self.text}\n{self.text_b}"

    @property
    def compared(self) -> str:
        """What makes two texts equal: the joined text with one space in place of white space."""
        return compared(self.joined)


def compared(text: str) -> str:
    """Returns a text with one space in place of white space, as it is compared with others."""
    return " ".join(text.split())


def in_words(counts: Mapping[str, int]) -> str:
    """Returns the counts that are not 0, for a message."""
    return ", ".join(f"{n:,} {fate}" for fate, n in counts.items() if n)


@dataclass(frozen=True)
class Read:
    """Corrections out of a file.

    Attributes:
        corrections: the corrections, in the order of the file.
        rejected: entries that are no corrections, with their number and the reason.
        counts: entries by fate: `read` = `corrections` + `rejected` + `without_label` + `skipped` +
            `superseded` (a prediction of a log that was corrected again: the last one stands).
    """

    corrections: tuple[Correction, ...]
    rejected: tuple[RejectedRow, ...]
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Screened:
    """Corrections after their comparison with a task and with each other.

    Attributes:
        kept: those that can join the training split.
        counts: number of the others by fate, one of `FATES`, of which the first that applies counts.
        left_out: the others as plain data, each with its `fate` and what it contradicts or repeats.
    """

    kept: tuple[Correction, ...]
    counts: Mapping[str, int]
    left_out: tuple[Mapping[str, Any], ...]


def error_of(label: str, predicted: str | None, probability: float | None,
             probabilities: Mapping[str, Any] | None = None) -> float | None:  # fmt: skip
    """Returns the error of a prediction, given the right class; see the module.

    Args:
        label: the right class.
        predicted: the predicted class.
        probability: its probability.
        probabilities: the probabilities of all classes, where they are known.

    Raises:
        InvalidInput: a probability is no number from 0 to 1.
    """
    known = (probabilities or {}).get(label)
    for value in (probability, known):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (number and 0 <= value <= 1):
            raise InvalidInput(f"expected a probability from 0 to 1, found {value!r}")
    if known is not None:
        return 1 - float(known)
    if predicted is None:
        return None
    right = predicted == label
    if probability is None:
        return 0.0 if right else 1.0
    return 1 - float(probability) if right else float(probability)


def read_corrections(path: Path, text: str = "text", *, pairs: bool = False) -> Read:
    """Returns the corrections in a file; its kind is told from its contents.

    Args:
        path: an export of Label Studio, rows, or the log of `shortlist serve`.
        text: key or column of the text.
        pairs: whether an input is two texts, which a log holds as a JSON list.

    Raises:
        Missing: there is no such file.
        InvalidInput: the file is empty or damaged, or of another kind.
    """
    check_file(path)
    try:
        with path.open("rb") as file:
            start = file.read(len(SQLITE))
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    if not start:
        raise InvalidInput(f"{path}: expected corrections, found an empty file")
    if is_log(path):
        return _read_log(path, pairs=pairs)
    if path.suffix == ".json":
        return _read_label_studio(path, text)
    return _read_rows(path, text)


def is_log(path: Path) -> bool:
    """Returns whether a file is an SQLite database, or is named like one."""
    with path.open("rb") as file:
        return file.read(len(SQLITE)) == SQLITE or path.suffix in SQLITE_SUFFIXES


def query(path: Path, statement: str) -> list[tuple[Any, ...]]:
    """Returns the rows that a statement reads from a log, which is opened read-only.

    Raises:
        InvalidInput: the file is damaged, or has other tables.
    """
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as log:
            return log.execute(statement).fetchall()
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"{path}: expected the log of shortlist serve --log (tables predictions and corrections), "
            f"found: {error}; copy it again while the server is stopped"
        ) from error


def served_texts(path: Path, *, pairs: bool) -> list[tuple[str, ...]]:
    """Returns the text, or both texts, of all predictions in a log, in order.

    Args:
        path: the log.
        pairs: whether an input is two texts, which the log holds as a JSON list.

    Raises:
        InvalidInput: as `query`; or there is something else in the place of a text.
    """
    found: list[tuple[str, ...]] = []
    rows = query(path, "SELECT text FROM predictions ORDER BY rowid")
    for number, (text,) in enumerate(rows, start=1):
        try:
            found.append(_inputs(text, pairs=pairs))
        except InvalidInput as error:
            raise InvalidInput(f"{path}, prediction {number}: {error}") from error
    return found


def _inputs(text: Any, *, pairs: bool) -> tuple[str, ...]:
    """Returns the text or both texts of an entry of a log."""
    if not pairs:
        return (_text_and_label(text, "none")[0],)
    try:
        first, second = json.loads(text)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"expected two texts as a JSON list, found {text!r:.60}") from error
    return (_text_and_label(first, "none")[0], str(second))


def _read_log(path: Path, *, pairs: bool) -> Read:
    latest: dict[Any, Correction] = {}
    rejected: list[RejectedRow] = []
    superseded, rows = 0, query(path, LOG)
    for number, (key, text, predicted, probability, model, time, label) in enumerate(rows, 1):
        try:
            first, *second = _inputs(text, pairs=pairs)
            made = Correction(
                *_text_and_label(first, label),
                text_b=second[0] if second else None,
                predicted=None if predicted is None else str(predicted),
                error=error_of(label, predicted, probability),
                time=str(time or ""),
                source=path.name,
                model_version=str(model or ""),
            )
        except InvalidInput as error:
            rejected.append(RejectedRow(str(path), number, str(error)))
        else:
            superseded += latest.pop(key, None) is not None
            latest[key] = made
    if not rows:
        raise InvalidInput(f"{path}: expected corrections, found a log without any")
    return _read(latest.values(), rejected, {"read": len(rows), "superseded": superseded})


def _read_label_studio(path: Path, text: str) -> Read:
    found: list[Correction] = []
    rejected: list[RejectedRow] = []
    counts: Counter[str] = Counter()
    for number, entry in entries(path):
        try:
            data = entry.get("data") if isinstance(entry, Mapping) else None
            if not isinstance(data, Mapping):
                raise InvalidInput("expected a task of Label Studio with `data`")
            done = mappings(entry.get("annotations") or entry.get("completions"), "annotations")
        except InvalidInput as error:
            counts["read"] += 1
            rejected.append(RejectedRow(str(path), number, str(error)))
            continue
        counts["read"] += max(len(done), 1)
        counts["without_label"] += not done
        for annotation in done:
            if annotation.get("was_cancelled"):
                counts["skipped"] += 1
                continue
            try:
                row = _annotated(annotation)
                if row is None:
                    counts["without_label"] += 1
                else:
                    found.append(_correction({**data, "text": data.get(text), **row}, path))
            except InvalidInput as error:
                rejected.append(RejectedRow(str(path), number, str(error)))
    if not counts["read"]:
        raise InvalidInput(f"{path}: expected tasks of Label Studio, found an empty list")
    return _read(found, rejected, counts)


def _annotated(annotation: Mapping[str, Any]) -> dict[str, str] | None:
    """Returns label, annotator and time of an annotation of Label Studio; None without a label."""
    results = mappings(annotation.get("result"), "result")
    labels = [label for one in results for label in choices(one.get("value"))]
    if not labels:
        return None
    if len(labels) > 1:
        raise InvalidInput(f"expected one class, found {', '.join(labels)}")
    who = annotation.get("completed_by") or ""
    if isinstance(who, Mapping):
        who = who.get("email") or who.get("id") or ""
    time = annotation.get("updated_at") or annotation.get("created_at") or ""
    return {"label": labels[0], "annotator": str(who), "time": str(time)}


def _read_rows(path: Path, text: str) -> Read:
    found: list[Correction] = []
    rejected: list[RejectedRow] = []
    counts: Counter[str] = Counter()
    for number, row in open_rows(path, Reading()).rows:
        counts["read"] += 1
        try:
            if isinstance(row, str):
                raise InvalidInput(row)
            if text not in row or "label" not in row:
                raise InvalidInput(
                    f"expected the columns {text} and label, found {', '.join(map(str, row))}"
                )
            if row["label"] is None or str(row["label"]).strip() == "":
                counts["without_label"] += 1
                continue
            found.append(_correction({**row, "text": row[text]}, path))
        except InvalidInput as error:
            rejected.append(RejectedRow(str(path), number, str(error)))
    if not counts["read"]:
        raise InvalidInput(f"{path}: expected corrections, found no row")
    return _read(found, rejected, counts)


def _read(
    corrections: Iterable[Correction], rejected: Sequence[RejectedRow], counts: Mapping[str, int]
) -> Read:
    kept = tuple(corrections)
    counts = {**counts, "corrections": len(kept), "rejected": len(rejected)}
    return Read(kept, tuple(rejected), {name: n for name, n in sorted(counts.items()) if n})


def _text_and_label(text: Any, label: Any) -> tuple[str, str]:
    for name, value in (("text", text), ("label", label)):
        if not isinstance(value, str) or not value.strip():
            raise InvalidInput(f"expected a {name}, found {value!r:.60}")
    return text, label


def _correction(row: Mapping[str, Any], path: Path) -> Correction:
    """Returns the correction in a row as `export` writes it, with the label of a person."""
    label = row["label"]
    made = _text_and_label(row["text"], str(label) if isinstance(label, int | float) else label)
    predicted = row.get("predicted") or None
    known = row.get("probabilities")
    if isinstance(known, str):
        try:
            known = json.loads(known) if known.strip() else None
        except ValueError as error:
            raise InvalidInput(
                f"expected probabilities as a JSON object, found {known!r:.60}"
            ) from error
    if known is not None and not isinstance(known, Mapping):
        raise InvalidInput(f"expected probabilities as a JSON object, found {known!r:.60}")
    probability: Any = row.get("probability")
    if isinstance(probability, str):
        try:
            probability = float(probability) if probability.strip() else None
        except ValueError as error:
            raise InvalidInput(f"expected a probability, found {probability!r:.60}") from error
    second = row.get("text_b")
    return Correction(
        *made,
        text_b=None if second in (None, "") else str(second),
        predicted=None if predicted is None else str(predicted),
        error=error_of(made[1], predicted, probability, known),
        annotator=str(row.get("annotator") or ""),
        time=str(row.get("time") or ""),
        source=path.name,
        model_version=str(row.get("model_version") or ""),
        record=str(row.get("record") or ""),
    )


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
            _text_and_label(made.text, made.label)
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


def screen(corrections: Sequence[Correction], data: TaskData) -> Screened:
    """Returns which corrections can join the training split of a task.

    Left out are labels that are no class of the task; texts that equal or nearly copy (`near_copies`)
    one of the test or the validation split; all corrections of a text with several labels, those of
    the training split included; texts that train has with the same label; and all but the first
    of equal corrections. Texts are equal up to white space. The order of the corrections decides
    nothing else.
    """
    from shortlist.data.near_copies import near_copies  # numba takes a third of a second to import

    texts = [one.joined for one in corrections]
    fates: dict[int, tuple[str, Any]] = {}
    labels = data.labels or ()
    for row, one in enumerate(corrections):
        if one.label not in labels:
            fates[row] = ("unknown_label", one.label)
    for split in reversed(PROTECTED):  # test first
        held = data.split(split).joined()
        equal = {compared(text): text for text in held}
        for row, one in enumerate(corrections):
            if one.compared in equal:
                fates.setdefault(row, (f"repeats_{split}", equal[one.compared]))
        for pair in near_copies(texts, held) if texts and held else ():
            fates.setdefault(pair.row, (f"repeats_{split}", held[pair.of]))
    given: dict[str, set[str]] = {}
    for text, label in zip(data.train.joined(), data.train.labels or (), strict=True):
        given.setdefault(compared(text), set()).add(str(label))
    trained = {text: set(known) for text, known in given.items()}
    for row, one in enumerate(corrections):
        if row not in fates:
            given.setdefault(one.compared, set()).add(one.label)
    kept: dict[tuple[str, str], Correction] = {}
    for row, one in enumerate(corrections):
        if row in fates:
            continue
        if len(given[one.compared]) > 1:
            fates[row] = ("conflicting", sorted(given[one.compared]))
        elif one.compared in trained:
            fates[row] = ("already_in_train", one.label)
        elif (one.compared, one.label) in kept:
            fates[row] = ("copies", one.label)
        else:
            kept[one.compared, one.label] = one
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
        """Returns the masses of a corpus and the corrections after it; None where all are alike. What
        is 1 for the corrections is the mean mass of the corpus.
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
