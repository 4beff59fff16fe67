"""Artifacts of stages: computed once, whole or absent, shared by every process that knows the key.

Layout: `<root>/<stage>/<key>/` with the stage's files and `manifest.json`, written last. The
    directory is built under a temporary name and renamed, under a file lock, so a kill at any
    moment leaves either a finished artifact or nothing that anybody would read. Failures are never
    stored.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from shortlist.errors import BrokenArtifact, DoesNotFit, Missing
from shortlist.store.atomic import fsync, make_directory
from shortlist.store.cost import measure
from shortlist.store.keys import key as make_key

log = logging.getLogger(__name__)

Facts = Mapping[str, Any]
Compute = Callable[[Path], Facts | None]
MANIFEST = "manifest.json"
LEDGER = "executions.jsonl"
UNFINISHED = ".unfinished"

_FRESH: set[Path] = set()  # computed by this process: `refresh` means once, not once a cell


@dataclass(frozen=True)
class Artifact:
    """A finished stage: its directory and what its manifest says.

    Attributes:
        stage: name of the stage.
        key: hash of all that decided its contents.
        path: directory that holds its files.
        facts: small findings of the computation (counts, warnings, fingerprints), plain data.
        seconds: wall-clock seconds of the computation, when it ran.
        peak_mib: host memory at its highest during it.
        device: where it ran.
        digest: hash of its files' contents.
        hit: whether it was there already.
    """

    stage: str
    key: str
    path: Path
    facts: Facts
    seconds: float
    peak_mib: float
    device: str
    digest: str
    hit: bool


def unfinished(directory: Path) -> Path:
    """Returns the folder beside a stage's temporary directory that outlives a kill.

    It is named by the stage's key, and the stage's lock lets one process at it at a time. What a
    computation leaves there it may go on from, and must remove when it is done.
    """
    return directory.with_suffix(UNFINISHED)


class Store:
    """The artifacts under one root."""

    def __init__(
        self, root: Path, mode: Literal["reuse", "refresh", "only"] = "reuse", device: str = "cpu"
    ) -> None:
        """Prepares the root.

        Args:
            root: directory of the artifacts.
            mode: `reuse` what is there; `refresh` everything; `only` what is there, a miss is an
                error.
            device: where computations run; noted in the manifests, in no key.

        Raises:
            InvalidInput: `root` cannot be written to.
        """
        self.root = make_directory(root, "paths.cache")
        self.mode = mode
        self.device = device

    def stage(
        self,
        stage: str,
        version: int,
        config: Mapping[str, Any],
        inputs: Mapping[str, str],
        compute: Compute,
    ) -> Artifact:
        """Returns the artifact of this stage, computing it if it is not there.

        Args:
            stage: name of the stage.
            version: its version.
            config: what of its settings decides the result.
            inputs: keys and fingerprints of what it reads.
            compute: writes the files into the directory it is given and returns the facts.

        Raises:
            Missing: the artifact is absent and the mode is `only`.
            DoesNotFit: the disk is full.
        """
        key = make_key(stage, version, config, inputs)
        home = self.root / stage
        home.mkdir(exist_ok=True)
        with FileLock(home / f"{key}.lock"):
            if self.mode != "refresh" or home / key in _FRESH:
                found = self._read(stage, home / key, hit=True)
                if found is not None:
                    log.debug("%-10s %s  reused (%.1f s when computed)", stage, key, found.seconds)
                    return found
                if self.mode == "only":
                    raise Missing(
                        f"stage {stage} is not in {self.root} under key {key}; set runtime.cache=reuse"
                    )
            material = {"stage": stage, "version": version, "config": config, "inputs": inputs}
            self._compute(home, key, material, compute)
            _FRESH.add(home / key)
            made = self._read(stage, home / key, hit=False)
            if made is None:
                raise BrokenArtifact(
                    f"stage {stage} wrote no manifest under {home / key}; run it again"
                )
            log.info("%-10s %s  computed in %.1f s", stage, key, made.seconds)
            return made

    def _read(self, stage: str, path: Path, *, hit: bool) -> Artifact | None:
        try:
            manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (json.JSONDecodeError, OSError) as error:
            log.warning(
                "%s: the manifest cannot be read (%s); computing the stage again", path, error
            )
            return None
        for name, entry in manifest["files"].items():
            file = path / name
            if not file.is_file() or file.stat().st_size != entry["bytes"]:
                log.warning(
                    "%s: %s is not the file its manifest describes; computing the stage again",
                    path,
                    name,
                )
                return None
        return Artifact(
            stage=stage,
            key=path.name,
            path=path,
            facts=manifest["facts"],
            seconds=manifest["seconds"],
            peak_mib=manifest["peak_mib"],
            device=manifest["device"],
            digest=manifest["digest"],
            hit=hit,
        )

    def _compute(self, home: Path, key: str, material: Facts, compute: Compute) -> None:
        for leftover in home.glob(
            f".{key}.*"
        ):  # of a killed run: the lock says that nobody is at it
            if leftover.suffix != UNFINISHED:
                shutil.rmtree(leftover, ignore_errors=True)
        temporary = home / f".{key}.{os.getpid()}"
        temporary.mkdir()
        try:
            with measure() as cost:
                facts = compute(temporary) or {}
            files = {
                str(path.relative_to(temporary)): _describe(path) for path in _files(temporary)
            }
            manifest = {
                **material,
                "key": key,
                "files": files,
                "digest": hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest(),
                "facts": facts,
                "seconds": cost.seconds,
                "peak_mib": cost.peak_mib,
                "device": self.device,
            }
            (temporary / MANIFEST).write_text(
                json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8"
            )
            fsync(temporary / MANIFEST)
            fsync(temporary)
            aside = home / f".{key}.{os.getpid()}.old"
            if (home / key).exists():  # refreshed: who has its files open keeps them
                (home / key).rename(aside)
            temporary.rename(home / key)
            shutil.rmtree(aside, ignore_errors=True)
            fsync(home)
            self._note(material["stage"], key, cost.seconds)
        except OSError as error:
            if error.errno in (28, 122):  # ENOSPC, EDQUOT
                raise DoesNotFit(
                    f"stage {material['stage']} needs more room than there is under {self.root} "
                    f"({shutil.disk_usage(self.root).free / 2**20:,.0f} MiB free); "
                    "set paths.cache=DIR on a larger disk"
                ) from error
            raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _note(self, stage: str, key: str, seconds: float) -> None:
        line = (
            json.dumps(
                {"stage": stage, "key": key, "seconds": round(seconds, 3), "pid": os.getpid()}
            )
            + "\n"
        )
        descriptor = os.open(self.root / LEDGER, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(
                descriptor, line.encode()
            )  # one write to an append-only file: whole lines from any process
        finally:
            os.close(descriptor)


def executions(root: Path) -> list[tuple[str, str]]:
    """Returns (stage, key) of every computation that ever ran under `root`, in order."""
    ledger = root / LEDGER
    if not ledger.exists():
        return []
    entries = [json.loads(line) for line in ledger.read_text(encoding="utf-8").splitlines()]
    return [(entry["stage"], entry["key"]) for entry in entries]


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def _describe(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    fsync(path)
    return {"bytes": path.stat().st_size, "sha256": sha256}
