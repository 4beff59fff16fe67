"""What every stage function receives (`Cell`) and returns beside its value (`Notes`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shortlist.core import Metric, Role, StageCost
from shortlist.models.pretrained import StoredModel
from shortlist.store.cache import Artifact, Compute, Store

if TYPE_CHECKING:
    from shortlist.core import Axes
    from shortlist.pipeline.compose import Components


@dataclass(frozen=True)
class Stage(Artifact):
    """A finished stage, charged to a role.

    Attributes:
        role: which cost column of a table it counts toward.
    """

    role: Role = "preparation"

    @property
    def cost(self) -> StageCost:
        """The stage's line in a record."""
        return StageCost(
            self.stage, self.key, self.seconds, self.peak_mib, self.device, role=self.role
        )


@dataclass(frozen=True)
class Cell:
    """One cell of the experiment grid: what was asked for, before anything is computed.

    Attributes:
        parts: the objects that the configuration names.
        settings: the hashed groups of the configuration as plain data; stages take their keys from
            them.
        store: where artifacts live.
        directory: the run's directory.
        axes: the cell's place in a table.
        command: the command that repeats the cell, as typed.
        role: the role that stages computed through this object are charged to.
    """

    parts: Components
    settings: Mapping[str, Any]
    store: Store
    directory: Path
    axes: Axes
    command: str = ""
    role: Role = "preparation"

    def charged_to(self, role: Role) -> Cell:
        """Returns the same cell; what is computed through it is charged to `role`."""
        return replace(self, role=role)

    def only_stored(self) -> Cell:
        """Returns the same cell; its stages are read and never computed."""
        return replace(self, store=Store(self.store.root, "only", self.store.device))

    def stage(
        self,
        name: str,
        version: int,
        settings: Mapping[str, Any],
        inputs: Mapping[str, str],
        compute: Compute,
        *,
        weights: bool = True,
    ) -> Stage:
        """Returns the finished stage, computed if the store does not have it (see `Store.stage`)."""
        artifact = self.store.stage(name, version, settings, inputs, compute, weights=weights)
        return Stage(**vars(artifact), role=self.role)

    def model(
        self,
        name: str,
        version: int,
        settings: Mapping[str, Any],
        inputs: Mapping[str, str],
        compute: Compute,
    ) -> tuple[Stage, StoredModel]:
        """Returns the finished stage that writes a model, and the model.

        Its weights are compared with their digests where they are opened, by `directory`, which
        computes them again if they are damaged: a cell whose results are stored opens no model.
        """
        stage = partial(self.stage, name, version, settings, inputs, compute)
        finished = stage(weights=False)
        return finished, StoredModel(lambda: stage().path, finished.key)


@dataclass(frozen=True)
class Notes:
    """What a stage adds to the record of its cell.

    Attributes:
        stages: the finished stages, in order.
        counts: what was left out, cut or failed, by name.
        inputs: fingerprints and digests of what went in, by name.
        selection: facts of the selection (`Record.selection`), by name.
        warnings: what a reader of the numbers must know.
        metrics: what was measured.
        item_scores: what each test item contributed to a metric, packed, by the metric's name.
    """

    stages: tuple[Stage, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict[str, int])
    inputs: Mapping[str, str] = field(default_factory=dict[str, str])
    selection: Mapping[str, Any] = field(default_factory=dict[str, Any])
    warnings: tuple[str, ...] = ()
    metrics: tuple[Metric, ...] = ()
    item_scores: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def distinct_stages(self) -> tuple[Stage, ...]:
        """Each stage once, where it was used first: its cost is charged to that role."""
        stages: dict[tuple[str, str], Stage] = {}
        for stage in self.stages:
            stages.setdefault((stage.stage, stage.key), stage)
        return tuple(stages.values())

    def __add__(self, other: Notes) -> Notes:
        """Returns both notes; of two values under one name the later one stands."""
        joined: dict[str, Any] = {}
        for item in fields(self):
            first, second = getattr(self, item.name), getattr(other, item.name)
            joined[item.name] = first + second if isinstance(first, tuple) else {**first, **second}
        return Notes(**joined)
