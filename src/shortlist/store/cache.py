"""Artifacts of stages: computed once, complete or absent, shared by all processes.

Layout: `<root>/<stage>/<key>/` with the files of the stage and `manifest.json`, which is written
last. A directory is filled under a temporary name and renamed, under a file lock, so that a process
killed at any moment leaves a complete artifact or nothing that is read. Failures are not stored.
"""

import json
import logging
import os
import platform
import resource
import shutil
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from shortlist.errors import BrokenArtifact, InvalidInput, Missing
from shortlist.store.atomic import fsync, make_directory
from shortlist.store.disk import room_for, says_full
from shortlist.store.keys import key as make_key
from shortlist.store.manifest import read_manifest, write_manifest

log = logging.getLogger(__name__)

Facts = Mapping[str, Any]
Compute = Callable[[Path], Facts | None]
Mode = Literal["reuse", "refresh", "only"]

EXECUTIONS = "executions.jsonl"  # one line for each computation under a root
UNFINISHED = ".unfinished"
PATIENCE = 5.0  # seconds of waiting for a lock without a word

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


def open_cache(root: Path, mode: Mode) -> Path:
    """Returns the directory of artifacts, created unless it is only read.

    Raises:
        InvalidInput: it cannot be written to, or with `only`, is not there.
    """
    if mode == "only":
        if not root.is_dir():
            raise InvalidInput(
                f"runtime.cache=only reads artifacts, found no directory {root}; set runtime.cache=reuse "
                "to compute them, or paths.cache=DIR"
            )
        return root
    try:
        return make_directory(root, "paths.cache")
    except InvalidInput as error:
        raise InvalidInput(f"{error}, or runtime.cache=only to read what is there") from error


