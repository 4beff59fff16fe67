"""Records on disk: one small JSON file per cell, whose path says which cell it is."""

from pathlib import Path
from typing import get_args

from shortlist.core import Record, Status
from shortlist.errors import InvalidInput
from shortlist.store.atomic import make_directory, write_text


def record_path(results: Path, record: Record) -> Path:
    """Returns where a record lives: `results/records/<task>/<selector>/<key>.json`.

    Raises:
        InvalidInput: task, selector or key cannot be the name of a folder or a file.
    """
    parts = (record.axes.task, record.axes.selector, record.key)
    for part in parts:
        if not part or part.startswith(".") or "/" in part or "\0" in part:
            raise InvalidInput(
                "a record needs a task, a selector and a key that can name a file, "
                f"found {part!r} in {parts}; choose a name without `/` that does not start with `.`"
            )
    task, selector, key = parts
    return results / "records" / task / selector / f"{key}.json"


def report_path(results: Path, record: Record) -> Path:
    """Returns where the page on a cell's selection lives, so that a leaderboard's page finds it:
    `results/reports/<task>/<selector>/<key>.html`.

    Raises:
        InvalidInput: as `record_path`.
    """
    record_file = record_path(results, record).relative_to(results / "records")
    return results / "reports" / record_file.with_suffix(".html")


def write_record(results: Path, record: Record) -> Path:
    """Returns the path of the record after writing it in one step, in place of an earlier one.

    Raises:
        InvalidInput: the directory cannot be written to.
    """
    path = record_path(results, record)
    make_directory(path.parent, "paths.results")
    return write_text(path, record.to_json())


def read_records(results: Path) -> list[Record]:
    """Returns every record under `results/records`, sorted by task, selector and key.

    Raises:
        InvalidInput: a file is no record, or is the record of another cell than its path says.
    """
    return [read_record(results, path) for path in sorted(results.glob("records/*/*/*.json"))]


def read_record(results: Path, path: Path) -> Record:
    """Returns the record in the file `path` under `results`.

    Raises:
        InvalidInput: the file is no record, or is the record of another cell than its path says.
    """
    try:
        record = Record.from_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    except (InvalidInput, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}: {error}; restore the file or run its cell again") from error
    if record.status not in get_args(Status):
        raise InvalidInput(
            f"{path}: a status was expected out of {', '.join(get_args(Status))}, "
            f"found: {record.status!r}"
        )
    for name in ("budget", "seed"):
        if type(value := getattr(record.axes, name)) is not int:
            raise InvalidInput(f"{path}: {name} must be an integer, found: {value!r}")
    if (expected := record_path(results, record)) != path:
        raise InvalidInput(f"{path} holds the record of another cell; its place is: {expected}")
    return record
