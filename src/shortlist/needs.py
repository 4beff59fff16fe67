"""Models, data sets, files and packages that a run reads, present or missing.

A class that the configuration names says what it reads by a class method `needs(place, node,
source)`, from its settings `node` at `place`, of which some may be missing: nothing is built for
it. One that needs an optional package names the extra of this package that brings it in `extra`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Kind = Literal["model", "data set", "file", "package", "memory", "disk"]


@dataclass(frozen=True)
class Need:
    """One thing that a run reads.

    Attributes:
        kind: what it is.
        name: repository, path or package.
        what: what it is for (`task 'rct'`, `pool domain 'amazon'`, `model`).
        present: whether it is on this machine.
        found: where it is, or why it is not there.
        revision: branch, tag or commit that is asked for; empty outside the hub.
        files: patterns of its files, or their paths.
        bytes: size on this machine, else what is published; None where that is not known.
        licence: as its card states it; empty for files and packages.
        command: what gets it; empty where it is present or no command does.
    """

    kind: Kind
    name: str
    what: str
    present: bool
    found: str = ""
    revision: str = ""
    files: tuple[str, ...] = ()
    bytes: int | None = None
    licence: str = ""
    command: str = ""


def package_need(module: str, place: str, command: str) -> Need:
    """Returns the need of a module that `command` installs."""
    present = importlib.util.find_spec(module) is not None
    found = "installed" if present else "not installed"
    return Need("package", module, place, present, found, command="" if present else command)


def file_need(path: Path, place: str, present: bool, advice: str) -> Need:
    """Returns the need of a file or folder."""
    size = size_of([path] if path.is_file() else path.iterdir()) if present else None
    found = "" if present else "not there"
    return Need(
        "file", str(path), place, present, found, bytes=size, command="" if present else advice
    )


def setting_need(place: str, path: Any, advice: str) -> Need:
    """Returns the need of the file or folder that a setting names; None names none."""
    if path is None:
        return Need("file", f"{place} (not set)", place, False, "no path is given", command=advice)
    absolute = Path(str(path)).expanduser().absolute()
    return file_need(absolute, place, absolute.exists(), advice)


def given_files(place: str, setting: str, paths: Any, others: Iterable[Any] = ()) -> Iterator[Need]:
    """Yields the needs of the user's files: `paths` of a setting that must have some, and others.

    Patterns are left out.
    """
    if not paths:
        yield setting_need(place, None, f"set {place}.{setting}")
    for path in filter(None, [*([paths] if isinstance(paths, str) else paths or ()), *others]):
        if not any(letter in str(path) for letter in "*?["):
            yield setting_need(place, path, f"correct {place}")


def size_of(paths: Iterable[Path]) -> int:
    """Returns the bytes of the files among `paths`."""
    return sum(path.stat().st_size for path in paths if path.is_file())
