"""Model directories: a fine-tuned model with its tokenizer, its card and a manifest.

It is a directory as transformers writes it, which `transformers.pipeline` opens, with the manifest
`shortlist.json` beside the files: what the model predicts, from which run it comes, and the SHA-256
of every file but the card, which people edit. The manifest is written last and holds a digest of
itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shortlist.core.typed import typed
from shortlist.errors import BrokenArtifact, InvalidInput, Missing
from shortlist.stats.calibration import Isotonic, Platt, Temperature, Vector
from shortlist.stats.intervals import normal_interval
from shortlist.store.atomic import fsync, make_directory
from shortlist.store.disk import room_for

MANIFEST = "shortlist.json"
CARD = "README.md"  # a person may edit it: it has no digest
SCHEMA = 1
MAX_BYTES = 16 * 2**20  # of a manifest; a calibration map of 1,000 classes takes some MB
_VERSION = 12  # hexadecimal digits of a digest
_SEAL = "sha256"  # of the manifest itself
_EXPORT_AGAIN = "export the run again"

Kind: TypeAlias = Literal["single_label", "multi_label", "regression", "pairs", "tokens"]
Method: TypeAlias = Literal["temperature", "vector", "platt", "isotonic"]
MAPS = {"temperature": Temperature, "vector": Vector, "platt": Platt, "isotonic": Isotonic}


@dataclass(frozen=True)
class Calibration:
    """A fitted map of class probabilities; see `stats.calibration`.

    Attributes:
        method: the family of the map.
        parameters: what it has learned.
    """

    method: Method
    parameters: Mapping[str, Any]

    def apply(self, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns (n, k) calibrated probabilities of (n, k) probabilities."""
        return MAPS[self.method].apply(self.parameters, probabilities)


@dataclass(frozen=True)
class Measured:
    """A metric of the model on the task's test items.

    Attributes:
        name: name of the metric.
        value: its value.
        stderr: its standard error, None where it is not known.
    """

    name: str
    value: float
    stderr: float | None = None

    def __str__(self) -> str:
        """The value with its 95 % interval."""
        if self.stderr is None:
            return f"{self.name} {self.value:.4f}"
        low, high = normal_interval(self.value, self.stderr)
        return f"{self.name} {self.value:.4f} (95 %: {low:.4f} to {high:.4f})"


