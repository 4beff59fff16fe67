"""Manifests: what the files of an artifact are, and whether they still are that.

A manifest is `manifest.json` in the directory of the artifact: material of the key, size and
SHA-256 of every file, facts and cost of the computation, and the SHA-256 of all that.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

from shortlist.errors import BrokenArtifact
from shortlist.store.atomic import fsync

MANIFEST = "manifest.json"
_FIELDS = {
    "stage": str, "version": int, "config": dict, "inputs": dict, "key": str, "files": dict,
    "digest": str, "facts": dict, "seconds": float | int, "peak_mib": float | int, "device": str,
}  # fmt: skip
_SEAL = "sha256"  # of the manifest itself; those written before 0.2.0 have none
_WEIGHTS = ".safetensors"
_PARALLEL = 2**22  # bytes from which files are hashed in threads

# SHA-256 by device, inode, size and time of change: a file is hashed once in a process.
_digests: dict[tuple[int, int, int, int], str] = {}


def write_manifest(directory: Path, description: Mapping[str, Any]) -> None:
    """Writes the manifest of the files in `directory`, and forces them and it to disk.

    Args:
        directory: the artifact, complete but for its manifest.
        description: the fields of the manifest but `files`, `digest` and `sha256`.
    """
    files: dict[str, Any] = {}
    for name in _names(directory):
        sha256 = _sha256(directory / name)
        fsync(directory / name)
        files[name] = {"bytes": (directory / name).stat().st_size, "sha256": sha256}
    manifest = {**description, "files": files, "digest": _hash(files)}
    manifest = json.loads(json.dumps(manifest))  # as it is read: keys are strings
    text = json.dumps({**manifest, _SEAL: _hash(manifest)}, indent=1, sort_keys=True)
    (directory / MANIFEST).write_text(text + "\n", encoding="utf-8")
    fsync(directory / MANIFEST)
    fsync(directory)


def read_manifest(stage: str, directory: Path, *, weights: bool = True) -> dict[str, Any] | None:
    """Returns the manifest of the artifact in `directory`, or None if there is no artifact.

    Every file is hashed, once in a process: large artifacts in as many threads as there are CPUs.
    Without `weights` only the sizes of `*.safetensors` are compared.

    Raises:
        BrokenArtifact: the manifest is not one, or another artifact's; or a file is missing, is not
            in the manifest, cannot be read, or differs from it.
    """
    try:
        raw = (directory / MANIFEST).read_bytes()
    except FileNotFoundError:
        if not os.path.lexists(directory):
            return None
        raise BrokenArtifact(f"{directory} has no {MANIFEST}") from None
    except OSError as error:
        raise BrokenArtifact(f"{directory / MANIFEST} cannot be read: {error.strerror}") from error
    manifest = _parse(directory, raw)
    if (manifest["stage"], manifest["key"]) != (stage, directory.name):
        raise BrokenArtifact(f"{directory} holds the artifact of another stage or key")
    try:
        _compare(directory, manifest["files"], weights)
    except OSError as error:
        raise BrokenArtifact(f"{error.filename} cannot be read: {error.strerror}") from error
    return manifest


def _parse(directory: Path, raw: bytes) -> dict[str, Any]:
    try:
        manifest: Any = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BrokenArtifact(f"{directory / MANIFEST} is not JSON: {error}") from error
    fields = cast("dict[str, Any]", manifest) if isinstance(manifest, dict) else {}
    seal = fields.pop(_SEAL, None)
    if (
        set(fields) != set(_FIELDS)
        or not all(isinstance(fields[name], kind) for name, kind in _FIELDS.items())
        or seal not in (None, _hash(fields))
        or fields["digest"] != _hash(fields["files"])
    ):
        raise BrokenArtifact(f"{directory / MANIFEST} is not the manifest that was written")
    return fields


def _compare(directory: Path, files: Mapping[str, Any], weights: bool) -> None:
    """Raises BrokenArtifact unless the files of the directory are the described ones."""
    found = set(_names(directory))
    if missing := sorted(set(files) - found):
        raise BrokenArtifact(f"{directory}: {missing[0]} is missing")
    if foreign := sorted(name for name in found - set(files) if not name.startswith(".")):
        raise BrokenArtifact(f"{directory}: {foreign[0]} is not in its manifest")
    sizes = {name: (directory / name).stat().st_size for name in files}
    for name, size in sizes.items():
        if size != files[name]["bytes"]:
            raise BrokenArtifact(
                f"{directory}: {name} has {size:,} bytes, expected {files[name]['bytes']:,}"
            )
    sizes = {name: size for name, size in sizes.items() if weights or not name.endswith(_WEIGHTS)}
    paths = [directory / name for name in sorted(sizes, key=lambda name: -sizes[name])]
    for path, digest in zip(paths, _sha256_of_all(paths, sum(sizes.values())), strict=True):
        name = path.relative_to(directory).as_posix()
        if digest != files[name]["sha256"]:
            raise BrokenArtifact(f"{directory}: {name} has another SHA-256 than its manifest says")


def _names(directory: Path) -> list[str]:
    """Returns the files of an artifact but the manifest, sorted, relative to its directory."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return sorted({path.relative_to(directory).as_posix() for path in files} - {MANIFEST})


def _sha256_of_all(paths: Iterable[Path], size: int) -> list[str]:
    if size < _PARALLEL:
        return [_sha256(path) for path in paths]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return list(threads.map(_sha256, paths))


def _sha256(path: Path) -> str:
    """Returns the SHA-256 of a file, computed once in a process as long as the file is the same."""
    status = path.stat()
    identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    if identity not in _digests:
        with path.open("rb") as file:
            _digests[identity] = hashlib.file_digest(file, "sha256").hexdigest()
    return _digests[identity]


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
