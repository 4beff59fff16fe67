"""Finished runs: the record, the data and the fine-tuned weights, read from the store."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf

from shortlist.core import READS, Metric, Record
from shortlist.data.files import file_digest
from shortlist.deploy.model_dir import MAPS, Calibration, Kind
from shortlist.errors import BrokenArtifact, InvalidInput, Missing, near
from shortlist.models.heads.base import Head
from shortlist.models.heads.labels import MultiLabel, Regression, SingleLabel
from shortlist.models.heads.tags import Tags
from shortlist.overrides import composed
from shortlist.pipeline.calibration import PARAMETERS
from shortlist.pipeline.cell import open_cell
from shortlist.pipeline.compression import ORIGINAL, names_of
from shortlist.pipeline.compression import STAGE as COMPRESSION
from shortlist.pipeline.data import TaskSplits, load_task
from shortlist.pipeline.stage import Cell
from shortlist.store.keys import canonical
from shortlist.store.manifest import read_manifest
from shortlist.store.records import read_file

RECORD = "record.json"
FEEDBACK = f"{READS}feedback.file"  # the digest of what the run learned from
TYPED = Path(".hydra/overrides.yaml")  # what was typed, settings of the machine included
KINDS: dict[type[Head], Kind] = {
    SingleLabel: "single_label",
    MultiLabel: "multi_label",
    Regression: "regression",
    Tags: "tokens",
}


@dataclass(frozen=True)
class StoredRun:
    """A run that was fine-tuned and evaluated.

    Attributes:
        name: name of the run's folder, or the key of its record.
        record: its record.
        cell: its cell; stages are read from the store and never computed.
        task: the task's splits.
        model: which of its models: `finetune`, or the compression that made it.
    """

    name: str
    record: Record
    cell: Cell
    task: TaskSplits
    model: str = ORIGINAL

    @property
    def models(self) -> tuple[str, ...]:
        """The names of all its models, the fine-tuned one first."""
        return (ORIGINAL, *names_of(self.record))

    def of(self, model: str) -> StoredRun:
        """Returns the run with another of its models.

        Raises:
            InvalidInput: it has no such model.
        """
        if model not in self.models:
            raise InvalidInput(
                f"run {self.name} has no model {model!r}; {near(model, self.models)}"
            )
        return replace(self, model=model)

    @property
    def primary(self) -> Metric:
        """The task's primary metric of the model on the test items."""
        name, split = next((one.name, one.split) for one in self.record.metrics if one.primary)
        found = next(one for one in self.metrics if (one.name, one.split) == (name, split))
        return replace(found, primary=True)

    @property
    def metrics(self) -> list[Metric]:
        """The metrics of the model; those of a smaller one under the names that the fine-tuned
        model's have, but for what it gained.
        """
        found, own = self.record.metrics, f"_{self.model}"
        if self.model == ORIGINAL:
            others = tuple(f"_{name}" for name in self.models[1:])
            return [one for one in found if not one.name.endswith(others)]
        return [
            one if "_gain_of_" in one.name else replace(one, name=one.name.removesuffix(own))
            for one in found
            if one.name.endswith(own)
        ]

    @property
    def kind(self) -> Kind:
        """What the model predicts.

        Raises:
            InvalidInput: a model directory has no such kind.
        """
        head = self.task.head
        kind = KINDS.get(type(head))
        if kind is None:
            raise InvalidInput(
                f"run {self.name}: a model directory holds a model that predicts classes, numbers or "
                f"tags, this one is {head.description}"
            )
        return "pairs" if kind == "single_label" and self.two_texts else kind

    @property
    def two_texts(self) -> bool:
        """Whether an input is two texts."""
        return self.task.data.test.texts_b is not None

    @cached_property
    def weights(self) -> Path:
        """The directory of the model, its files compared with their digests.

        Raises:
            Missing: it is not in the store.
        """
        return self.artifact(ORIGINAL if self.model == ORIGINAL else f"{COMPRESSION}{self.model}")

    @property
    def predictions(self) -> NDArray[np.float64]:
        """What the model predicts of the test items: (n, k) probabilities, (n,) numbers or texts.

        Raises:
            Missing: they are not in the store.
        """
        return np.load(self.artifact(self._stage("evaluate")) / "predictions.npy")

    @property
    def calibration(self) -> Calibration | None:
        """The map that the run has fitted on validation items; None where it has none.

        Raises:
            InvalidInput: it is of a class that a model directory cannot name.
        """
        if not any(stage.stage == self._stage("calibrate") for stage in self.record.stages):
            return None
        method = str(self.record.config["calibration"]["_target_"]).rpartition(".")[2].lower()
        if type(self.cell.parts.calibration) is not MAPS.get(method):
            raise InvalidInput(
                f"run {self.name}: a model directory holds a map of {', '.join(MAPS)}, this one is "
                f"{method}; run again with calibration=temperature"
            )
        text = (self.artifact(self._stage("calibrate")) / PARAMETERS).read_text(encoding="utf-8")
        return Calibration(method, json.loads(text))  # type: ignore[arg-type]

    def _stage(self, name: str) -> str:
        """Returns the name of a stage that measures the model."""
        return name if self.model == ORIGINAL else f"{name}_{self.model}"

    def artifact(self, stage: str) -> Path:
        """Returns the verified directory of one of the run's artifacts."""
        key = next((one.key for one in self.record.stages if one.stage == stage), None)
        path = self.cell.store.root / stage / str(key)
        again = f"repeat the run, or set -- paths.cache=DIR to the store that it used: {path}"
        if key is None:
            raise InvalidInput(
                f"run {self.name}: expected stage {stage}, found a run that ends before it; run with "
                "until=evaluate"
            )
        try:
            if read_manifest(stage, path) is None:
                raise Missing(f"run {self.name}: its {stage} is not in the store; {again}")
        except BrokenArtifact as damage:
            raise BrokenArtifact(f"run {self.name}: {damage}; repeat the run") from damage
        return path


