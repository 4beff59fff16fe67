"""Records on disk: one JSON file per cell, whose path names the cell."""

from pathlib import Path

from shortlist.core import Record
from shortlist.errors import InvalidInput
from shortlist.store.atomic import make_directory, write_text


def record_path(results: Path, record: Record) -> Path:
    """Returns the path of a record: `results/records/<task>/<selector>/<key>.json`.

    Raises:
        InvalidInput: task, selector or key cannot name a folder or a file.
    """
    parts = (record.axes.task, record.axes.selector, record.key)
    for part in parts:
        if not part or part.startswith(".") or "/" in part or "\0" in part:
            raise InvalidInput(
                "expected a task, a selector and a key that can name a file, found "
                f"{part!r} in {parts}; choose a name without `/` that does not start with `.`"
            )
    task, selector, key = parts
    return results / "records" / task / selector / f"{key}.json"


def report_path(results: Path, record: Record) -> Path:
    """Returns the path of the datasheet of a cell's selection, which the leaderboard links to:
    `results/reports/<task>/<selector>/<key>.html`.

    Raises:
        InvalidInput: as `record_path`.
    """
    record_file = record_path(results, record).relative_to(results / "records")
    return results / "reports" / record_file.with_suffix(".html")


def write_record(results: Path, record: Record) -> Path:
    """Returns the path of the record after writing it in one step; it replaces an earlier one.

    Raises:
        InvalidInput: the directory cannot be written to.
    """
    path = record_path(results, record)
    make_directory(path.parent, "paths.results")
    return write_text(path, record.to_json())


def read_records(results: Path) -> list[Record]:
    """Returns every record under `results/records`, sorted by task, selector and key.

    Raises:
        InvalidInput: a file is not a record, or not the record of the cell that its path names.
    """
    return [read_record(results, path) for path in sorted(results.glob("records/*/*/*.json"))]


def read_record(results: Path, path: Path) -> Record:
    """Returns the record in the file `path` under `results`.

    Raises:
        InvalidInput: the file is not a record, or not the record of the cell that its path names.
    """
    try:
        record = Record.from_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    except (InvalidInput, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}: {error}; restore the file or run its cell again") from error
    if (expected := record_path(results, record)) != path:
        raise InvalidInput(f"{path} contains the record of another cell; its path is: {expected}")
    return record
