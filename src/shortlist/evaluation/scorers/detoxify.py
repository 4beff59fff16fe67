"""Detoxify's classifiers (Hanu and Unitary 2020) from a local checkpoint, read without pickle."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from shortlist import progress
from shortlist.core import digest
from shortlist.errors import BrokenArtifact, InvalidInput, Missing, near
from shortlist.evaluation.scorers.base import Scorer
from shortlist.models.checkpoint import silenced_transformers
from shortlist.needs import setting_need

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from shortlist.data.sources import Source
    from shortlist.needs import Need

log = logging.getLogger(__name__)

# The package's names of the classes of its oldest checkpoints.
_NAMES = {
    "toxic": "toxicity",
    "severe_toxic": "severe_toxicity",
    "identity_hate": "identity_attack",
}
_AFTER_PADDING = {
    "roberta",
    "xlm-roberta",
    "camembert",
}  # their positions begin after the padding's
_DESCRIBING = {".json", ".txt", ".model"}


class DetoxifyScorer(Scorer):
    """The probability of one attribute by a classifier of the package `detoxify`.

    The package opens a checkpoint with pickle, which runs the code in it, and fetches the model's
    configuration from the hub. Here the checkpoint is read as tensors and plain data after its
    SHA-256 has been compared, and configuration and tokenizer are read from a folder; the package
    builds and runs the model. Texts longer than the model's input are cut and counted.
    """

    extra = "toxicity"

    def __init__(
        self,
        checkpoint: str | None,
        sha256: str | None,
        model: str | None,
        attribute: str,
        batch_size: int,
        device: str,
    ) -> None:
        """Stores the settings.

        Args:
            checkpoint: the package's checkpoint file (`.ckpt`).
            sha256: its expected SHA-256, 64 hexadecimal digits; None takes any, and warns.
            model: folder of the model's `config.json` and tokenizer.
            attribute: `toxicity`, or another class of the checkpoint.
            batch_size: texts a batch.
            device: `auto`, `cpu` or `cuda`.

        Raises:
            InvalidInput: a setting is out of range.
        """
        if batch_size < 1 or device not in {"auto", "cpu", "cuda"}:
            raise InvalidInput(
                "scorer=detoxify needs a batch_size of at least 1 and device auto, cpu or cuda, "
                f"found {batch_size} and {device!r}"
            )
        self.checkpoint = None if checkpoint is None else Path(checkpoint).expanduser()
        self.model = None if model is None else Path(model).expanduser()
        self.sha256 = None if sha256 is None else str(sha256).lower()
        self.attribute, self.batch_size, self.device = attribute, batch_size, device
        self._loaded: Any = None

    @classmethod
    def needs(cls, place: str, node: Mapping[str, Any], source: Source) -> Iterator[Need]:
        """Yields the checkpoint, and the folder of the model."""
        for name in ("checkpoint", "model"):
            advice = f"set {place}.{name}=PATH (conf/scorer/detoxify.yaml)"
            yield setting_need(f"{place}.{name}", node[name], advice)

    def check(self) -> None:
        """Refuses missing files and a checkpoint with another digest, which is not opened.

        Raises:
            InvalidInput: checkpoint or model is not set.
            Missing: the package or a file does not exist.
            BrokenArtifact: the checkpoint's digest is not the expected one.
        """
        if importlib.util.find_spec("detoxify") is None:
            raise Missing("scorer=detoxify needs a package; run: pip install 'shortlist[toxicity]'")
        sha256 = self._digest()
        if self.sha256 is None:
            path = self.checkpoint
            log.warning("checkpoint %s is not pinned; to pin it set sha256=%s", path, sha256)
        self._model_files()

    def identity(self) -> dict[str, str]:
        """Returns the SHA-256 of the checkpoint and a digest of the files that describe the model.

        Raises:
            ShortlistError: as `check`.
        """
        files = [(file.name, hashlib.sha256(file.read_bytes())) for file in self._model_files()]
        return {
            "scorer": f"detoxify {self.version}",
            "attribute": self.attribute,
            "checkpoint": self._digest(),
            "model": digest(part for name, state in files for part in (name, state.digest())),
        }

    def score(self, texts: Sequence[str], report: progress.Report) -> NDArray[np.float64]:
        """Returns the (n,) probabilities of the attribute; `counts` has the number `truncated`.

        Raises:
            ShortlistError: as `check`; or the checkpoint carries more than tensors and plain data,
                does not fit the model, or has no such attribute.
        """
        if self._loaded is None:
            self._loaded = self._load()
        detoxify = self._loaded
        scores = np.full(len(texts), np.nan)
        lengths = np.array([len(text) for text in texts])
        truncated = 0
        order = np.argsort(
            -lengths, kind="stable"
        )  # texts of similar length together: little padding
        for start in range(0, len(texts), self.batch_size):
            rows = order[start : start + self.batch_size]
            batch = [texts[row] for row in rows]
            uncut = detoxify.tokenizer(batch, verbose=False)["input_ids"]
            truncated += sum(len(ids) > detoxify.tokenizer.model_max_length for ids in uncut)
            # Of a single text the package returns a number, not a list of one.
            predicted = np.atleast_1d(detoxify.predict(batch)[self.attribute])
            scores[rows] = np.where(np.isfinite(predicted), predicted, np.nan)
            report(len(rows))
        self.counts = {"truncated": truncated} if truncated else {}
        return scores

    def _digest(self) -> str:
        if self.checkpoint is None:
            raise InvalidInput(
                "scorer=detoxify needs a local checkpoint, found none; set checkpoint=FILE among its "
                "settings"
            )
        try:
            with self.checkpoint.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise Missing(
                f"checkpoint {self.checkpoint} cannot be read: {error.strerror}; set "
                "checkpoint=FILE among the settings of scorer=detoxify"
            ) from error
        if self.sha256 not in {None, sha256}:
            raise BrokenArtifact(
                f"checkpoint {self.checkpoint} has SHA-256 {sha256}, expected {self.sha256}; fetch it "
                "again, or set the sha256 of the one you mean"
            )
        return sha256

    def _model_files(self) -> list[Path]:
        if self.model is None:
            raise InvalidInput(
                "scorer=detoxify needs the folder of the model's config.json and tokenizer, found "
                "none; set model=DIR among its settings"
            )
        if not (self.model / "config.json").is_file():
            raise Missing(
                f"a folder with config.json was expected, found {self.model} without one; set "
                "model=DIR among the settings of scorer=detoxify"
            )
        return sorted(file for file in self.model.iterdir() if file.suffix in _DESCRIBING)

    def _load(self) -> Any:
        """Returns the package's object, created without its constructor, which unpickles."""
        self.check()
        from detoxify import detoxify

        arguments, classes, weights = _parts(self.checkpoint)
        if self.attribute not in classes:
            raise InvalidInput(
                f"checkpoint {self.checkpoint} has no attribute {self.attribute!r}; "
                f"{near(self.attribute, classes)}"
            )
        arguments = {**arguments, "model_type": str(self.model)}
        loaded: Any = object.__new__(detoxify.Detoxify)
        with silenced_transformers():
            # Without the argument huggingface_config_path, which would take the number of classes
            # from the folder: that of a base model says 2.
            loaded.model, loaded.tokenizer = detoxify.get_model_and_tokenizer(
                **arguments, state_dict=weights
            )
        # A missing weight would be initialised at random, with only a log line.
        known = loaded.model.state_dict()
        missing = sorted(known.keys() - weights.keys())
        if missing:
            raise BrokenArtifact(
                f"checkpoint {self.checkpoint} has no weights for {missing[0]} and "
                f"{len(missing) - 1} more of the model in {self.model}; set the model that it belongs to"
            )
        config = loaded.model.config
        positions = config.max_position_embeddings
        if config.model_type in _AFTER_PADDING:
            positions -= config.pad_token_id + 1
        # A tokenizer without a maximal length cuts nothing, and the model fails on a long text.
        loaded.tokenizer.model_max_length = min(loaded.tokenizer.model_max_length, positions)
        loaded.class_names = classes
        cuda = self.device != "cpu" and torch.cuda.is_available()
        loaded.device = "cuda" if cuda or self.device == "cuda" else "cpu"
        loaded.model.to(loaded.device)
        return loaded