def read_run(run: Path) -> tuple[str, Record]:
    """Returns name and record of a run.

    Args:
        run: its directory, a file in it, or the file of its record.

    Raises:
        Missing: there is no record.
        InvalidInput: the record is broken, or the run did not finish.
    """
    file = run / RECORD if run.is_dir() else run
    if file.suffix != ".json":
        file = run.with_name(RECORD)
    if not file.is_file():
        raise Missing(
            f"expected a run with {RECORD}, found none in {run}; name the directory of a run"
        )
    record = read_file(file)
    if record.status != "done":
        raise InvalidInput(
            f"{file}: expected a finished run, found status {record.status}: {record.reason}"
        )
    named = file.name == RECORD
    return (file.absolute().parent.name if named else record.key), record


@contextmanager
def reopened(run: Path, settings: Sequence[str] = ()) -> Generator[tuple[str, Record, Cell]]:
    """Returns a context whose value is a finished run: its name, its record, and its cell, whose
    stages are read from the store and never computed.

    The configuration is composed of what was typed, which the run's directory holds; of the file of
    a record, of its overrides, and the settings of the machine (`paths.data`, `paths.cache`) must
    be given.

    Args:
        run: as in `read_run`.
        settings: further overrides, of the machine.

    Raises:
        Missing: the run is not there.
        InvalidInput: the record cannot be repeated from its overrides.
    """
    name, record = read_run(run)
    file = (run if run.is_dir() else run.parent) / TYPED
    typed = list(OmegaConf.load(file)) if file.is_file() else list(record.overrides)  # type: ignore[arg-type]
    with composed([*typed, *settings]) as config, tempfile.TemporaryDirectory() as directory:
        cell = open_cell(config, dict(config.hydra.runtime.choices), Path(directory)).only_stored()
        if canonical(cell.settings) != canonical(record.config):
            raise InvalidInput(
                f"run {name}: its overrides no longer give its configuration; repeat the run"
            )
        yield name, record, cell


@contextmanager
def open_run(run: Path, settings: Sequence[str] = ()) -> Generator[StoredRun]:
    """Returns a context whose value is a run that was fine-tuned; arguments as in `reopened`.

    Raises:
        Missing: the run, or its task, is not there.
        InvalidInput: the record cannot be repeated from its overrides.
    """
    name, record = read_run(run)
    if record.until != "evaluate" or not any(s.stage == "evaluate" for s in record.stages):
        raise InvalidInput(
            f"run {name}: expected a run that was fine-tuned and evaluated, found one that ends with "
            f"{record.until}" + ", evaluated without fine-tuning" * (record.until == "evaluate")
        )
    with reopened(run, settings) as (_, _, cell):
        feedback = cell.parts.feedback
        if feedback is not None and file_digest(feedback.path) != record.reads[FEEDBACK]:
            raise InvalidInput(
                f"run {name}: {feedback.path} is not the feedback that the run learned from; restore it, "
                "and give each round a file of its own"
            )
        yield StoredRun(name, record, cell, load_task(cell))
