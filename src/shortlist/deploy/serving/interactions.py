"""Predictions and corrections in an SQLite file, written only if asked for, without personal data.

Table `predictions(id, time, text, label, probability, model_version, data_version)`: `text` with
placeholders such as `[EMAIL_1]` in the place of personal data (`prepare.anonymise`), of two texts a
JSON list; `label` a class, or JSON: a list of classes or tags, a number; `probability` null where
there is no single one. Table `corrections(id, time, prediction, label)`: `prediction` is the id in
the first table; the latest correction of a prediction counts. Times are UTC, ISO 8601.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shortlist.errors import InvalidInput
from shortlist.prepare.anonymise import by_patterns
from shortlist.prepare.base import Text

COLUMNS = {
    "predictions": ("id", "time", "text", "label", "probability", "model_version", "data_version"),
    "corrections": ("id", "time", "prediction", "label"),
}
TABLES = """
CREATE TABLE IF NOT EXISTS predictions(
    id TEXT PRIMARY KEY, time TEXT NOT NULL, text TEXT NOT NULL, label TEXT NOT NULL, probability REAL,
    model_version TEXT NOT NULL, data_version TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS corrections(
    id INTEGER PRIMARY KEY, time TEXT NOT NULL, prediction TEXT NOT NULL REFERENCES predictions(id),
    label TEXT NOT NULL);
"""


def written(label: str | float | Sequence[str]) -> str:
    """Returns a label as the tables hold it: a class as it is, everything else as JSON."""
    return label if isinstance(label, str) else json.dumps(label, ensure_ascii=False)


class Interactions:
    """The file; all methods must be called in one thread."""

    def __init__(self, path: Path, model_version: str, data_version: str) -> None:
        """Opens the file, with its tables where it is new.

        Args:
            path: the file.
            model_version: of the model that predicts.
            data_version: likewise.

        Raises:
            InvalidInput: it is not such a file, or cannot be written.
        """
        self._versions = (model_version, data_version)
        self._mask = by_patterns()
        try:
            self._file = sqlite3.connect(path)
            self._file.execute("PRAGMA journal_mode=WAL")
            self._file.executescript(TABLES)
            for table, columns in COLUMNS.items():
                found = tuple(row[1] for row in self._file.execute(f"PRAGMA table_info({table})"))
                if found != columns:
                    raise InvalidInput(
                        f"--log {path}: expected a table {table} with {', '.join(columns)}, found "
                        f"{', '.join(found)}; choose another file"
                    )
        except sqlite3.Error as error:
            raise InvalidInput(
                f"--log {path}: expected an SQLite file that can be written, found: {error}; choose "
                "another file"
            ) from error

    def masked(self, text: str) -> str:
        """Returns a text with placeholders in the place of personal data."""
        return self._mask.apply(Text(text)).text

    def add(self, rows: Sequence[tuple[str, Sequence[str], Any, float | None]]) -> None:
        """Adds predictions: id, text or both texts, label, probability.

        Raises:
            sqlite3.Error: they cannot be written.
        """
        now = _now()
        entries = [
            (id_, now, _joined([self.masked(text) for text in texts]), written(label), probability)
            for id_, texts, label, probability in rows
        ]
        with self._file:
            self._file.executemany(
                "INSERT INTO predictions VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(*entry, *self._versions) for entry in entries],
            )

    def correct(self, prediction: str, label: str | float | Sequence[str]) -> bool:
        """Returns whether the correction was added: False where there is no such prediction.

        Raises:
            sqlite3.Error: it cannot be written.
        """
        with self._file:
            known = self._file.execute("SELECT 1 FROM predictions WHERE id = ?", (prediction,))
            if known.fetchone() is None:
                return False
            self._file.execute(
                "INSERT INTO corrections(time, prediction, label) VALUES (?, ?, ?)",
                (_now(), prediction, written(label)),
            )
        return True

    def close(self) -> None:
        """Closes the file, all of it in one file."""
        self._file.close()


def _joined(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else json.dumps(texts, ensure_ascii=False)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