class Store:
    """The artifacts under one root directory."""

    def __init__(self, root: Path, mode: Mode = "reuse", device: str = "cpu") -> None:
        """Creates the root directory.

        Args:
            root: directory of the artifacts.
            mode: `reuse` reads existing artifacts; `refresh` computes all again; `only` reads
                existing artifacts and computes nothing.
            device: device of the computations: it is stored in the manifests and enters no key.

        Raises:
            InvalidInput: `root` cannot be written to, or with `only`, is not there.
        """
        self.root = open_cache(root, mode)
        self.mode = mode
        self.device = device
        self._inner = 0.0  # seconds of stages computed inside the one that is being computed

    def stage(
        self,
        stage: str,
        version: int,
        config: Mapping[str, Any],
        inputs: Mapping[str, str],
        compute: Compute,
        *,
        weights: bool = True,
    ) -> Artifact:
        """Returns the artifact of a stage, computed if it does not exist.

        Args:
            stage: name of the stage.
            version: version of its results.
            config: the settings that its result depends on.
            inputs: keys and fingerprints of what it reads.
            compute: writes files into the given directory and returns the facts.
            weights: whether `*.safetensors` are compared with their digests; a caller that sets it
                to False calls again before it opens them.

        Raises:
            Missing: the artifact does not exist and the mode is `only`.
            BrokenArtifact: the artifact is damaged and the mode is `only`.
            DoesNotFit: the disk is full.
        """
        key = make_key(stage, version, config, inputs)
        path = self.root / stage / key
        material = {"stage": stage, "version": version, "config": config, "inputs": inputs}
        with self._room(stage):
            return self._read(stage, path, weights) or self._make(
                path, {**material, "key": key}, compute
            )

    def _read(self, stage: str, path: Path, weights: bool) -> Artifact | None:
        """Returns the artifact without taking its lock; None if it is to be computed."""
        if self.mode == "refresh" and path not in _computed:
            return None
        try:
            artifact = self._stored(stage, path, weights=weights)
        except BrokenArtifact as damage:
            if self.mode == "only":
                raise BrokenArtifact(f"{damage}; set runtime.cache=reuse to compute it") from damage
            return None  # or just being replaced: read again under the lock
        if artifact is not None:
            log.debug("%-10s %s  reused (%.1f s when computed)", stage, path.name, artifact.seconds)
        elif self.mode == "only":
            raise Missing(
                f"stage {stage} is not in {self.root} under key {path.name}; set runtime.cache=reuse"
            )
        return artifact

    def _make(self, path: Path, material: Facts, compute: Compute) -> Artifact:
        """Returns the artifact after computing it under its lock, unless another process has."""
        stage = material["stage"]
        try:
            path.parent.mkdir(exist_ok=True)
        except FileExistsError as error:
            raise BrokenArtifact(f"{path.parent} is no directory; remove it") from error
        with _exclusive(path, stage), self._room(stage):
            if self.mode != "refresh" or path in _computed:
                try:
                    if (artifact := self._stored(stage, path)) is not None:
                        return artifact
                except BrokenArtifact as damage:
                    log.warning("%s; computing the stage again", damage)
            self._compute(path, material, compute)
            _computed.add(path)
            artifact = self._stored(stage, path, hit=False)
        if artifact is None:
            raise BrokenArtifact(f"stage {stage} is gone from {path}; run it again")
        log.info("%-10s %s  computed in %.1f s", stage, path.name, artifact.seconds)
        return artifact

    def _stored(
        self, stage: str, path: Path, *, hit: bool = True, weights: bool = True
    ) -> Artifact | None:
        """Returns the artifact in `path`, or None if there is none; raises as `read_manifest`."""
        manifest = read_manifest(stage, path, weights=weights)
        if manifest is None:
            return None
        fields = ("facts", "seconds", "peak_mib", "device", "digest")
        return Artifact(
            stage, path.name, path, **{name: manifest[name] for name in fields}, hit=hit
        )

    def _compute(self, path: Path, material: Facts, compute: Compute) -> None:
        """Computes a stage in a temporary directory and renames it to `path`."""
        # What a killed process left: this one holds the lock.
        for leftover in path.parent.glob(f".{path.name}.*"):
            if leftover.suffix != UNFINISHED:
                _remove(leftover)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        replaced = path.with_name(f".{path.name}.{os.getpid()}.old")
        try:
            temporary.mkdir()
            with self._room(material["stage"]):  # what is free before the cleaning up
                _reset_peak_memory()
                start, outer, self._inner = time.perf_counter(), self._inner, 0.0
                facts = compute(temporary) or {}
                elapsed, peak = time.perf_counter() - start, _peak_mib()
                seconds, self._inner = elapsed - self._inner, outer + elapsed
                costs = {"seconds": seconds, "peak_mib": peak, "device": self.device}
                write_manifest(temporary, {**material, "facts": facts, **costs})
            if os.path.lexists(path):  # moved aside, so that processes keep the files they opened
                path.rename(replaced)
            temporary.rename(path)
            fsync(path.parent)
            self._log_execution(material["stage"], path.name, seconds)
        finally:
            try:
                _remove(temporary)
                _remove(replaced)
            except BaseException:  # a signal: the process ends after the cleaning up
                _remove(temporary)
                _remove(replaced)
                raise

    def _room(self, stage: str) -> AbstractContextManager[None]:
        return room_for(f"stage {stage}", self.root, "paths.cache")

    def _log_execution(self, stage: str, key: str, seconds: float) -> None:
        entry = {"stage": stage, "key": key, "seconds": round(seconds, 3), "pid": os.getpid()}
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        descriptor = os.open(self.root / EXECUTIONS, flags, 0o644)
        try:  # a single write to an append-only file: lines of several processes do not mix
            os.write(descriptor, (json.dumps(entry) + "\n").encode())
        finally:
            os.close(descriptor)


@contextmanager
def _exclusive(path: Path, stage: str) -> Generator[None]:
    """Holds the lock of an artifact, `KEY.lock` beside it, which is removed with the lock.

    Raises:
        BrokenArtifact: the lock cannot be opened: it is a directory, or not one's own.
    """
    file = path.with_name(f"{path.name}.lock")
    lock = FileLock(file)
    try:
        try:
            lock.acquire(timeout=PATIENCE)
        except Timeout:
            holder = _contents(file) or "another process"
            log.warning("stage %s %s: waiting for %s, which computes it", stage, path.name, holder)
            lock.acquire()
    except OSError as error:
        if says_full(error):
            raise
        raise BrokenArtifact(
            f"stage {stage} needs the lock {file} ({error.strerror}); remove it if it is no file, "
            "or set runtime.cache=only to read what is there"
        ) from error
    try:
        with suppress(OSError):  # a full disk: the lock holds without a name in it
            file.write_text(f"process {os.getpid()} on {platform.node()}", encoding="utf-8")
        yield
    finally:
        file.unlink(missing_ok=True)  # before the release; who waits for this inode tries again
        lock.release()


def _contents(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")[:200]
    except OSError:
        return ""


def _remove(path: Path) -> None:
    """Removes a directory, a link or a file if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def executions(root: Path) -> list[tuple[str, str]]:
    """Returns (stage, key) of every computation under `root`, in order; a line that a crash cut off
    is left out.
    """
    path = root / EXECUTIONS
    found: list[tuple[str, str]] = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        with suppress(ValueError, KeyError, TypeError):
            entry = json.loads(line)
            found.append((entry["stage"], entry["key"]))
    return found


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
