"""Corrections of a model's predictions as files hold them.

They come as JSON of Label Studio, rows (JSON Lines, CSV, Parquet) with `text` and `label`, or the
SQLite log of `shortlist serve`. `error` is 1 - p(label), of the probability that the model gave to
the class that the annotator chose. Where only the probability p of another, predicted class is
known, it is p, a lower bound; where no probability is known, 1 or 0 by whether the prediction was
wrong.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from shortlist.data.collections import choices, entries, mappings
from shortlist.data.files import Reading, check_file, open_rows
from shortlist.data.readers import RejectedRow
from shortlist.errors import InvalidInput
from shortlist.kernels.words import PLACEHOLDER

SQLITE = b"SQLite format 3\x00"
SQLITE_SUFFIXES = (".db", ".sqlite", ".sqlite3")
_HIDDEN = r".{0,99}?[\d@:].{0,99}?"  # personal data: each kind has one of these signs
LOG = """
SELECT p.id, p.text, p.label, p.probability, p.model_version, c.time, c.label
FROM predictions AS p JOIN corrections AS c ON c.prediction = p.id ORDER BY c.id
"""


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


def masked_by(text: str, known: Iterable[str]) -> str | None:
    """Returns the first known text that a text is with placeholders in the place of personal data,
    as a log holds it; None where there is none, or where the text is nothing but placeholders.
    Texts are as `compared` returns them.
    """
    pieces = PLACEHOLDER.split(text)
    if len(pieces) == 1 or not any(piece.strip() for piece in pieces):
        return None
    whole = re.compile(_HIDDEN.join(map(re.escape, pieces)))
    for one in known:
        if all(piece in one for piece in pieces) and whole.fullmatch(one):
            return one
    return None


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
        log, size = is_log(path), path.stat().st_size
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    if not size:
        raise InvalidInput(f"{path}: expected corrections, found an empty file")
    if log:
        return _read_log(path, pairs=pairs)
    if path.suffix == ".json":
        return _read_label_studio(path, text)
    return _read_rows(path, text)


def is_log(path: Path) -> bool:
    """Returns whether a path is a file that is an SQLite database, or is named like one."""
    if not path.is_file():
        return False
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
        return (filled("text", text),)
    try:
        first, second = json.loads(text)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"expected two texts as a JSON list, found {text!r:.60}") from error
    return (filled("text", first), str(second))


def _read_log(path: Path, *, pairs: bool) -> Read:
    latest: dict[Any, Correction] = {}
    rejected: list[RejectedRow] = []
    superseded, rows = 0, query(path, LOG)
    for number, (key, text, predicted, probability, model, time, label) in enumerate(rows, 1):
        try:
            first, *second = _inputs(text, pairs=pairs)
            made = Correction(
                first,
                filled("label", label),
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


def filled(name: str, value: Any) -> str:
    """Returns a text or a label.

    Raises:
        InvalidInput: it is no string, or blank.
    """
    if not isinstance(value, str) or not value.strip():
        raise InvalidInput(f"expected a {name}, found {value!r:.60}")
    return value


def _correction(row: Mapping[str, Any], path: Path) -> Correction:
    """Returns the correction in a row as `export` writes it, with the label of a person."""
    text, label = filled("text", row["text"]), row["label"]
    label = filled("label", str(label) if isinstance(label, int | float) else label)
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
        text,
        label,
        text_b=None if second in (None, "") else str(second),
        predicted=None if predicted is None else str(predicted),
        error=error_of(label, predicted, probability, known),
        annotator=str(row.get("annotator") or ""),
        time=str(row.get("time") or ""),
        source=path.name,
        model_version=str(row.get("model_version") or ""),
        record=str(row.get("record") or ""),
    )
