"""Where tasks and pools are read from: a local folder or the Hugging Face hub, by name."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from shortlist.core import digest
from shortlist.data.files import file_digest
from shortlist.data.readers import Columns
from shortlist.data.splits import SPLITS
from shortlist.errors import InvalidInput, Missing, ShortlistError, near
from shortlist.needs import Need, size_of

_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst")


@dataclass(frozen=True)
class TaskFiles:
    """The files of one task or pool.

    Attributes:
        files: files by split (a pool: the one split `pool`).
        revision: the commit they come from; empty for a folder.
        columns: names of their columns; None where the task's own names hold.
        only: accepted values by column; see `RowFilter`.
    """

    files: Mapping[str, tuple[Path, ...]]
    revision: str = ""
    columns: Columns | None = None
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    def digests(self) -> dict[str, str]:
        """Returns an identifier by split: a digest of its files' bytes, or the hub's commit.

        Raises:
            Missing: a file is not there.
        """
        return {
            split: self.revision or digest(map(file_digest, paths))
            for split, paths in self.files.items()
        }


@dataclass(frozen=True)
class LocalSource:
    """Finds the files of tasks and pools in a folder; the arguments `hub` are ignored.

    Tasks are `tasks/<name>/<split>.jsonl[.gz|.zst]`, the pool is `pools/<domain>.jsonl[.gz|.zst]`.

    Attributes:
        root: the folder, or None where none is set.
    """

    root: str | None

    def task_files(self, name: str, hub: Mapping[str, Any] | None = None) -> TaskFiles:
        """Returns the files by split of a task; a name with a slash is a folder under the root.

        Raises:
            Missing: no such task under the root, or it has no train or no test file.
            InvalidInput: a split has files in two formats.
        """
        folder = self._root() / (name if "/" in name else f"tasks/{name}")
        if not folder.is_dir():
            known = [path.name for path in folder.parent.glob("*") if path.is_dir()]
            raise Missing(
                f"task {name!r}: expected the folder {folder}, found none; {near(name, known)}"
            )
        files: dict[str, Path | None] = {split: _only_file(folder, split) for split in SPLITS}
        for split in ("train", "test"):
            if files[split] is None:
                found = ", ".join(sorted(path.name for path in folder.iterdir()))
                raise Missing(
                    f"task {name!r}: expected {folder / split}.jsonl[.gz|.zst], found "
                    f"{found or 'an empty folder'}"
                )
        return TaskFiles({split: (path,) for split, path in files.items() if path is not None})

    def pool_names(
        self, hub: Mapping[str, Any] | None = None, files: Mapping[str, Any] | None = None
    ) -> tuple[str, ...]:
        """Returns the names of the files in `<root>/pools` and of `files`, sorted.

        Raises:
            Missing: there are none.
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
        """Returns the file of one domain: the one that `files` describes, else `<root>/pools`'.

        Raises:
            Missing: no such domain or file under the root.
            InvalidInput: an entry of `files` is not {path, only}.
        """
        entry = (files or {}).get(domain)
        if entry is not None:
            return self._described(f"pool.files.{domain}", entry)
        path = _only_file(self._root() / "pools", domain)
        if path is None:
            raise Missing(
                f"pool domain {domain!r}: no such file in {self._root() / 'pools'}; "
                f"{near(domain, self.pool_names(hub, files))}"
            )
        return TaskFiles({"pool": (path,)})

    def text_files(
        self, what: str, path: str | None, hub: Mapping[str, Any] | None = None
    ) -> TaskFiles:
        """Returns the file of texts (no task, no pool) at `path`, absolute or under the root.

        `what` names them in messages.

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

    def _described(self, what: str, entry: Any) -> TaskFiles:
        if not isinstance(entry, Mapping) or not isinstance(entry.get("path"), str):
            raise InvalidInput(
                f"{what}: expected {{path: FILE under paths.data, only: {{COLUMN: [VALUE]}}}}, "
                f"found {entry!r}; complete the configuration"
            )
        _check_keys(what, entry, ("path", "only"))
        wanted = self._root() / entry["path"]
        path = _only_file(wanted.parent, wanted.name)
        if path is None:
            beside = ", ".join(sorted(item.name for item in wanted.parent.glob("*.jsonl*")))
            raise Missing(
                f"{what}: expected {wanted}.jsonl[.gz|.zst], found none; there: "
                f"{beside or 'nothing'}; set {what}.path or another paths.data"
            )
        only = {
            str(column): tuple(map(str, [values] if isinstance(values, str) else values))
            for column, values in (entry.get("only") or {}).items()
        }
        return TaskFiles({"pool": (path,)}, only=only)

    def _root(self) -> Path:
        if not self.root or not Path(self.root).is_dir():
            expected = f"the folder {self.root}" if self.root else "the folder of the data"
            raise Missing(
                f"source=local: expected {expected}, found none; set paths.data=DIR or source=hub"
            )
        return Path(self.root)


def _only_file(folder: Path, name: str) -> Path | None:
    files = [path for suffix in _SUFFIXES if (path := folder / f"{name}{suffix}").is_file()]
    if len(files) > 1:
        raise InvalidInput(
            f"{folder}: expected one file for {name!r}, found "
            f"{' and '.join(path.name for path in files)}; remove one"
        )
    return files[0] if files else None


def _check_keys(what: str, entry: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in entry:
        if key not in known:
            raise InvalidInput(f"{what}: unknown key {key!r}; {near(str(key), known)}")


@dataclass(frozen=True)
class HubSpec:
    """A data set of the hub as the configuration describes it.

    Attributes:
        dataset: repository, `organisation/name`.
        files: patterns of files by split.
        revision: branch, tag or commit.
        columns: names of its columns (`text`, `text_b`, `label`, `domain`).
        labels: class names by integer, where the files hold integers.
    """

    dataset: str
    files: Mapping[str, tuple[str, ...]]
    revision: str = "main"
    columns: Mapping[str, str | None] = field(default_factory=dict)
    labels: tuple[str, ...] | None = None

    @staticmethod
    def parse(what: str, raw: Mapping[str, Any] | None) -> HubSpec:
        """Returns the specification of `what` (`task 'cola'`).

        Raises:
            Missing: there is none.
            InvalidInput: it has unknown keys or lacks one.
        """
        if raw is None:
            raise Missing(
                f"{what} has no data set on the hub that is known to hold it; use source=local "
                "paths.data=DIR"
            )
        _check_keys(f"{what}: hub", raw, ("dataset", "files", "revision", "columns", "labels"))
        if not raw.get("dataset") or not raw.get("files"):
            raise InvalidInput(
                f"{what}: expected hub.dataset and hub.files, found {sorted(raw)}; complete the "
                "configuration"
            )
        files = {
            split: (value,) if isinstance(value, str) else tuple(value)
            for split, value in raw["files"].items()
        }
        labels = raw.get("labels")
        return HubSpec(
            str(raw["dataset"]),
            files,
            str(raw.get("revision") or "main"),
            dict(raw.get("columns") or {}),
            None if labels is None else tuple(map(str, labels)),
        )

    @property
    def patterns(self) -> list[str]:
        """The patterns of all splits."""
        return [pattern for patterns in self.files.values() for pattern in patterns]

    def command(self) -> str:
        """Returns the shell command that downloads the files into the hub's cache."""
        command = ["hf", "download", self.dataset, "--repo-type", "dataset"]
        command += ["--revision", self.revision]
        for pattern in self.patterns:
            command += ["--include", pattern]
        return shlex.join(command)


