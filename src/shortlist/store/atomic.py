"""Files that are either complete or absent: temporary name, fsync, rename."""

import hashlib
import json
import os
import tempfile
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shortlist.errors import InvalidInput
from shortlist.store.disk import room, room_for, says_full


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
        InvalidInput: it cannot be created or written to; the message names its `setting`.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        free = f", {room(path)}" if says_full(error) else ""
        raise InvalidInput(
            f"expected a directory that can be written to, found {path} ({error.strerror}{free}); "
            f"set {setting}=DIR"
        ) from error


def write_text(path: Path, text: str) -> Path:
    """Returns `path` after replacing its contents by `text` in one step."""
    return _replace(path, [text])


def write_together(root: Path, texts: Mapping[Path, str], setting: str) -> None:
    """Writes several files under `root`, which `setting` chooses: all are written to a temporary
    directory, then renamed, so that none is there where one cannot be written.

    Raises:
        InvalidInput: a file cannot be written.
        DoesNotFit: the disk is full.
    """
    make_directory(root, setting)
    try:
        with (
            room_for("what is written", root, setting),
            tempfile.TemporaryDirectory(dir=root, prefix=".new-") as temporary,
        ):
            whole = {path: Path(temporary, str(place)) for place, path in enumerate(texts)}
            for path, text in texts.items():
                write_text(whole[path], text)
            for path in texts:
                path.parent.mkdir(parents=True, exist_ok=True)
            for path in texts:
                whole[path].replace(path)
    except (OSError, UnicodeEncodeError) as error:
        raise InvalidInput(f"the files under {root} cannot be written: {error}") from error


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Returns `path` after replacing its contents by one JSON object per row in one step."""
    return _replace(path, (json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Returns the rows of a file that `write_jsonl` wrote."""
    with path.open(encoding="utf-8", newline="\n") as file:  # U+2028 in a text ends no line
        return [json.loads(line) for line in file]


def seal(path: Path) -> None:
    """Writes the SHA-256 of a file, or of a directory's files, beside it under its name and
    `.sha256`: for what a resumed computation reads before there is a manifest.
    """
    write_text(_seal_of(path), _sha256(path))


def is_sealed(path: Path) -> bool:
    """Returns whether a file or a directory is there and is still the one that was sealed."""
    try:
        return _seal_of(path).read_text(encoding="utf-8") == _sha256(path)
    except (OSError, UnicodeDecodeError):
        return False


def _seal_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _sha256(path: Path) -> str:
    if path.is_dir():
        files = {inside.name: _sha256(inside) for inside in sorted(path.iterdir())}
        return hashlib.sha256(json.dumps(files).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replacing(path: Path) -> Generator[Path]:
    """Returns a context that yields the name of an empty file beside `path`; what is written to it
    replaces `path` in one step at the end, and is removed where the context ends with an error.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        fsync(temporary)
        temporary.chmod(0o644)  # mkstemp creates private files; results are readable by all
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync(path.parent)


def _replace(path: Path, parts: Iterable[str]) -> Path:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(parts)
    return path