@dataclass(frozen=True)
class Variant:
    """Another file of the same model, and what it changes on the test items.

    Attributes:
        agreement: share of test items whose prediction is that of the weights.
        difference: largest absolute difference of an output (logit) from that of the weights.
        metric: the metric of the variant.
    """

    agreement: float
    difference: float
    metric: Measured


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What a manifest says of a model, besides its files.

    Attributes:
        task: name of the task that it is fine-tuned on.
        kind: what it predicts: one class, any number of classes, a number, or a tag for each word;
            `pairs` is one class of two texts.
        labels: class names in the order of the outputs; none of a regression.
        max_length: tokens that are read of an input; the rest is cut.
        calibration: the map of its probabilities, or None.
        record: key of the run's record.
        run: name of the run.
        selection: fingerprint of the selected documents.
        data_version: fingerprint of the training texts.
        metric: the task's primary metric.
        two_texts: whether an input is two texts, also of a regression.
        threshold: smallest probability of a predicted class of `multi_label`.
        variants: other files of the model by name, such as `model.int8.onnx`.
    """

    task: str
    kind: Kind
    labels: tuple[str, ...]
    max_length: int
    record: str
    run: str
    selection: str
    data_version: str
    metric: Measured
    calibration: Calibration | None = None
    two_texts: bool = False
    threshold: float = 0.5
    variants: Mapping[str, Variant] = field(default_factory=dict[str, Variant])

    def named(self) -> dict[str, Any]:
        """Returns the facts by name, without the files."""
        return {one.name: getattr(self, one.name) for one in fields(ModelFacts)}


@dataclass(frozen=True, kw_only=True)
class _Manifest(ModelFacts):
    schema: int
    model_version: str
    files: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class ModelDir(ModelFacts):
    """A verified model directory.

    Attributes:
        path: the directory.
        model_version: the first digits of the digest of the weights.
        files: SHA-256 of the files by name.
    """

    path: Path
    model_version: str
    files: Mapping[str, str]


def write_model_dir(path: Path, write: Callable[[Path], ModelFacts]) -> ModelDir:
    """Returns the model directory `path` after writing it whole or not at all; an earlier model
    directory there is replaced.

    Args:
        path: the directory.
        write: writes all files but the manifest into the given directory (no folders) and returns
            the facts.

    Raises:
        InvalidInput: `path` is something else than a model directory, or cannot be written.
        DoesNotFit: the disk is full.
    """
    path = path.expanduser().absolute()
    check_free(path)
    make_directory(path.parent, "--out")
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        with room_for("the model directory", path.parent, "--out"):
            facts = write(temporary)
            digests = {name: _sha256(temporary / name) for name in _names(temporary)}
            content = asdict(facts) | {
                "schema": SCHEMA,
                "model_version": version_of(temporary, digests),
                "files": digests,
            }
            content = json.loads(json.dumps(content))  # as it is read: lists, keys that are strings
            text = json.dumps({**content, _SEAL: _hash(content)}, indent=1, ensure_ascii=False)
            (temporary / MANIFEST).write_text(text + "\n", encoding="utf-8")
            for file in temporary.iterdir():
                file.chmod(0o644)
                fsync(file)
            temporary.chmod(0o755)
            fsync(temporary)
        _replace(path, temporary)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return open_model_dir(path)


def check_free(path: Path) -> None:
    """Refuses to write a model directory over anything but an earlier one or an empty directory.

    Raises:
        InvalidInput: there is something else.
    """
    there = os.path.lexists(path)
    if there and not (path.is_dir() and ((path / MANIFEST).is_file() or not any(path.iterdir()))):
        raise InvalidInput(
            f"expected a new directory or an earlier model directory, found {path} with other "
            "contents; choose another --out"
        )


def _replace(path: Path, whole: Path) -> None:
    """Renames `whole` to `path`; what is there is moved aside first and then removed."""
    if os.path.lexists(path):
        aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
        path.rename(aside / path.name)
        whole.rename(path)
        shutil.rmtree(aside, ignore_errors=True)
    else:
        whole.rename(path)
    fsync(path.parent)


def open_model_dir(path: Path) -> ModelDir:
    """Returns the model directory `path` after comparing every file with its digest.

    Raises:
        Missing: there is no manifest.
        BrokenArtifact: the manifest is not one that was written, or a file is missing, is not in
            it, or differs from its digest.
    """
    path = path.expanduser().absolute()
    manifest = path / MANIFEST
    if not manifest.is_file():
        raise Missing(
            f"expected a model directory with {MANIFEST}, found {path} without it; write one with "
            "shortlist export RUN --out DIR"
        )
    read = _parse(manifest)
    try:
        _compare(path, read)
    except OSError as error:
        raise BrokenArtifact(f"{error.filename} cannot be read: {error.strerror}") from error
    return ModelDir(path=path, model_version=read.model_version, files=read.files, **read.named())


def _parse(manifest: Path) -> _Manifest:
    try:
        if (size := manifest.stat().st_size) > MAX_BYTES:
            raise InvalidInput(f"expected at most {MAX_BYTES:,} bytes, found {size:,}")
        content = typed(Mapping[str, Any], json.loads(manifest.read_bytes()), "a manifest")
        seal = content.pop(_SEAL, None)
        if (schema := content.get("schema")) != SCHEMA:
            raise InvalidInput(f"expected schema {SCHEMA}, found {schema!r}")
        if seal != _hash(content):
            raise InvalidInput("its contents are not those of its digest")
        read: _Manifest = typed(_Manifest, content, "")
        _check(read)
    except (OSError, ValueError, RecursionError, InvalidInput) as error:
        raise BrokenArtifact(f"{manifest}: {error}; {_EXPORT_AGAIN}") from error
    return read


def _check(read: _Manifest) -> None:
    """Raises InvalidInput where facts that are typed right do not belong together."""
    for name in read.files:
        if name in ("", ".", "..", MANIFEST, CARD) or "/" in name or "\\" in name:
            raise InvalidInput(f"expected the name of a file, found {name!r}")
    classes = len(read.labels)
    if (read.kind == "regression") != (classes == 0):
        raise InvalidInput(f"a model of kind {read.kind} with {classes} labels")
    if read.max_length < 1:
        raise InvalidInput(f"max_length must be at least 1, found {read.max_length}")
    if read.calibration is not None:
        tried = np.full((1, classes), 1 / classes)
        try:
            mapped = read.calibration.apply(tried)
        except Exception as error:  # parameters are any JSON: numpy's faults are of many classes
            raise InvalidInput(f"a calibration map that cannot be applied ({error})") from error
        if mapped.shape != tried.shape or not np.allclose(mapped.sum(1), 1):
            raise InvalidInput("a calibration map that does not give probabilities")


def _compare(path: Path, read: _Manifest) -> None:
    """Raises BrokenArtifact unless the files of the directory are the described ones."""
    found = _names(path)
    if missing := sorted(set(read.files) - set(found)):
        raise BrokenArtifact(f"{path}: {missing[0]} is missing; {_EXPORT_AGAIN}")
    if foreign := sorted(set(found) - set(read.files)):
        raise BrokenArtifact(f"{path}: {foreign[0]} is not in its manifest; remove it")
    for name, digest in read.files.items():
        if _sha256(path / name) != digest:
            raise BrokenArtifact(
                f"{path}: {name} has another SHA-256 than its manifest says; {_EXPORT_AGAIN}"
            )


def _names(path: Path) -> list[str]:
    """Returns everything in a model directory that has a digest, sorted; hidden names have none.

    Raises:
        BrokenArtifact: it contains a folder.
    """
    names = sorted(
        entry.name
        for entry in path.iterdir()
        if entry.name not in (MANIFEST, CARD) and not entry.name.startswith(".")
    )
    for name in names:
        if not (path / name).is_file():
            raise BrokenArtifact(f"{path}: {name} is no file; remove it")
    return names


def version_of(path: Path, digests: Mapping[str, str]) -> str:
    """Returns the version of a model from the SHA-256 of its files by name: the first digits of
    that of the weights, of several files of their digests.

    Raises:
        BrokenArtifact: there are no weights.
    """
    weights = [digest for name, digest in digests.items() if name.endswith(".safetensors")]
    if not weights:
        raise BrokenArtifact(f"{path}: expected weights in safetensors format, found none")
    joined = hashlib.sha256("".join(weights).encode()).hexdigest()
    return (weights[0] if len(weights) == 1 else joined)[:_VERSION]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
