"""Models that a Python package carries with quantised weights, in a GGUF file.

The file is fetched from the package index or given, compared with its digest, kept in the cache,
and converted once: the artifact of a stage holds float32 weights as every other model has them.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from shortlist.errors import BrokenArtifact, InvalidInput, Missing
from shortlist.models import checkpoint
from shortlist.models.pretrained import Pretrained
from shortlist.needs import file_need
from shortlist.store.atomic import fsync, make_directory
from shortlist.store.cache import Store
from shortlist.store.disk import room_for
from shortlist.store.keys import key as make_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from shortlist.needs import Need
    from shortlist.store.cache import Compute

log = logging.getLogger(__name__)

FOLDER = "models"  # in the cache: the files as they were fetched
STAGE = "converted"
_PIECE = 1 << 22  # bytes


class QuantizedModel(Pretrained):
    """A causal language model whose quantised weights a Python package carries as a GGUF file."""

    extra = "gguf"

    def __init__(
        self, option: str, distribution: str, file: str, sha256: str, remark: str, cache: str
    ) -> None:
        """Stores the location.

        Args:
            option: name of this option of `model`, for messages.
            distribution: the package with its version, as pip reads it; it is never imported.
            file: the GGUF file inside its wheel.
            sha256: expected SHA-256 of that file.
            remark: what a reader of numbers must know of the weights; a warning of every record.
            cache: directory of artifacts (`paths.cache`).
        """
        self.option, self.distribution, self.file = option, distribution, file
        self.sha256, self.remark = sha256, remark
        self.cache = Path(cache).expanduser().absolute()

    @classmethod
    def needs(cls, place: str, node: Mapping[str, Any], source: Any) -> Iterator[Need]:
        """Yields the GGUF file."""
        path = Path(node["cache"]).expanduser().absolute() / FOLDER / Path(node["file"]).name
        yield file_need(path, place, path.is_file(), f"shortlist fetch {node['option']}")

    @property
    def gguf(self) -> Path:
        """Where the file lies once it is fetched."""
        return self.cache / FOLDER / Path(self.file).name

    @property
    def conversion(self) -> tuple[str, int, Mapping[str, Any], Mapping[str, str], Compute]:
        """The stage that converts the file: name, version, settings, inputs, computation."""
        return STAGE, self.version, {}, {"gguf": self.sha256}, self._convert

    @property
    def _is_converted(self) -> bool:
        stage, version, settings, inputs, _ = self.conversion
        return (self.cache / stage / make_key(stage, version, settings, inputs)).is_dir()

    def identity(self) -> dict[str, str]:
        """Returns the SHA-256 of the GGUF file.

        Raises:
            Missing: neither the file nor what it is converted to is in the cache.
        """
        if not self._is_converted:
            self._check_fetched()
        return {"gguf": self.sha256}

    def directory(self) -> Path:
        """Returns the directory of the converted model, which is computed if the cache lacks it."""
        return Store(self.cache).stage(*self.conversion).path

    def fetch(self, file: Path | None) -> Path:
        """Returns the directory of the converted model after fetching what it is made of.

        Args:
            file: the wheel, or the GGUF file itself; None downloads the wheel from the package
                index that pip is configured with, unless the file was fetched before.

        Raises:
            Missing: the wheel cannot be downloaded, or there is no such file.
            InvalidInput: the wheel does not hold the file.
            BrokenArtifact: the file has another digest.
        """
        if file is not None or not (self._is_converted or self.gguf.is_file()):
            folder = make_directory(self.cache / FOLDER, "paths.cache")
            with (
                room_for(f"the file of model={self.option}", folder, "paths.cache"),
                tempfile.TemporaryDirectory(dir=folder, prefix=".fetched-") as scratch,
            ):
                self._take(file or self._download(Path(scratch)), Path(scratch) / "weights.gguf")
        return self.directory()

    def _download(self, folder: Path) -> Path:
        """Returns the wheel after downloading it, without what it depends on, into `folder`."""
        log.info("downloading %s", self.distribution)
        arguments = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--quiet"]
        command = [sys.executable, "-m", "pip", "download", *arguments, "--dest", str(folder)]
        done = subprocess.run(
            [*command, self.distribution], capture_output=True, text=True, check=False
        )
        wheels = list(folder.glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            said = [line for line in done.stderr.splitlines() if line.strip()] or ["no wheel"]
            raise Missing(
                f"pip could not download {self.distribution} for model={self.option}: {said[-1][:300]}; "
                f"where the index is out of reach run: shortlist fetch {self.option} --from FILE, with the "
                "wheel or its GGUF file"
            )
        return wheels[0]

    def _take(self, source: Path, temporary: Path) -> None:
        """Copies the GGUF file out of a wheel, or as it is, to its place."""
        try:
            if zipfile.is_zipfile(source):
                with zipfile.ZipFile(source) as wheel, wheel.open(self.file) as packed:
                    found = _copied(packed, temporary)
            else:
                with source.open("rb") as plain:
                    found = _copied(plain, temporary)
        except KeyError as error:
            raise InvalidInput(
                f"{source}: expected a wheel with {self.file}, found none in it; give the wheel of "
                f"{self.distribution}, or the GGUF file itself"
            ) from error
        except zipfile.BadZipFile as error:
            raise BrokenArtifact(f"{source}: expected a whole wheel, found {error}") from error
        except FileNotFoundError as error:
            raise Missing(f"{source}: expected a wheel or a GGUF file, found none") from error
        self._check(found, source)
        fsync(temporary)
        temporary.replace(self.gguf)
        fsync(self.gguf.parent)

    def _check(self, found: str, source: Path) -> None:
        if found != self.sha256:
            raise BrokenArtifact(
                f"{source}: expected the {Path(self.file).name} of {self.distribution} with SHA-256 "
                f"{self.sha256[:16]}, found {found[:16]}; fetch it again, or give the right file with "
                f"shortlist fetch {self.option} --from FILE"
            )

    def _check_fetched(self) -> None:
        if not self.gguf.is_file():
            raise Missing(
                f"model={self.option} is not on this machine, found no {self.gguf}; run: shortlist fetch "
                f"{self.option} (offline: --from FILE, the wheel of {self.distribution} or its GGUF file)"
            )

    def _convert(self, directory: Path) -> dict[str, Any]:
        """Returns the number of parameters after writing the model in float32 into `directory`."""
        self._check_fetched()
        if importlib.util.find_spec("gguf") is None:
            raise Missing(
                f"model={self.option} needs the package gguf, found none; run: pip install "
                "'shortlist[gguf]'"
            )
        with self.gguf.open("rb") as file:
            self._check(hashlib.file_digest(file, "sha256").hexdigest(), self.gguf)
        model = checkpoint.dequantized(self.gguf)
        checkpoint.save(directory, model, checkpoint.tokenizer(self.gguf.parent, self.gguf.name))
        return {"parameters": sum(weight.numel() for weight in model.parameters())}


def _copied(source: IO[bytes], target: Path) -> str:
    """Returns the SHA-256 of a stream after writing it to `target`."""
    digest = hashlib.sha256()
    with target.open("wb") as file:
        while piece := source.read(_PIECE):
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()