def _parts(checkpoint: Any) -> tuple[dict[str, Any], list[str], Mapping[str, torch.Tensor]]:
    """Returns the model's constructor arguments, the names of its classes and its weights; no code
    in the file is run.
    """
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError) as error:
        raise BrokenArtifact(
            f"checkpoint {checkpoint}: expected tensors and plain data, found a file that cannot be "
            "read without running code, or is no checkpoint; it was not run; use the official file"
        ) from error
    try:
        settings = content["config"]["arch"]["args"]
        arguments = {
            name: settings[name] for name in ("model_name", "tokenizer_name", "num_classes")
        }
        listed = map(str, content["config"]["dataset"]["args"]["classes"])
        classes = [_NAMES.get(name, name) for name in listed]
        weights = content["state_dict"]
    except (KeyError, TypeError) as error:
        raise BrokenArtifact(
            f"checkpoint {checkpoint}: expected `state_dict` and `config` as the package writes "
            f"them, found no {error}; use a checkpoint of the package"
        ) from error
    # The package looks both names up in transformers, so that only these two kinds are allowed.
    model, tokenizer = str(arguments["model_name"]), str(arguments["tokenizer_name"])
    if not (
        model.endswith("ForSequenceClassification") and tokenizer.endswith(("Tokenizer", "Fast"))
    ):
        raise BrokenArtifact(
            f"checkpoint {checkpoint}: expected the names of a sequence classifier and a tokenizer, "
            f"found {model!r} and {tokenizer!r}; use a checkpoint of the package"
        )
    return arguments, classes, weights
