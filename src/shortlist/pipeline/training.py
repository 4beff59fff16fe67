"""The trainings of a cell: warm-up and fine-tuning, and what both refuse beforehand."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.pipeline.base_model import CellModel
from shortlist.pipeline.parallel import train_in_processes
from shortlist.pipeline.stage import Cell, Notes
from shortlist.trainers.base import EFFICIENCY, FOUND
from shortlist.trainers.classify import Validation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.pipeline.data import TaskSplits
    from shortlist.pipeline.selection import Selected
    from shortlist.tasks.base import Task


def warm_up(cell: Cell, base: CellModel, selected: Selected) -> CellModel:
    """Returns the model after training on the selection.

    The key holds the selected ids in place of how they were selected: equal selections train once.
    An empty selection leaves the base model as it is.
    """
    if selected.size == 0:
        return CellModel(base.model)
    trainer, seed, runtime = cell.parts.warmup, cell.parts.seed, cell.parts.runtime

    def compute(directory: Path) -> dict[str, Any]:
        start = base.model.directory()
        if runtime.processes > 1:
            node = cell.settings["warmup"]
            return train_in_processes(node, start, selected.documents, directory, seed, runtime)
        return trainer.train_on(start, selected.documents, directory, seed, runtime)

    inputs = {"model": base.model.key, "selection": selected.stage.facts["sha256"]}
    inputs |= trainer.identity(runtime)
    settings = {**cell.settings["warmup"], "seed": seed}
    stage, model = cell.model("warmup", trainer.version, settings, inputs, compute)
    counts = {
        f"warmup_{fact}": count for fact, count in stage.facts.items() if isinstance(count, int)
    }
    return CellModel(model, Notes(stages=(stage,), counts=counts))


def check_trainings(cell: Cell) -> None:
    """Refuses, before anything is computed, settings of trainings that the model lacks the parts
    for. A model that has to be trained first is checked when it is there.

    Raises:
        InvalidInput: there is one.
    """
    parts = cell.parts
    if parts.until == "select" or parts.model.requires_training:
        return
    start = parts.model.directory()
    parts.warmup.check_model(start)
    if parts.until != "warmup" and not parts.task.evaluators:
        parts.finetune.check_model(start, parts.task.head(()).model_class)


def check_steps(cell: Cell, task: TaskSplits) -> None:
    """Refuses, before anything is selected, a warm-up of the rate that is no shorter than the
    fine-tuning; a task that is read in windows has more examples than rows, and is left to it.

    Raises:
        InvalidInput: it is.
    """
    parts = cell.parts
    tuned = parts.until not in ("select", "warmup") and not parts.task.evaluators
    if tuned and task.head.whole_texts:
        parts.finetune.check_steps(len(task.data.train))


def fine_tune(
    cell: Cell,
    warm: CellModel,
    task: TaskSplits,
    watch: Callable[[Sequence[float]], None] = lambda scores: None,
) -> CellModel:
    """Returns the model after training on the task's labels. The training is given no test item.

    Args:
        cell: the cell.
        warm: the model before.
        task: the task.
        watch: see `Validation`; not called where the model is stored.
    """
    spec, trainer = cell.parts.task, cell.parts.finetune
    seed, runtime, labels = cell.parts.seed, cell.parts.runtime, task.labels

    def compute(directory: Path) -> dict[str, Any]:
        train, validation = task.data.train, validation_of(spec, task, trainer.metric, watch)
        return trainer.train_on(
            warm.model.directory(), train, validation, task.head, directory, seed, runtime
        )

    inputs = {"model": warm.model.key, "train": task.fingerprint("train")}
    inputs |= trainer.identity(runtime)
    settings = {**cell.settings["finetune"], "seed": seed, "labels": labels}
    settings |= {"head": own} if (own := dict(task.head.settings)) else {}
    if trainer.keep_epoch == "best":
        inputs["validation"] = task.fingerprint("validation")
        settings |= {"primary": spec.primary, "positive": spec.positive, "task": spec.version}
    stage, model = cell.model("finetune", trainer.version, settings, inputs, compute)
    named = ("truncated", *EFFICIENCY, *FOUND)
    counts = {f"finetune_{fact}": stage.facts[fact] for fact in named if fact in stage.facts}
    return CellModel(model, Notes(stages=(stage,), counts=counts))


def validation_of(
    spec: Task,
    task: TaskSplits,
    wanted: str | None,
    watch: Callable[[Sequence[float]], None] = lambda scores: None,
) -> Validation:
    """Returns the validation examples with a metric of the task, by default the primary one; no
    test item is in reach of it. `watch` as in `Validation`.
    """
    data = replace(task.data, test=task.data.test.take(np.arange(0)))

    def score(values: NDArray[Any]) -> float:
        metrics = spec.evaluate(values, data, "validation")
        chosen = next(metric for metric in metrics if metric.name == (wanted or spec.primary))
        return chosen.value if chosen.higher_is_better else -chosen.value

    return Validation(data.validation, score, watch)
