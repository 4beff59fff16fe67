"""Data sets of the Hugging Face hub by name, revision and patterns of files."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shortlist.data.readers import Columns
from shortlist.data.sources import TaskFiles
from shortlist.errors import InvalidInput, Missing, near


@dataclass(frozen=True)
class HubSpec:
    """What a configuration says of a data set on the hub.

    Attributes:
        dataset: repository, `organisation/name`.
        files: patterns of files by split.
        revision: branch, tag or commit.
        columns: what the columns are called there (`text`, `text_b`, `label`, `domain`).
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
        known = ("dataset", "files", "revision", "columns", "labels")
        for key in raw:
            if key not in known:
                raise InvalidInput(
                    f"{what}: unknown key {key!r} under hub; {near(str(key), known)}"
                )
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

    def command(self) -> str:
        """Returns the shell command that fetches the files into the hub's cache."""
        patterns = [pattern for patterns in self.files.values() for pattern in patterns]
        words = [
            "hf",
            "download",
            self.dataset,
            "--repo-type",
            "dataset",
            "--revision",
            self.revision,
        ]
        return shlex.join(
            [*words, *(word for pattern in patterns for word in ("--include", pattern))]
        )


@dataclass(frozen=True)
class HubSource:
    """Reads data sets of the Hugging Face hub, from its cache alone if `offline`.

    Attributes:
        offline: never ask the network; None leaves it to the variable HF_HUB_OFFLINE.
        cache_dir: the hub's cache; None for its own default.
    """

    offline: bool | None = None
    cache_dir: str | None = None

    def task_files(self, name: str, hub: Mapping[str, Any] | None) -> TaskFiles:
        """Returns the files of a task and the commit they come from.

        Raises:
            Missing: the task has no data set on the hub, or its files cannot be had.
        """
        return self._files(f"task {name!r}", hub)

    def pool_names(
        self, hub: Mapping[str, Any] | None, files: Mapping[str, Any] | None = None
    ) -> tuple[str, ...]:
        """Returns the domains that `hub` specifies, sorted; `files` are not looked at.

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
        self,
        domain: str,
        hub: Mapping[str, Any] | None,
        files: Mapping[str, Any] | None = None,
    ) -> TaskFiles:
        """Returns the files of one domain and the commit they come from; `files` are not looked at.

        Raises:
            Missing: `hub` does not specify the domain, or its files cannot be had.
        """
        names = self.pool_names(hub)
        if domain not in names:
            raise Missing(f"pool domain {domain!r} is not under pool.hub; {near(domain, names)}")
        return self._files(f"pool domain {domain!r}", (hub or {})[domain])

    def text_files(self, what: str, path: str | None, hub: Mapping[str, Any] | None) -> TaskFiles:
        """Returns the files that `hub` describes, and the commit; `path` is not looked at.

        Raises:
            Missing: `hub` describes none, or they cannot be had.
        """
        return self._files(what, hub)

    def _files(self, what: str, hub: Mapping[str, Any] | None) -> TaskFiles:
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
                    f"of {spec.dataset}, "
                    f"found none; fetch them: {spec.command()}"
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
        from httpx import HTTPError
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError

        patterns: Sequence[str] = [
            pattern for patterns in spec.files.values() for pattern in patterns
        ]
        try:
            folder = snapshot_download(
                spec.dataset,
                repo_type="dataset",
                revision=spec.revision,
                cache_dir=self.cache_dir,
                allow_patterns=list(patterns),
                local_files_only=bool(self.offline),
            )
        except (HfHubHTTPError, HTTPError, OSError, ValueError) as error:
            how = "in the hub's cache (offline)" if self.offline else "on the hub or in its cache"
            raise Missing(
                f"{what}: expected {spec.dataset} at revision {spec.revision} {how}, found none "
                f"({type(error).__name__}); fetch it: {spec.command()}"
            ) from error
        return Path(folder)
