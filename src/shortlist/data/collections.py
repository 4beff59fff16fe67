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
from typing import Any, TypeAlias

from shortlist.data.readers import Reject, RejectedRow, encodable
from shortlist.errors import InvalidInput, Missing, near


@dataclass(frozen=True)
class Collected:
    """Rows out of an export.

    Attributes:
        rows: `text` and, where there is one, `label`; of chats also `turns`.
        rejected: entries that could not be converted, with their number and the reason.
        counts: number of entries by outcome: `read` = `rows` + `rejected` + `without_label` +
            `skipped` (of chats: `read` = conversations with rows + `rejected`), and `disagreeing`:
            rows whose annotators gave several labels, of which the most frequent was taken (of
            equally frequent ones the first in the order of the alphabet). Of chats also
            `messages_of_other_roles`, which are left out of the texts.
    """

    rows: tuple[Mapping[str, Any], ...]
    rejected: tuple[RejectedRow, ...]
    counts: Mapping[str, int]


class _Skip(Exception):
    """The annotator skipped the entry; the message is its key in `counts`."""


Answers: TypeAlias = list[tuple[str | None, list[str]]]  # of each annotator: question, labels


def label_studio(path: str | Path, text: str = "text", control: str | None = None) -> Collected:
    """Returns the rows of a Label Studio export.

    Args:
        path: the JSON file.
        text: key of the text in `data`.
        control: `from_name` of the labelling control; None for an export with one.

    Raises:
        InvalidInput: there is no such control, or there are several and none is named.
    """

    def row(entry: Mapping[str, Any]) -> tuple[str, Answers]:
        done = mappings(entry.get("annotations") or entry.get("completions"), "annotations")
        kept = [one for one in done if not one.get("was_cancelled")]
        if done and not kept:
            raise _Skip("skipped")
        answers: Answers = []
        for one in kept:
            given: dict[str, list[str]] = {}
            for result in mappings(one.get("result"), "result"):
                given.setdefault(str(result.get("from_name")), []).extend(
                    choices(result.get("value"))
                )
            answers += given.items()
        return _text(entry.get("data"), text, "data"), answers

    return _collect(Path(path), row, control)


def argilla(path: str | Path, text: str = "text", question: str | None = None) -> Collected:
    """Returns the rows of an Argilla export.

    Args:
        path: the JSON or JSON Lines file.
        text: name of the field with the text.
        question: name of the question whose answer is the label; None for an export with one.
            Records of 1.x have one question without a name, which is taken in any case.

    Raises:
        InvalidInput: there is no such question, or there are several and none is named.
    """

    def row(entry: Mapping[str, Any]) -> tuple[str, Answers]:
        if entry.get("status") in ("Discarded", "discarded"):
            raise _Skip("skipped")
        fields = entry.get("fields") or entry.get("inputs") or {"text": entry.get("text")}
        return _text(fields, text, "fields"), list(_answers(entry))

    return _collect(Path(path), row, question)


def chats(path: str | Path, roles: Sequence[str] = ("user", "assistant")) -> Collected:
    """Returns one row for each conversation: the messages of these roles, a line break apart.

    Args:
        path: JSON Lines with `messages`, each with `role` and `content` (a string or a list of
            parts of which those with `text` are taken).
        roles: whose messages are taken.
    """
    others = 0

    def row(entry: Mapping[str, Any]) -> tuple[str, int, int]:
        messages = entry.get("messages", entry.get("conversation"))
        if not isinstance(messages, list):
            raise Reject("expected a list `messages`, found none")
        said: list[str] = []
        for message in messages:
            if not isinstance(message, Mapping) or "role" not in message:
                raise Reject("expected messages with `role` and `content`")
            if message["role"] in roles:
                said.append(_content(message.get("content")))
        said = [part for part in said if part.strip()]
        if not said:
            raise Reject(f"no text by {', '.join(roles)}")
        whole = encodable("\n".join(said), "messages")
        return whole, len(said), sum(message["role"] not in roles for message in messages)

    rows: list[Mapping[str, Any]] = []
    rejected: list[RejectedRow] = []
    number = 0
    for number, entry in entries(Path(path)):
        try:
            text, turns, left_out = row(_mapping(entry))
        except Reject as reason:
            rejected.append(RejectedRow(str(path), number, str(reason)))
        else:
            rows.append({"text": text, "turns": turns})
            others += left_out
    counts = {"read": len(rows) + len(rejected), "rows": len(rows), "rejected": len(rejected)}
    counts |= {"messages_of_other_roles": others} if others else {}
    return Collected(tuple(rows), tuple(rejected), counts)


def _collect(path: Path, row: Any, question: str | None) -> Collected:
    asked: set[str] = set()
    rows: list[Mapping[str, Any]] = []
    rejected: list[RejectedRow] = []
    counts: Counter[str] = Counter()
    for number, entry in entries(path):
        counts["read"] += 1
        try:
            text, answers = row(_mapping(entry))
            asked.update(name for name, labels in answers if labels and name is not None)
            labels = [
                _one_label(given)
                for name, given in answers
                if given and (question is None or name is None or name == question)
            ]
        except _Skip as outcome:
            counts[str(outcome)] += 1
        except Reject as reason:
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
    if question is None and len(asked) > 1:
        raise InvalidInput(
            f"{path}: expected answers to one question, found answers to {', '.join(sorted(asked))}; "
            "name one with --question"
        )
    if question is not None and asked and question not in asked:
        raise InvalidInput(
            f"{path}: expected answers to the question {question!r}, found none; "
            f"{near(question, asked)}"
        )
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
        raise Reject("expected a JSON object")
    return entry


def _text(fields: Any, key: str, place: str) -> str:
    if not isinstance(fields, Mapping) or key not in fields:
        known = ", ".join(map(str, fields)) if isinstance(fields, Mapping) else "none"
        raise Reject(f"expected the text as {place}.{key}, found the keys: {known}")
    value = fields[key]
    if not isinstance(value, str) or not value.strip():
        found = "an empty one" if isinstance(value, str) else type(value).__name__
        raise Reject(f"{place}.{key}: expected a text, found {found}")
    return encodable(value, f"{place}.{key}")


def _one_label(given: Sequence[str]) -> str:
    """Returns the label of one annotator, who may have given it several times."""
    if len(set(given)) > 1:
        raise Reject(f"expected one label of each annotator, found {', '.join(sorted(set(given)))}")
    return encodable(given[0], "label")


def mappings(value: Any, name: str) -> list[Mapping[str, Any]]:
    """Returns a list of JSON objects; none for null."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
        raise Reject(f"expected `{name}` as a list of objects, found {type(value).__name__}")
    return value


def choices(value: Any) -> list[str]:
    """Returns the labels of one result of Label Studio: choices, labels or a rating."""
    if not isinstance(value, Mapping):
        return []
    for key in ("choices", "labels"):
        if isinstance(value.get(key), list):
            return [str(choice) for choice in value[key]]
    return [str(value["rating"])] if "rating" in value else []


def _answers(entry: Mapping[str, Any]) -> Iterator[tuple[str | None, list[str]]]:
    """Yields question and labels of each annotator of a record of Argilla."""
    annotation = entry.get("annotation")
    if annotation is not None:
        yield None, _labels(annotation)
        return
    for name, answers in _by_question(entry.get("responses")):
        for answer in answers:
            yield name, _labels(answer)


def _labels(answer: Any) -> list[str]:
    given = answer if isinstance(answer, list) else [answer]
    for one in given:
        if isinstance(one, list | Mapping):
            raise Reject(f"expected a label as an answer, found {type(one).__name__}")
    return [str(one) for one in given if one is not None]


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