@dataclass(frozen=True)
class HubSource:
    """Finds the files in data sets of the Hugging Face hub, of one commit each, in its cache.

    Attributes:
        offline: True reads the cache alone, False asks the network; None leaves it to the variable
            HF_HUB_OFFLINE.
        cache_dir: the hub's cache; None for its default.
    """

    offline: bool | None = None
    cache_dir: str | None = None

    def task_files(self, name: str, hub: Mapping[str, Any] | None) -> TaskFiles:
        """Returns the files of a task and their commit; see `text_files`."""
        return self.text_files(f"task {name!r}", None, hub)

    def pool_names(
        self, hub: Mapping[str, Any] | None, files: Mapping[str, Any] | None = None
    ) -> tuple[str, ...]:
        """Returns the domains that `hub` specifies, sorted; `files` is ignored.

        Raises:
            Missing: it specifies none.
        """
        if not hub:
            raise Missing(
                "pool: no data set on the hub is configured for it; set pool.hub or use "
                "source=local paths.data=DIR"
            )
        return tuple(sorted(map(str, hub)))

    def pool_files(
        self, domain: str, hub: Mapping[str, Any] | None, files: Mapping[str, Any] | None = None
    ) -> TaskFiles:
        """Returns the files of one domain and their commit; `files` is ignored.

        Raises:
            Missing: `hub` does not specify the domain; see also `text_files`.
        """
        names = self.pool_names(hub)
        if domain not in names:
            raise Missing(f"pool domain {domain!r} is not under pool.hub; {near(domain, names)}")
        return self.text_files(f"pool domain {domain!r}", None, (hub or {})[domain])

    def text_files(self, what: str, path: str | None, hub: Mapping[str, Any] | None) -> TaskFiles:
        """Returns the files that `hub` describes and their commit; `path` is ignored.

        Raises:
            Missing: `hub` describes none, or they are not available.
        """
        spec = HubSpec.parse(what, hub)
        snapshot = self._snapshot(what, spec)
        files: dict[str, tuple[Path, ...]] = {}
        for split, patterns in spec.files.items():
            files[split] = tuple(
                sorted({path for pattern in patterns for path in snapshot.glob(pattern)})
            )
            if not files[split]:
                raise Missing(
                    f"{what}: expected files {' '.join(patterns)} in commit {snapshot.name[:12]} "
                    f"of {spec.dataset}, found none; fetch them: {spec.command()}"
                )
        columns = Columns(
            text=spec.columns.get("text") or "text",
            text_b=spec.columns.get("text_b"),
            label=spec.columns.get("label"),
            domain=spec.columns.get("domain"),
            names=spec.labels,
        )
        return TaskFiles(files, revision=snapshot.name, columns=columns)

    def _snapshot(self, what: str, spec: HubSpec) -> Path:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import (
            HfHubHTTPError,
            HTTPError,  # pyright: ignore[reportPrivateImportUsage], of the client that the hub uses
        )

        try:
            folder = snapshot_download(
                spec.dataset,
                repo_type="dataset",
                revision=spec.revision,
                cache_dir=self.cache_dir,
                allow_patterns=spec.patterns,
                local_files_only=bool(self.offline),
            )
        except (HfHubHTTPError, HTTPError, OSError, ValueError) as error:
            how = "in the hub's cache (offline)" if self.offline else "on the hub or in its cache"
            raise Missing(
                f"{what}: expected {spec.dataset} at revision {spec.revision} {how}, found none "
                f"({type(error).__name__}); fetch it: {spec.command()}"
            ) from error
        return Path(folder)


Source: TypeAlias = LocalSource | HubSource


def needed_files(
    what: str, hub: Mapping[str, Any] | None, source: Source, find: Callable[[], TaskFiles]
) -> Iterator[Need]:
    """Yields the needs of what `find` finds in a source: a data set of the hub, or files."""
    files, reason = None, ""
    try:
        files = find()
    except InvalidInput:
        raise
    except ShortlistError as error:
        reason = str(error)
    paths = [path for split in (files.files.values() if files else ()) for path in split]
    if isinstance(source, LocalSource) or hub is None:
        if files is None:
            yield Need("file", what, what, False, reason, command="set paths.data=DIR")
        for path in paths:
            yield Need("file", str(path), what, True, bytes=path.stat().st_size)
        return
    spec = HubSpec.parse(what, hub)
    found = f"commit {files.revision}" if files else "not in the hub's cache"
    yield Need(
        "data set", spec.dataset, what, files is not None, found, spec.revision, tuple(spec.patterns),
        size_of(paths) if files else None, command="" if files else spec.command(),
    )  # fmt: skip
