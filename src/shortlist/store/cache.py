"""Artifacts of stages: computed once, complete or absent, shared by all processes.

Layout: `<root>/<stage>/<key>/` with the files of the stage and `manifest.json`, which is written last.
A directory is filled under a temporary name and renamed, under a file lock, so that a process killed
at any moment leaves a complete artifact or nothing that is read. Failures are not stored.
"""

import errno
import hashlib
import json
import logging
import os
import resource
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from shortlist.errors import BrokenArtifact, DoesNotFit, Missing
from shortlist.store.atomic import fsync, make_directory
from shortlist.store.keys import key as make_key

log = logging.getLogger(__name__)

Facts = Mapping[str, Any]
Compute = Callable[[Path], Facts | None]

MANIFEST = "manifest.json"
EXECUTIONS = "executions.jsonl"  # one line for each computation under a root
UNFINISHED = ".unfinished"

# Artifacts that this process has computed: `refresh` computes a stage once, not once in every cell.
_computed: set[Path] = set()


@dataclass(frozen=True)
class Artifact:
    """The stored result of a stage.

    Attributes:
        stage: name of the stage.
        key: hash of the settings and inputs of the stage.
        path: directory of its files.
        facts: small results of the computation as plain data (counts, warnings, fingerprints).
        seconds: wall-clock time of the computation.
        peak_mib: largest resident host memory during the computation in MiB.
        device: the device it was computed on.
        digest: hash of the contents of its files.
        hit: whether it was read, not computed.
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
    """Returns the folder beside a stage's temporary directory that survives a killed process.

    It is named by the stage's key, whose lock admits one process at a time. A computation that
    resumes from it must remove it when it is done.
    """
    return directory.with_suffix(UNFINISHED)


class Store:
    """The artifacts under one root directory."""

    def __init__(
        self, root: Path, mode: Literal["reuse", "refresh", "only"] = "reuse", device: str = "cpu"
    ) -> None:
        """Creates the root directory.

        Args:
            root: directory of the artifacts.
            mode: `reuse` reads existing artifacts; `refresh` computes all again; `only` reads
                existing artifacts and computes nothing.
            device: device of the computations: it is stored in the manifests and enters no key.

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
        """Returns the artifact of a stage, computed if it does not exist.

        Args:
            stage: name of the stage.
            version: version of its results.
            config: the settings that its result depends on.
            inputs: keys and fingerprints of what it reads.
            compute: writes files into the given directory and returns the facts.

        Raises:
            Missing: the artifact does not exist and the mode is `only`.
            DoesNotFit: the disk is full.
        """
        key = make_key(stage, version, config, inputs)
        path = self.root / stage / key
        path.parent.mkdir(exist_ok=True)
        with FileLock(path.with_name(f"{key}.lock")):
            if self.mode != "refresh" or path in _computed:
                artifact = _read(stage, path, hit=True)
                if artifact is not None:
                    log.debug(
                        "%-10s %s  reused (%.1f s when computed)", stage, key, artifact.seconds
                    )
                    return artifact
                if self.mode == "only":
                    raise Missing(
                        f"stage {stage} is not in {self.root} under key {key}; set runtime.cache=reuse"
                    )
            material = {"stage": stage, "version": version, "config": config, "inputs": inputs}
            self._compute(path, {**material, "key": key}, compute)
            _computed.add(path)
            artifact = _read(stage, path, hit=False)
            if artifact is None:
                raise BrokenArtifact(f"stage {stage} has no manifest under {path}; run it again")
            log.info("%-10s %s  computed in %.1f s", stage, key, artifact.seconds)
            return artifact

    def _compute(self, path: Path, material: Facts, compute: Compute) -> None:
        """Computes a stage in a temporary directory and renames it to `path`."""
        for leftover in path.parent.glob(
            f".{path.name}.*"
        ):  # of a killed process: we hold the lock
            if leftover.suffix != UNFINISHED:
                shutil.rmtree(leftover, ignore_errors=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.mkdir()
        try:
            _reset_peak_memory()
            start = time.perf_counter()
            facts = compute(temporary) or {}
            seconds, peak = time.perf_counter() - start, _peak_mib()
            files = {
                str(file.relative_to(temporary)): _describe(file)
                for file in sorted(file for file in temporary.rglob("*") if file.is_file())
            }
            manifest = {
                **material,
                "files": files,
                "digest": hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest(),
                "facts": facts,
                "seconds": seconds,
                "peak_mib": peak,
                "device": self.device,
            }
            (temporary / MANIFEST).write_text(
                json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8"
            )
            fsync(temporary / MANIFEST)
            fsync(temporary)
            replaced = path.with_name(f".{path.name}.{os.getpid()}.old")
            if path.exists():  # refresh: moved aside, so that processes keep the files they opened
                path.rename(replaced)
            temporary.rename(path)
            shutil.rmtree(replaced, ignore_errors=True)
            fsync(path.parent)
            self._log_execution(material["stage"], path.name, seconds)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DoesNotFit(
                    f"stage {material['stage']} needs more room than there is under {self.root} "
                    f"({shutil.disk_usage(self.root).free / 2**20:,.0f} MiB free); "
                    "set paths.cache=DIR on a larger disk"
                ) from error
            raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _log_execution(self, stage: str, key: str, seconds: float) -> None:
        entry = {"stage": stage, "key": key, "seconds": round(seconds, 3), "pid": os.getpid()}
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        descriptor = os.open(self.root / EXECUTIONS, flags, 0o644)
        try:  # a single write to an append-only file: lines of several processes do not mix
            os.write(descriptor, (json.dumps(entry) + "\n").encode())
        finally:
            os.close(descriptor)


def _read(stage: str, path: Path, *, hit: bool) -> Artifact | None:
    """Returns the artifact in `path`; None, with a warning, if a file is not the described one."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, OSError) as error:
        log.warning("%s: cannot read the manifest (%s); computing the stage again", path, error)
        return None
    for name, described in manifest["files"].items():
        file = path / name
        if not file.is_file() or file.stat().st_size != described["bytes"]:
            log.warning("%s: %s differs from its manifest; computing the stage again", path, name)
            return None
    fields = ("facts", "seconds", "peak_mib", "device", "digest")
    return Artifact(stage, path.name, path, **{name: manifest[name] for name in fields}, hit=hit)


def executions(root: Path) -> list[tuple[str, str]]:
    """Returns (stage, key) of every computation under `root`, in order."""
    path = root / EXECUTIONS
    if not path.exists():
        return []
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [(entry["stage"], entry["key"]) for entry in entries]


def _describe(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    fsync(path)
    return {"bytes": path.stat().st_size, "sha256": sha256}


def _reset_peak_memory() -> None:
    """Resets the high-water mark of this process on Linux; elsewhere it is that of the process."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_mib() -> float:
    """Returns the largest resident memory since the reset in MiB, elsewhere since the start."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
