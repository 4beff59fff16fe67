"""What the stages of one cell share: its parts, the store, and what is known of it so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shortlist.core import Axes, Metric, Role, StageCost
from shortlist.pipeline.compose import Components
from shortlist.store.cache import Artifact, Facts, Store

if TYPE_CHECKING:
    from shortlist.pipeline.scoring import Judge

Compute = Callable[[Path], Facts | None]


@dataclass
class Context:
    """One cell while it runs.

    Attributes:
        parts: the objects that its configuration names.
        config: its hashed groups as plain data, out of which stages take their keys.
        store: where artifacts live.
        directory: the run's directory.
        stages: the artifacts so far, in order.
        metrics: what was measured so far.
        item_scores: score of each test item by metric, packed; keyed by the metric's name.
        counts: what was left out or cut on the way.
        inputs: fingerprints and digests of what went in.
        warnings: what a reader of the numbers must know.
        vectors: the pool's vectors by member of the selector, or under `""`.
        targets: the tasks that documents are chosen for, by name.
        selected: size, distinct documents, digest and domains of the selection, and what the
            selector reports of its fit; what later stages have found out about it.
        judges: the methods that have scored the pool, by target, then by name (`""` for one that
            stands alone).
        axes: the names under which a table shows the cell.
        typed: what was typed.
    """

    parts: Components
    config: Mapping[str, Any]
    store: Store
    directory: Path
    stages: list[Artifact] = field(default_factory=list)
    metrics: list[Metric] = field(default_factory=list)
    item_scores: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    vectors: dict[str, Artifact] = field(default_factory=dict)
    targets: dict[str, Artifact] = field(default_factory=dict)
    selected: dict[str, Any] = field(default_factory=dict)
    judges: dict[str, dict[str, Judge]] = field(default_factory=dict)
    axes: Axes | None = None
    typed: tuple[str, ...] = ()

    def stage(
        self,
        name: str,
        version: int,
        settings: Mapping[str, Any],
        inputs: Mapping[str, str],
        compute: Compute,
    ) -> Artifact:
        """Returns the artifact of a stage, computed if it is not in the store, and notes it once."""
        made = self.store.stage(name, version, settings, inputs, compute)
        if all((made.stage, made.key) != (noted.stage, noted.key) for noted in self.stages):
            self.stages.append(made)
        return made

    def made(self, stage: str) -> Artifact:
        """Returns the first artifact of a stage that this cell has come by."""
        return next(artifact for artifact in self.stages if artifact.stage == stage)

    def costs(self) -> tuple[StageCost, ...]:
        """Returns the cost of each stage so far, in order."""
        return tuple(
            StageCost(a.stage, a.key, a.seconds, a.peak_mib, a.device, role)
            for a, role in zip(self.stages, roles([a.stage for a in self.stages]), strict=True)
        )

    def outcome(self) -> dict[str, Any]:
        """Returns the fields of the record that the stages have decided."""
        return {
            "status": "done",
            "metrics": tuple(self.metrics),
            "stages": self.costs(),
            "selection": self.selected,
            "inputs": self.inputs,
            "counts": self.counts,
            "warnings": tuple(self.warnings),
            "item_scores": self.item_scores,
        }


PREPARATION = ("pool", "task", "texts", "leaks", "divergences", "prefilter", "candidates")
SELECTION = ("tuned", "learned", "features", "whitening", "fit", "scores", "tokens", "selection")
DIAGNOSTICS = ("assumption", "pareto", "advice", "sensitivity")
TRAINING = ("pretrained", "taught", "head", "warmup", "held_out", "finetune")


def roles(stages: Sequence[str]) -> list[Role]:
    """Returns the role of each stage of a cell by its name and its position.

    A model that is trained before the first `fit` is trained for the vectors: `selection`. Stages of
    a selection after the first `selection` belong to the ablation baseline: `diagnostics`.
    """
    assigned: list[Role] = []
    for place, stage in enumerate(stages):
        before = stages[:place]
        if stage in PREPARATION:
            assigned.append("preparation")
        elif stage in SELECTION:
            assigned.append("diagnostics" if "selection" in before else "selection")
        elif stage in DIAGNOSTICS:
            assigned.append("diagnostics")
        elif stage in TRAINING:
            assigned.append("training" if "fit" in before else "selection")
        else:
            assigned.append("evaluation")
    return assigned


@dataclass(frozen=True)
class Start:
    """A model that a stage starts from: its directory and the key that stands for it."""

    path: Path
    key: str
