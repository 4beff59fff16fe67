"""Exports of annotation tools and chat transcripts as rows with `text` and `label`.

- Label Studio: JSON, a list of tasks with `data` and `annotations` (or `completions`).
- Argilla: JSON or JSON Lines, records with `fields` and `responses` (2.x) or `annotation` (1.x).
- chats: JSON Lines, one conversation each, with `messages` of `role` and `content`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shortlist.data.readers import RejectedRow
from shortlist.errors import InvalidInput, Missing, near


@dataclass(frozen=True)
class Collected:
    """Rows out of an export.

    Attributes:
        rows: `text` and, where there is one, `label`; of chats also `turns`.
        rejected: entries that could not be converted, with their number and the reason.
        counts: number of entries by outcome: `read` = `rows` + `rejected` + `without_label` +
            `skipped` (of chats: `read` = conversations with rows + `rejected`), and `disagreeing`:
            rows whose annotators gave several labels, of which the most frequent was taken.
    """

    rows: tuple[Mapping[str, Any], ...]
    rejected: tuple[RejectedRow, ...]
    counts: Mapping[str, int]


class _Reject(InvalidInput):
    """The entry could not be converted; the message is the reason."""


class _Skip(Exception):
    """The annotator skipped the entry; the message is its key in `counts`."""


def label_studio(path: str | Path, text: str = "text", control: str | None = None) -> Collected:
    """Returns the rows of a Label Studio export.

    Args:
        path: the JSON file.
        text: key of the text in `data`.
        control: `from_name` of the labelling control; None reads all, for an export with one.
    """

    def row(entry: Mapping[str, Any]) -> tuple[str, list[str]]:
        done = mappings(entry.get("annotations") or entry.get("completions"), "annotations")
        kept = [one for one in done if not one.get("was_cancelled")]
        if done and not kept:
            raise _Skip("skipped")
        labels: list[str] = []
        for one in kept:
            for result in mappings(one.get("result"), "result"):
                if control is None or result.get("from_name") == control:
                    labels += choices(result.get("value"))
        return _text(entry.get("data"), text, "data"), labels

    return _collect(Path(path), row)


def argilla(path: str | Path, text: str = "text", question: str | None = None) -> Collected:
    """Returns the rows of an Argilla export.

    Args:
        path: the JSON or JSON Lines file.
        text: name of the field with the text.
        question: name of the question whose answer is the label; None for an export with one.
    """

    def row(entry: Mapping[str, Any]) -> tuple[str, list[str]]:
        if entry.get("status") in ("Discarded", "discarded"):
            raise _Skip("skipped")
        fields = entry.get("fields") or entry.get("inputs") or {"text": entry.get("text")}
        return _text(fields, text, "fields"), _answers(entry, question)

    return _collect(Path(path), row)


def chats(path: str | Path, roles: Sequence[str] = ("user", "assistant")) -> Collected:
    """Returns one row for each conversation: the messages of these roles, a line break apart.

    Args:
        path: JSON Lines with `messages`, each with `role` and `content` (a string or a list of
            parts of which those with `text` are taken).
        roles: whose messages are taken.
    """

    def row(entry: Mapping[str, Any]) -> tuple[str, int]:
        messages = entry.get("messages", entry.get("conversation"))
        if not isinstance(messages, list):
            raise _Reject("expected a list `messages`, found none")
        said: list[str] = []
        for message in messages:
            if not isinstance(message, Mapping) or "role" not in message:
                raise _Reject("expected messages with `role` and `content`")
            if message["role"] in roles:
                said.append(_content(message.get("content")))
        said = [part for part in said if part.strip()]
        if not said:
            raise _Reject(f"no text by {', '.join(roles)}")
        return "\n".join(said), len(said)

    rows: list[Mapping[str, Any]] = []
    rejected: list[RejectedRow] = []
    number = 0
    for number, entry in entries(Path(path)):
        try:
            text, turns = row(_mapping(entry))
        except _Reject as reason:
            rejected.append(RejectedRow(str(path), number, str(reason)))
        else:
            rows.append({"text": text, "turns": turns})
    counts = {"read": len(rows) + len(rejected), "rows": len(rows), "rejected": len(rejected)}
    return Collected(tuple(rows), tuple(rejected), counts)


def _collect(path: Path, row: Any) -> Collected:
    rows: list[Mapping[str, Any]] = []
    rejected: list[RejectedRow] = []
    counts: Counter[str] = Counter()
    for number, entry in entries(path):
        counts["read"] += 1
        try:
            text, labels = row(_mapping(entry))
        except _Skip as outcome:
            counts[str(outcome)] += 1
        except _Reject as reason:
            rejected.append(RejectedRow(str(path), number, str(reason)))
        else:
            if not labels:
                counts["without_label"] += 1
                continue
            votes = Counter(labels)
            most = max(votes.values())
            rows.append(
                {"text": text, "label": min(label for label in votes if votes[label] == most)}
            )
            counts["disagreeing"] += len(votes) > 1
    counts |= {"rows": len(rows), "rejected": len(rejected)}
    return Collected(tuple(rows), tuple(rejected), dict(sorted(counts.items())))


def entries(path: Path) -> Iterator[tuple[int, Any]]:
    """Yields the entries of a JSON list or of JSON Lines with their number from 1."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        beside = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
        raise Missing(
            f"{path}: expected an export, found no file; {near(path.name, beside)}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}: expected JSON in UTF-8, found: {error}") from error
    if text.lstrip().startswith("["):
        try:
            yield from enumerate(json.loads(text), start=1)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(
                f"{path}: expected a JSON list, found: {error}; export it again"
            ) from error
        return
    for number, line in enumerate(text.split("\n"), start=1):  # no other sign ends a line of JSON
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError):
                yield number, None
    if not text.strip():
        raise InvalidInput(f"{path}: expected JSON, found an empty file")


