"""Where tasks and pools are read from: a folder or the hub, never one instead of the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from shortlist.core import digest
from shortlist.data.readers import Columns, file_digest
from shortlist.errors import InvalidInput, Missing, near

SPLITS = ("train", "validation", "test")
_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst")


@dataclass(frozen=True)
class TaskFiles:
    """The files of one task or pool.

    Attributes:
        files: files by split (a pool: the one split `pool`).
        revision: the commit they come from; empty for a folder.
        columns: what the columns are called there; None where the task's own names hold.
        only: values by column of the rows that are meant; see `Taken`.
    """

    files: Mapping[str, tuple[Path, ...]]
    revision: str = ""
    columns: Columns | None = None
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    def digests(self) -> dict[str, str]:
        """Returns what stands for each split: a digest of its files' bytes, or the hub's commit.

        Raises:
            Missing: a file is not there.
        """
        return {
            split: self.revision or digest(map(file_digest, paths))
            for split, paths in self.files.items()
        }


class Source(Protocol):
    """Finds the files of tasks and pools by name."""

    def task_files(self, name: str, hub: Mapping[str, Any] | None) -> TaskFiles:
        """Returns the files of a task by split; `validation` may be absent."""
        ...

    def pool_names(
        self, hub: Mapping[str, Any] | None, files: Mapping[str, Any] | None
    ) -> tuple[str, ...]:
        """Returns the names of the domains there are, sorted."""
        ...

    def pool_files(
        self, domain: str, hub: Mapping[str, Any] | None, files: Mapping[str, Any] | None
    ) -> TaskFiles:
        """Returns the files of one domain of the pool."""
        ...

    def text_files(self, what: str, path: str | None, hub: Mapping[str, Any] | None) -> TaskFiles:
        """Returns files of texts that are neither a task nor a pool; `what` names them in messages.

        They are those at `path` (a folder), or those that `hub` describes (the hub).
        """
        ...


@dataclass(frozen=True)
class LocalSource:
    """Reads a folder.

    Tasks stand in `tasks/<name>/<split>.jsonl[.gz|.zst]`, the pool in
    `pools/<domain>.jsonl[.gz|.zst]`.

    Attributes:
        root: the folder, or None where none is set.
    """

    root: str | None

    def task_files(self, name: str, hub: Mapping[str, Any] | None = None) -> TaskFiles:
        """Returns the files of a task; `hub` is not looked at. A name with a slash is a folder's.

        Raises:
            Missing: no such task under the root, or it has no train or no test file.
            InvalidInput: a split stands there in two formats.
        """
        folder = self._root() / (name if "/" in name else f"tasks/{name}")
        if not folder.is_dir():
            known = [path.name for path in folder.parent.glob("*") if path.is_dir()]
            raise Missing(
                f"task {name!r}: expected the folder {folder}, found none; {near(name, known)}"
            )
        files = {split: _one(folder, split) for split in SPLITS}
        for split in ("train", "test"):
            if files[split] is None:
                raise Missing(
                    f"task {name!r}: expected {folder / split}.jsonl[.gz|.zst], found "
                    f"{_listing(folder)}"
                )
        return TaskFiles({split: (path,) for split, path in files.items() if path is not None})

    def pool_names(
        self, hub: Mapping[str, Any] | None = None, files: Mapping[str, Any] | None = None
    ) -> tuple[str, ...]:
        """Returns the names of the files in `<root>/pools`, and those of `files`; `hub` is not
        looked at.

        Raises:
            Missing: there is no such folder, or nothing in it.
        """
        folder = self._root() / "pools"
        names = {
            path.name.removesuffix(suffix)
            for suffix in _SUFFIXES
            for path in folder.glob(f"*{suffix}")
        } | set(map(str, files or {}))
        if not names:
            raise Missing(
                f"pool: expected files {folder}/<domain>.jsonl[.gz|.zst], found none; set "
                "paths.data=DIR"
            )
        return tuple(sorted(names))

    def pool_files(
        self,
        domain: str,
        hub: Mapping[str, Any] | None = None,
        files: Mapping[str, Any] | None = None,
    ) -> TaskFiles:
        """Returns the file of one domain: in `<root>/pools`, or where `files` says; `hub` is not
        looked at.

        Raises:
            Missing: no such domain or file under the root.
            InvalidInput: `files` says something else of it than `path` and `only`.
        """
        said = (files or {}).get(domain)
        if said is not None:
            return self._elsewhere(domain, said)
        path = _one(self._root() / "pools", domain)
        if path is None:
            raise Missing(
                f"pool domain {domain!r}: no such file in {self._root() / 'pools'}; "
                f"{near(domain, self.pool_names(hub, files))}"
            )
        return TaskFiles({"pool": (path,)})

    def text_files(
        self, what: str, path: str | None, hub: Mapping[str, Any] | None = None
    ) -> TaskFiles:
        """Returns the file at `path`, which may be relative to the folder; `hub` is not looked at.

        Raises:
            Missing: no path is given, or there is no file.
        """
        if not path:
            raise Missing(f"{what}: expected the path of a file of texts, found none; give it one")
        absolute = Path(path).expanduser()
        file = absolute if absolute.is_absolute() else self._root() / path
        if not file.is_file():
            raise Missing(f"{what}: expected the file {file}, found none; correct its path")
        return TaskFiles({"texts": (file,)})

    def _elsewhere(self, domain: str, said: Any) -> TaskFiles:
        what = f"pool.files.{domain}"
        if not isinstance(said, Mapping) or not isinstance(said.get("path"), str):
            raise InvalidInput(
                f"{what}: expected {{path: FILE under paths.data, only: {{COLUMN: [VALUE]}}}}, "
                f"found {said!r}; complete the configuration"
            )
        for key in said:
            if key not in ("path", "only"):
                raise InvalidInput(
                    f"{what}: unknown key {key!r}; {near(str(key), ('path', 'only'))}"
                )
        wanted = self._root() / said["path"]
        path = _one(wanted.parent, wanted.name)
        if path is None:
            there = sorted(item.name for item in wanted.parent.glob("*.jsonl*"))
            raise Missing(
                f"{what}: expected {wanted}.jsonl[.gz|.zst], found none; there: "
                f"{', '.join(there) or 'nothing'}; set {what}.path or another paths.data"
            )
        only = {
            str(column): tuple(map(str, [values] if isinstance(values, str) else values))
            for column, values in (said.get("only") or {}).items()
        }
        return TaskFiles({"pool": (path,)}, only=only)

    def _root(self) -> Path:
        if not self.root:
            raise Missing(
                "source=local: expected the folder of the data, found none; set paths.data=DIR or "
                "source=hub"
            )
        root = Path(self.root)
        if not root.is_dir():
            raise Missing(
                f"source=local: expected the folder {root}, found none; set paths.data=DIR or "
                "source=hub"
            )
        return root


def _one(folder: Path, name: str) -> Path | None:
    there = [path for suffix in _SUFFIXES if (path := folder / f"{name}{suffix}").is_file()]
    if len(there) > 1:
        raise InvalidInput(
            f"{folder}: expected one file for {name!r}, found "
            f"{' and '.join(path.name for path in there)}; remove one"
        )
    return there[0] if there else None


def _listing(folder: Path) -> str:
    return ", ".join(sorted(path.name for path in folder.iterdir())) or "an empty folder"
