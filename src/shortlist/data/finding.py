"""Files by paths, patterns and folders: each real file once, with the columns its folders name."""

from __future__ import annotations

import glob
import itertools
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from shortlist.data.files import READABLE, check_file, is_readable, is_whole, shown, stem
from shortlist.errors import InvalidInput, Missing

_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://")
_ANY_DEPTH = re.compile(r"(?:^|(?<=/))\*\*(?:/|$)")
_KEY = re.compile(r"^([^=]+)=(.*)$")
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class DataFile:
    """A file of documents.

    Attributes:
        path: where it is.
        name: the domain of its documents where no column names one: the file's name without suffix,
            or that of the folder whose parts it belongs to.
        keys: columns that all its rows have: those of folders `lang=en/` (Hive).
    """

    path: Path
    name: str
    keys: Mapping[str, str | None] = field(default_factory=dict[str, str | None])


@dataclass(frozen=True)
class Found:
    """The files that paths and patterns stand for.

    Attributes:
        files: each real file once, sorted by path.
        counts: `files_skipped`, those that hold no documents (`_SUCCESS`, `._part`), and
            `files_repeated`, other spellings and links of a file.
    """

    files: tuple[DataFile, ...]
    counts: Mapping[str, int]


def find(patterns: Sequence[str], setting: str) -> Found:
    """Returns the files that `patterns` stand for.

    A pattern is a path, or holds `*`, `?`, `[...]`, or `**` for all folders below. A path that
    exists is never read as a pattern. A folder stands for the readable files below it, the parts of
    one data set; `~` is the home folder. Names that begin with `.` or, without a readable suffix,
    with `_` are skipped (Spark, macOS), and so are Markdown, PDF and HTML files beside others,
    unless the pattern ends in such a suffix.

    Raises:
        Missing: a pattern matches nothing.
        InvalidInput: no pattern is given, or one that names another file system; a folder holds no
            readable file.
    """
    if not patterns:
        raise InvalidInput(
            f"{setting}: expected at least one file, found none; set {setting}=[FILE,...]"
        )
    counts = Counter[str]()
    found: list[DataFile] = []
    for pattern in patterns:
        path = local(pattern, setting)
        exact = os.path.lexists(path)
        matches = [path] if exact else sorted(expand(path))
        if not matches:
            if not glob.has_magic(path):
                check_file(Path(path))
            raise Missing(
                f"{setting}: expected files {shown(path)}, found none; check the path and quote the "
                "pattern"
            )
        parts = [_files_of(match, path, counts) for match in matches]
        if not any(parts):
            raise Missing(
                f"{setting}: {shown(path)}: expected files that end in one of "
                f"{', '.join(READABLE)}, found none"
            )
        files = [file for part in parts for file in part]
        data = [file for file in files if not is_whole(file.path)]
        if data and not is_whole(path):  # a README beside the data is no document
            counts["files_skipped"] += len(files) - len(data)
            files = data
        found += files
    unique: dict[tuple[int, int], DataFile] = {}
    for file in sorted(found, key=lambda file: (file.path.is_symlink(), os.fspath(file.path))):
        check_file(file.path)
        about = file.path.stat()
        first = unique.setdefault((about.st_dev, about.st_ino), file)
        counts["files_repeated"] += first.path != file.path
    files = sorted(unique.values(), key=lambda file: os.fspath(file.path))
    return Found(tuple(files), dict(+counts))


def local(path: str, setting: str) -> str:
    """Returns a path or pattern with the home folder for `~`.

    Raises:
        InvalidInput: it names another file system.
    """
    if scheme := _SCHEME.match(path):
        raise InvalidInput(
            f"{setting}: expected a path of this machine, found {path}; only local files are read: "
            f"copy or mount what lies at {scheme.group()}"
        )
    return os.path.expanduser(path)  # noqa: PTH111, a pattern is no path


def expand(pattern: str) -> Iterator[str]:
    """Yields what a pattern matches; folders are followed through links, each once."""
    parts = _ANY_DEPTH.split(pattern, maxsplit=1)
    if len(parts) == 1:
        yield from glob.glob(pattern)  # noqa: PTH207, a pattern may be absolute
        return
    head, rest = parts
    for base in glob.glob(head) if head else ["."]:  # noqa: PTH207
        for folder in folders(base):
            inner = (
                "" if folder == "." else glob.escape(folder.removeprefix("./").rstrip("/")) + "/"
            )
            yield from expand(inner + (rest or "*"))


def folders(base: str) -> Iterator[str]:
    """Yields a folder and all below it, each real one once, links followed.

    Raises:
        InvalidInput: a folder cannot be read.
    """
    seen: set[tuple[int, int]] = set()

    def refuse(error: OSError) -> None:
        raise InvalidInput(
            f"{shown(error.filename)}: expected a folder that can be read, found: {error.strerror}; "
            "check its permissions"
        ) from error

    for folder, below, _ in os.walk(base, followlinks=True, onerror=refuse):
        about = Path(folder).stat()
        if (about.st_dev, about.st_ino) in seen:
            below.clear()
            continue
        seen.add((about.st_dev, about.st_ino))
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield folder


def _files_of(match: str, pattern: str, counts: Counter[str]) -> list[DataFile]:
    """Returns the files that one match of a pattern stands for."""
    path = Path(match)
    exact = match == pattern
    if not path.is_dir():
        if _holds_nothing(path.name) and not exact:
            counts["files_skipped"] += 1
            return []
        return [_described(path, None, exact)]
    if not (exact or is_readable(path) or _KEY.match(path.name)):
        if "**" not in pattern:  # which searches folders itself
            check_file(path)
        return []
    files: list[DataFile] = []
    for folder in folders(match):
        for item in sorted(Path(folder).iterdir()):
            if item.is_dir():
                continue
            if _holds_nothing(item.name) or not is_readable(item):
                counts["files_skipped"] += 1
            else:
                files.append(_described(item, path, False))
    return files


def _holds_nothing(name: str) -> bool:
    return name.startswith(".") or (name.startswith("_") and not is_readable(name))


def _described(path: Path, folder: Path | None, exact: bool) -> DataFile:
    """Returns the file with the keys of the folders it lies in.

    Args:
        path: the file.
        folder: the folder whose part it is, where that was asked for.
        exact: whether the file itself was asked for.
    """
    found = itertools.takewhile(bool, map(_KEY.match, map(shown, reversed(path.parts[:-1]))))
    pairs = [match.groups() for match in found if match]
    keys = {key: None if value == _NO_VALUE else unquote(value) for key, value in reversed(pairs)}
    if folder is None and pairs and not exact:
        folder = path.parents[len(pairs)]
    if folder is None and is_whole(path):  # a domain of one document would say nothing
        folder = path.parent
    while folder is not None and _KEY.match(folder.name):
        folder = folder.parent
    if folder is None:
        return DataFile(path, stem(path), keys)
    name = folder.resolve().name
    return DataFile(path, stem(name) if is_readable(name) else shown(name), keys)
