"""From a file to a corpus: which rows are documents, and what is said of those that are not."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from shortlist.core import Corpus, added_masses
from shortlist.data.formats import raw_rows, readable_suffix
from shortlist.data.quarantine import BadRow, Loaded
from shortlist.data.taken import Sieve, Taken
from shortlist.errors import InvalidInput


class _Bad(Exception):
    """A row that is no document; the message is the reason."""


@dataclass(frozen=True)
class Columns:
    """Which columns of a file hold what.

    Attributes:
        text: the text, or the first text of a pair.
        text_b: the second text of a pair.
        label: the label; rows without one are quarantined.
        domain: the domain; rows without one take the default.
        names: class names by integer, where the file holds integers.
        numeric: whether labels are numbers (a regression) instead of classes.
        mass: how much a document counts; rows without a number of 0 or more are quarantined.
        licence: its licence, for the report; rows without one have none.
        toxicity: its toxicity, for the report; rows without a number from 0 to 1 are quarantined.
    """

    text: str = "text"
    text_b: str | None = None
    label: str | None = None
    domain: str | None = None
    names: tuple[str, ...] | None = None
    numeric: bool = False
    mass: str | None = None
    licence: str | None = None
    toxicity: str | None = None


@dataclass
class _Rows:
    """Columns of the rows kept so far."""

    texts: list[str] = field(default_factory=list)
    texts_b: list[str] = field(default_factory=list)
    labels: list[Any] = field(default_factory=list)
    domains: list[str] = field(default_factory=list)
    masses: list[float] = field(default_factory=list)
    licences: list[str] = field(default_factory=list)
    toxicities: list[float] = field(default_factory=list)


def read(
    path: str | Path,
    *,
    text: str = "text",
    text_b: str | None = None,
    label: str | None = None,
    domain: str | None = None,
    names: Sequence[str] | None = None,
    numeric: bool = False,
    default_domain: str = "",
    keep_copies: bool = False,
) -> Loaded:
    """Returns the documents of one file in the order of its rows, and what was set aside.

    Args:
        path: a file of one of the formats in `formats.READABLE`.
        text: column of the text.
        text_b: column of the second text of a pair.
        label: column of the label.
        domain: column of the domain.
        names: class names by integer, where the label column holds integers.
        numeric: whether labels are numbers (a regression).
        default_domain: domain of rows that name none.
        keep_copies: keep rows that repeat an earlier one (a published test set) instead of dropping
            them.

    Raises:
        Missing: there is no such file.
        InvalidInput: the file cannot be read, holds no row, has no text column, or every row is
        bad.
    """
    columns = Columns(text, text_b, label, domain, None if names is None else tuple(names), numeric)
    return read_files([path], columns, default_domain=default_domain, keep_copies=keep_copies)


def read_files(
    paths: Iterable[str | Path],
    columns: Columns,
    *,
    default_domain: str = "",
    keep_copies: bool = False,
    taken: Taken | None = None,
) -> Loaded:
    """Returns the documents of several files as of one, `taken` of their rows; see `read`.

    The mass of a row that repeats an earlier one is added to that one's.

    Raises:
        InvalidInput: also where no row holds a value that `taken.only` asks for.
    """
    rows, bad, seen, copies = _Rows(), list[BadRow](), set[tuple[Any, ...]](), 0
    sieve = Sieve(taken or Taken())
    every: list[tuple[tuple[Any, ...], float]] = []
    for path in paths:
        for document in _documents(Path(path), columns, default_domain, bad, sieve):
            if columns.mass and not keep_copies:
                every.append((document[:3], document[4]))
            if not keep_copies and document[:3] in seen:
                copies += 1
                continue
            seen.add(document[:3])
            rows.texts.append(document[0])
            rows.texts_b.append(document[1] or "")
            rows.labels.append(document[2])
            rows.domains.append(document[3])
            rows.masses.append(document[4])
            rows.licences.append(document[5])
            rows.toxicities.append(document[6])
    masses: Any = rows.masses
    if every:
        keys, parts = zip(*every, strict=True)
        masses = added_masses(keys, parts, list(dict.fromkeys(keys)))
    corpus = Corpus.build(
        rows.texts,
        rows.domains,
        texts_b=rows.texts_b if columns.text_b else None,
        labels=rows.labels if columns.label else None,
        masses=masses if columns.mass else None,
        licences=rows.licences if columns.licence else None,
        toxicities=rows.toxicities if columns.toxicity else None,
    )
    never = sieve.counts["filtered"] + sieve.counts["too_short"]
    counts = {
        "rows_read": len(corpus) + len(bad) + copies + never,
        "kept": len(corpus),
        "quarantined": len(bad),
        "exact_copies": copies,
        **{fate: count for fate, count in sieve.counts.items() if count},
    }
    return Loaded(corpus, counts, tuple(bad))


def _documents(
    path: Path, columns: Columns, default_domain: str, bad: list[BadRow], sieve: Sieve
) -> Iterable[tuple[str, str | None, Any, str, float, str, float]]:
    if path.suffix == ".txt":
        columns = replace(columns, text="text")  # a text file has no columns to name
    found: dict[str, None] = {}
    good, first_bad = 0, len(bad)
    for line, row in raw_rows(path):
        try:
            if isinstance(row, str):
                raise _Bad(row)
            found |= dict.fromkeys(map(str, row)) if row.keys() - found.keys() else {}
            if not sieve.row(row):
                continue
            document = _document(row, columns, default_domain)
        except _Bad as reason:
            bad.append(BadRow(str(path), line, str(reason)))
            continue
        good += 1
        text = sieve.text(document[0])
        if text is not None:
            yield text, *document[1:]
    sieve.check(path, found)
    wanted = {"text": columns.text, "text_b": columns.text_b, "label": columns.label}
    read_of_pools = {"mass": columns.mass, "licence": columns.licence, "toxicity": columns.toxicity}
    wanted |= read_of_pools
    absent = [kind for kind, name in wanted.items() if name is not None and name not in found]
    if found and absent:
        kind = absent[0]
        other = f" (pool=files: set pool.{kind}=COLUMN)" if kind in {"text", *read_of_pools} else ""
        raise InvalidInput(
            f"{path}: expected the column {wanted[kind]!r}, found the columns: "
            f"{', '.join(map(repr, found))}; set task.{kind}=COLUMN{other}"
        )
    if good == 0:
        reasons = bad[first_bad:]
        what = (
            f"{len(reasons):,} rows and all bad, first line {reasons[0].line}: {reasons[0].reason}"
            if reasons
            else "none"
        )
        raise InvalidInput(
            f"{path}: expected rows with the column {columns.text!r}, found {what}; repair or "
            "replace the file"
        )


def _document(
    row: Any, columns: Columns, default_domain: str
) -> tuple[str, str | None, Any, str, float, str, float]:
    text = _text(row, columns.text)
    text_b = None if columns.text_b is None else _text(row, columns.text_b)
    label = None if columns.label is None else _label(row, columns)
    domain = default_domain if columns.domain is None else row.get(columns.domain)
    if domain is None or domain == "":
        domain = default_domain
    if not isinstance(domain, str):
        raise _Bad(f"column {columns.domain!r}: expected a string, found {type(domain).__name__}")
    mass = 1.0 if columns.mass is None else _measured(row, columns.mass, "mass", math.inf)
    licence = "" if columns.licence is None else str(row.get(columns.licence) or "")
    toxic = 0.0 if columns.toxicity is None else _measured(row, columns.toxicity, "toxicity", 1.0)
    domain = _encodable(domain, columns.domain or "")
    return text, text_b, label, domain, mass, _encodable(licence, columns.licence or ""), toxic


def _measured(row: Any, column: str, kind: str, most: float) -> float:
    value = row.get(column)
    try:
        if value is None or isinstance(value, bool):
            raise ValueError
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and 0 <= number <= most):
        expected = "of 0 or more" if most == math.inf else f"from 0 to {most:g}"
        raise _Bad(f"{kind} {column!r}: expected a number {expected}, found {str(value)[:40]!r}")
    return number


def _text(row: Any, column: str) -> str:
    if column not in row:
        raise _Bad(f"column {column!r} is missing")
    value = row[column]
    if value is None:
        raise _Bad(f"column {column!r} is null")
    if not isinstance(value, str):
        raise _Bad(f"column {column!r}: expected a string, found {type(value).__name__}")
    if not value.strip():
        raise _Bad(f"column {column!r} is empty")
    return _encodable(value, column)


def _encodable(value: str, column: str) -> str:
    # Undecodable bytes arrive here as lone surrogates, and JSON can spell lone surrogates out.
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _Bad(
            f"column {column!r} holds bytes that are no UTF-8 at character {error.start}"
        ) from None
    return value


def _label(row: Any, columns: Columns) -> str | float:
    value = row.get(columns.label)
    if value is None or value == "":
        raise _Bad(f"label {columns.label!r} is missing")
    if columns.numeric:
        return _number(value, columns)
    if columns.names is not None:
        return _name(value, columns.names)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | str):
        return _encodable(str(value), columns.label or "")
    raise _Bad(
        f"label {columns.label!r}: expected a string or an integer, found {type(value).__name__}"
    )


def _number(value: object, columns: Columns) -> float:
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise _Bad(f"label {columns.label!r}: expected a finite number, found {str(value)[:40]!r}")
    return number


def _name(value: object, names: tuple[str, ...]) -> str:
    try:
        index = int(str(value))
    except ValueError:
        index = -1
    if not 0 <= index < len(names):
        raise _Bad(
            f"label: expected an integer from 0 to {len(names) - 1}, found {str(value)[:40]!r}"
        )
    return names[index]


def file_digest(path: str | Path) -> str:
    """Returns the BLAKE2b hash of the bytes of a file, 24 hexadecimal digits, read in pieces.

    Raises:
        Missing: there is no such file.
        InvalidInput: it cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        next(iter(raw_rows(path)))  # says what is there instead
    state = hashlib.blake2b(digest_size=12)
    try:
        with path.open("rb") as stream:
            while piece := stream.read(1 << 20):
                state.update(piece)
    except OSError as error:
        raise InvalidInput(
            f"{path}: expected a readable file, found: {error.strerror}; check its permissions"
        ) from error
    return state.hexdigest()


def stem(path: str | Path) -> str:
    """Returns the file's name without the readable suffix: `news` for `pools/news.jsonl.gz`."""
    path = Path(path)
    return path.name[: -len(readable_suffix(path))]