def _mapping(entry: Any) -> Mapping[str, Any]:
    if not isinstance(entry, Mapping):
        raise _Reject("expected a JSON object")
    return entry


def _text(fields: Any, key: str, place: str) -> str:
    if not isinstance(fields, Mapping) or key not in fields:
        known = ", ".join(map(str, fields)) if isinstance(fields, Mapping) else "none"
        raise _Reject(f"expected the text as {place}.{key}, found the keys: {known}")
    value = fields[key]
    if not isinstance(value, str) or not value.strip():
        found = "an empty one" if isinstance(value, str) else type(value).__name__
        raise _Reject(f"{place}.{key}: expected a text, found {found}")
    return value


def mappings(value: Any, name: str) -> list[Mapping[str, Any]]:
    """Returns a list of JSON objects; none for null."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
        raise _Reject(f"expected `{name}` as a list of objects, found {type(value).__name__}")
    return value


def choices(value: Any) -> list[str]:
    """Returns the labels of one result of Label Studio: choices, labels or a rating."""
    if not isinstance(value, Mapping):
        return []
    for key in ("choices", "labels"):
        if isinstance(value.get(key), list):
            return [str(choice) for choice in value[key]]
    return [str(value["rating"])] if "rating" in value else []


def _answers(entry: Mapping[str, Any], question: str | None) -> list[str]:
    """Returns the labels of a record of Argilla, one for each annotator."""
    annotation = entry.get("annotation")
    if annotation is not None:
        return (
            [str(one) for one in annotation] if isinstance(annotation, list) else [str(annotation)]
        )
    labels: list[str] = []
    for name, answers in _by_question(entry.get("responses")):
        if question is None or name == question:
            labels += [str(answer) for answer in answers if answer is not None]
    return labels


def _by_question(responses: Any) -> Iterable[tuple[str, list[Any]]]:
    """Yields (question, answers): exports list them by question or by annotator."""
    if isinstance(responses, Mapping):
        for name, answers in responses.items():
            listed = answers if isinstance(answers, list) else [answers]
            yield name, [one.get("value") if isinstance(one, Mapping) else one for one in listed]
    elif isinstance(responses, list):
        for one in responses:
            if isinstance(one, Mapping) and one.get("status", "submitted") == "submitted":
                values = one.get("values")
                for name, answer in values.items() if isinstance(values, Mapping) else ():
                    yield name, [answer.get("value") if isinstance(answer, Mapping) else answer]


def _content(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, Mapping)]
        return "\n".join(part for part in parts if isinstance(part, str))
    return ""
