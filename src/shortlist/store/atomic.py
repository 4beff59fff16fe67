"""Files that are either whole or not there: temporary name, fsync, rename."""

import os
import tempfile
from pathlib import Path

from shortlist.errors import InvalidInput


def fsync(path: Path) -> None:
    """Forces a file or a directory to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path, setting: str) -> Path:
    """Returns `path` as a directory that exists and can be written to.

    Raises:
        InvalidInput: it cannot be made or written to; the message names `setting`, which chooses
            it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise InvalidInput(
            f"a directory that can be written to was expected, found {path} ({error.strerror}); "
            f"set {setting}=DIR"
        ) from error


def write_text(path: Path, text: str) -> Path:
    """Returns `path` after replacing its contents by `text` in one step."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(
            0o644
        )  # mkstemp makes private files; results are for everyone to read
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    fsync(path.parent)
    return path
