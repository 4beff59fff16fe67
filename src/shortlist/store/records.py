"""Records on disk: one JSON file per cell, whose path names the cell."""

import logging
from collections.abc import Collection
from pathlib import Path

from shortlist.core import Record
from shortlist.errors import InvalidInput
from shortlist.store.atomic import make_directory, write_text

log = logging.getLogger(__name__)
MAX_BYTES = 64 * 2**20  # of a record: a hundred metrics of two million items each
MAX_NAME = 200  # bytes of a task, a selector or a key: file systems take 255, with an ending


def record_path(results: Path, record: Record) -> Path:
    """Returns the path of a record: `results/records/<task>/<selector>/<key>.json`.

    Raises:
        InvalidInput: task, selector or key cannot name a folder or a file.
    """
    parts = (record.axes.task, record.axes.selector, record.key)
    for part in parts:
        named = part.isprintable() and "/" not in part and len(part.encode()) <= MAX_NAME
        if not part or part.startswith(".") or not named:
            raise InvalidInput(
                "expected a task, a selector and a key that can name a file, found "
                f"{part[:MAX_NAME]!r}; choose a printable name of at most {MAX_NAME} bytes without "
                "`/` that does not start with `.`"
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


def read_records(results: Path, tasks: Collection[str] | None = None) -> list[Record]:
    """Returns every record under `results/records`, or those of some tasks, sorted by task,
    selector and key.

    A file that is not a record, or not that of the cell that its path names, is left out with a
    warning that names it.
    """
    records: list[Record] = []
    for path in record_files(results):
        if tasks is not None and path.parents[1].name not in tasks:
            continue
        try:
            records.append(read_record(results, path))
        except InvalidInput as error:
            log.warning("left out: %s", error)
    return records


def record_files(results: Path) -> list[Path]:
    """Returns the files in the places of records under `results`, sorted."""
    return sorted(results.glob("records/*/*/*.json"))


def read_record(results: Path, path: Path) -> Record:
    """Returns the record in the file `path` under `results`.

    Raises:
        InvalidInput: the file is not a record, or not the record of the cell that its path names.
    """
    record = read_file(path)
    try:
        expected = record_path(results, record)
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from error
    if expected != path:
        raise InvalidInput(f"{path} contains the record of another cell; its path is: {expected}")
    return record


def read_file(path: Path) -> Record:
    """Returns the record in a file.

    Raises:
        InvalidInput: the file is not a record, larger than `MAX_BYTES`, or cannot be read.
    """
    try:
        if not path.is_file():
            raise InvalidInput("expected a regular file")
        if (size := path.stat().st_size) > MAX_BYTES:
            raise InvalidInput(f"expected at most {MAX_BYTES:,} bytes, found {size:,}")
        return Record.from_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    except (InvalidInput, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}: {error}; restore the file or run its cell again") from error
