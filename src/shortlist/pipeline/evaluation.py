"""Measurements of the models of a cell: losses on held-out and general texts, a linear probe,
predictions of the test split, and the evaluators of a language model.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.core import Metric, digest, pack_item_scores
from shortlist.diagnostics.assumption import reference_texts
from shortlist.diagnostics.forgetting import mean_vectors, probes, save_with_language_model_head
from shortlist.diagnostics.task_probe import fit_classes, fit_numbers
from shortlist.errors import InvalidInput, near
from shortlist.evaluation.base import EvalContext
from shortlist.pipeline.data import CORPORA
from shortlist.pipeline.stage import Cell, Notes, Stage
from shortlist.stats.intervals import linearised_ratio, ratio_of_sums
from shortlist.stats.uncertainty import log_loss

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.core import Corpus
    from shortlist.data.splits import Split
    from shortlist.models.pretrained import StoredModel
    from shortlist.pipeline.base_model import CellModel
    from shortlist.pipeline.data import TaskSplits

log = logging.getLogger(__name__)

GENERAL = ("loss", "kind", "order")  # files of measurements on general texts
HELD_OUT_DOCUMENTS = 300  # of the held-out texts, first by id


def compare_losses(cell: Cell, base: CellModel, warm: CellModel, task: TaskSplits) -> Notes:
    """Returns the language-model loss on held-out target texts before and after, and the drop.

    The drop is paired: both models predict the same tokens of the same documents.
    """
    before, after = held_out_loss(cell, base, task), held_out_loss(cell, warm, task)
    first, second = (np.load(stage.path / "sums.npy") for stage in (before, after))
    tokens = np.load(before.path / "counts.npy")
    objective, protocol = cell.parts.warmup.objective, before.facts["protocol"]
    counts = {f"held_out_{fact}": after.facts[fact] for fact in ("not_measured", "truncated")}
    notes = Notes(stages=(before, after), counts=counts)
    for suffix, unit, higher_is_better, sums in (
        ("loss_before", "nats", False, first),
        ("loss_after", "nats", False, second),
        ("loss_drop", "nats_gained", True, first - second),
    ):
        named = {"name": f"{objective}_{suffix}", "unit": unit, "protocol": protocol}
        notes += _mean(sums, tokens, higher_is_better=higher_is_better, **named)
    return notes


def _mean(sums: NDArray[np.float64], counts: NDArray[Any], **named: Any) -> Notes:
    """Returns the metric sum of `sums` / sum of `counts` and its item scores; the metric's other
    fields are `named`.
    """
    ratio = ratio_of_sums(sums, counts)
    metric = Metric(value=ratio.value, n=len(counts), stderr=ratio.stderr, **named)
    scores = {metric.name: pack_item_scores(linearised_ratio(sums, counts))}
    return Notes(metrics=(metric,), item_scores=scores)


def held_out_loss(cell: Cell, current: CellModel, task: TaskSplits) -> Stage:
    """Returns a model's loss on texts of the split that the task holds out, by document."""
    trainer, runtime = cell.parts.warmup, cell.parts.runtime
    split = cell.parts.task.held_out

    def compute(directory: Path) -> dict[str, Any]:
        texts = task.data.split(split).unlabelled()
        sample = texts.take(np.arange(min(HELD_OUT_DOCUMENTS, len(texts))))
        losses = trainer.losses_on(current.model.directory(), sample, runtime)
        np.save(directory / "sums.npy", losses.sums)
        np.save(directory / "counts.npy", losses.counts)
        return {
            "protocol": digest([losses.protocol, sample.fingerprint]),
            "not_measured": len(texts) - len(sample),
            "truncated": losses.truncated,
        }

    settings = {
        "objective": trainer.objective,
        "max_length": trainer.max_length,
        "documents": HELD_OUT_DOCUMENTS,
    }
    inputs = {"model": current.model.key, split: task.fingerprint(split)}
    return cell.stage("held_out", 3, settings, inputs, compute)


def measure_forgetting(
    cell: Cell, base: CellModel, warm: CellModel, tuned: CellModel | None
) -> Notes:
    """Returns what is kept of general texts, where `check.forgetting` asks for it: loss and
    accuracy of probes of the base model, and how each stage changed them since, passage by passage;
    positive is better. See `diagnostics.forgetting`.

    Raises:
        InvalidInput: the reference cannot be read, or holds too little.
    """
    check, trainer = cell.parts.check, cell.parts.warmup
    if not check.forgetting:
        return Notes()
    reference = reference_texts(check.reference)
    read = reference.take(np.arange(min(check.documents, len(reference))))
    before = _general(cell, base.model, None, read)
    stages = {"base": before, "warmup": _general(cell, warm.model, None, read)}
    if tuned is not None:
        stages["finetune"] = _general(cell, tuned.model, warm.model, read)
    tokens = np.load(before.path / "counts.npy")
    facts = {
        "general_truncated": before.facts["truncated"],
        "general_not_measured": len(reference) - len(read),
    }
    notes = Notes(stages=tuple(stages.values()), counts=facts)
    for what in GENERAL:
        known = np.load(before.path / f"{what}.npy")
        is_loss = what == "loss"
        counts = tokens if is_loss else np.ones(len(known))
        for name, stage in stages.items():
            values, unit = known, "nats" if is_loss else "fraction"
            if name != "base":
                after = np.load(stage.path / f"{what}.npy")
                values = known - after if is_loss else after - known
                unit += "_gained"
            label = f"general_{trainer.objective}_loss" if is_loss else f"probe_{what}"
            label += "_base" if name == "base" else f"_gain_{name}"
            notes += _mean(
                values,
                counts,
                name=label,
                unit=unit,
                higher_is_better=unit != "nats",
                split="general",
                protocol=before.facts["protocol"],
            )
    return notes


def _general(cell: Cell, model: StoredModel, head: StoredModel | None, read: Corpus) -> Stage:
    """Returns loss and right answers of the probes on general texts; of a model without a
    language-model head by that of `head`.
    """
    trainer, runtime = cell.parts.warmup, cell.parts.runtime

    def compute(directory: Path) -> dict[str, Any]:
        path = model.directory()
        if head is not None:
            tuned, path = path, directory / "model"
            save_with_language_model_head(head.directory(), tuned, trainer.objective, path)
        losses = trainer.losses_on(path, read, runtime)
        np.save(directory / "loss.npy", losses.sums)
        np.save(directory / "counts.npy", losses.counts)
        for probe in probes(read):
            vectors = mean_vectors(path, probe.texts, trainer.max_length, runtime)
            np.save(directory / f"{probe.name}.npy", probe.correct(vectors))
        if head is not None:
            shutil.rmtree(path)
        return {
            "protocol": digest([losses.protocol, read.fingerprint, "forgetting 1"]),
            "truncated": losses.truncated,
        }

    settings = {"objective": trainer.objective, "max_length": trainer.max_length}
    inputs = {"model": model.key, "reference": read.fingerprint}
    if head is not None:
        inputs["head"] = head.key
    return cell.stage("forgetting_general", 1, settings, inputs, compute)


def measure_probe(cell: Cell, warm: CellModel, task: TaskSplits) -> Notes:
    """Returns the task's metrics by a linear model on the warmed-up model's frozen vectors, where
    `check.probe` asks for it, each named `probe_METRIC`; of classes the log loss too. Where the
    cell ends with the warm-up, that of the task's primary metric ranks the methods. See
    `diagnostics.task_probe`.

    A text's vector is the mean of the last layer's states; the texts of a pair are joined by a line
    break. The task has one class or number a text (checked when the cell is composed).
    """
    if not cell.parts.check.probe:
        return Notes()
    spec, data, runtime = cell.parts.task, task.data, cell.parts.runtime
    longest = cell.parts.finetune.max_length

    def compute(directory: Path) -> dict[str, Any]:
        path = warm.model.directory()
        train, validation, test = (
            mean_vectors(path, part.joined(), longest, runtime)
            for part in (data.train, data.validation, data.test)
        )
        truth, known = _truth(task, "train"), _truth(task, "validation")
        if data.labels is None:
            values, penalty = fit_numbers(train, truth, validation, known, test)
        else:
            classes = len(data.labels)
            values, penalty = fit_classes(train, truth, validation, known, test, classes)
        np.save(directory / "predictions.npy", values)
        metrics = spec.evaluate(values, data, "test")
        return {"metrics": [asdict(metric) for metric in metrics], "inverse_penalty": penalty}

    settings = {"task": cell.settings["task"], "max_length": longest, "labels": task.labels}
    inputs = {"model": warm.model.key}
    inputs |= {split: task.fingerprint(split) for split in ("train", "validation", "test")}
    stage = cell.stage("probe", 1, settings, inputs, compute)
    values = np.load(stage.path / "predictions.npy")
    metrics = [Metric(**metric) for metric in stage.facts["metrics"]]
    items = spec.item_scores(values, data)
    facts = {"inverse_penalty": stage.facts["inverse_penalty"]}
    truth = task.class_numbers("test")
    known = np.flatnonzero(truth >= 0)
    if len(known):
        facts["largest_class"] = int(np.bincount(truth[known]).max()) / len(truth)
    notes = Notes(
        stages=(stage,),
        selection={"probe": facts},
        metrics=tuple(
            replace(
                one,
                name=f"probe_{one.name}",
                primary=one.primary and cell.parts.until == "warmup",
                protocol=digest([one.protocol, "probe 1"]),
            )
            for one in metrics
        ),
        item_scores={f"probe_{name}": pack_item_scores(found) for name, found in items.items()},
    )
    if data.labels is None:
        return notes
    return notes + _mean(
        log_loss(values[known], truth[known]),
        np.ones(len(known)),
        name="probe_log_loss",
        unit="nats",
        higher_is_better=False,
        split="test",
        protocol=digest([metrics[0].protocol, "probe log loss 1"]),
    )


def _truth(task: TaskSplits, split: Split) -> NDArray[Any]:
    """Returns (n,) class numbers, -1 for another class; without classes the labels as numbers."""
    if task.data.labels is None:
        return np.array(task.data.split(split).labels, dtype=np.float64)
    return task.class_numbers(split)


@dataclass(frozen=True)
class Evaluated:
    """Predictions on the test split, and what they are worth.

    Attributes:
        stage: the stage whose `predictions.npy` holds them: (n, k) probabilities, or (n,) numbers.
        notes: metrics and the score of each item.
    """

    stage: Stage
    notes: Notes


def evaluate_predictions(
    cell: Cell, tuned: CellModel, task: TaskSplits, name: str = "evaluate"
) -> Evaluated:
    """Returns predictions on the test split with the task's metrics and the score of each item, by
    a stage of this name.

    No earlier stage reads the labels of the test split.
    """
    spec, trainer, runtime = cell.parts.task, cell.parts.finetune, cell.parts.runtime
    labels = task.labels

    def compute(directory: Path) -> dict[str, Any]:
        predicted = trainer.predict(tuned.model.directory(), task.data.test, task.head, runtime)
        np.save(directory / "predictions.npy", predicted.values)
        metrics = spec.evaluate(predicted.values, task.data, "test")
        return {
            "metrics": [asdict(metric) for metric in metrics],
            "truncated": predicted.truncated,
        }

    settings = {"task": cell.settings["task"], "max_length": trainer.max_length, "labels": labels}
    settings |= {"trainer": trainer.version}
    inputs = {"model": tuned.model.key, "test": task.fingerprint("test")}
    inputs |= trainer.identity(runtime)
    stage = cell.stage(name, spec.version, settings, inputs, compute)
    predictions = np.load(stage.path / "predictions.npy")
    items = spec.item_scores(predictions, task.data)
    details = spec.details(predictions, task.data)
    notes = Notes(
        stages=(stage,),
        selection={"evaluation": details} if details else {},
        counts={f"{name}_truncated": stage.facts["truncated"]},
        metrics=tuple(Metric(**metric) for metric in stage.facts["metrics"]),
        item_scores={name: pack_item_scores(values) for name, values in items.items()},
    )
    return Evaluated(stage, notes)


def check_evaluators(cell: Cell) -> Notes:
    """Lets every evaluator refuse, before anything is computed, what cannot work; returns a warning
    where the scorer that measures the model has also chosen the documents.

    Raises:
        InvalidInput: the task's primary metric is not among the evaluators', or two share a name.
    """
    task, featurizer = cell.parts.task, cell.parts.featurizer
    names = [name for evaluator in task.evaluators.values() for name in evaluator.metric_names()]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InvalidInput(
            f"task {task.name}: two evaluators measure {', '.join(repeated)}; leave one of them out "
            "or rename its metrics"
        )
    if task.evaluators and task.primary not in names:
        raise InvalidInput(
            f"task {task.name}: expected task.primary among the metrics of its evaluators, found "
            f"{task.primary!r}; {near(str(task.primary), names)}"
        )
    for evaluator in task.evaluators.values():
        evaluator.check(cell.parts.source, cell.parts.runtime)
    selecting = featurizer.scorer
    warnings = tuple(
        f"the documents were chosen by the scorer that also measures the model ({name}): its "
        "numbers favour this method; compare another scorer's"
        for evaluator in task.evaluators.values()
        for name, scorer in evaluator.scorers.items()
        if selecting is not None and scorer.identity() == selecting.identity()
    )
    for warning in warnings:
        log.warning("%s", warning)
    return Notes(warnings=warnings)


def evaluate_language_model(
    cell: Cell, base: CellModel, warm: CellModel, task: TaskSplits
) -> Notes:
    """Returns the metrics of the task's evaluators and the score of each item.

    Raises:
        InvalidInput: the task's primary metric could not be measured.
    """
    spec, notes = cell.parts.task, Notes()
    for name, evaluator in spec.evaluators.items():
        stages: list[Stage] = []
        result = evaluator.evaluate(
            EvalContext(
                model=warm.model,
                base=base.model,
                data=task.data,
                digests={split: task.fingerprint(split) for split in CORPORA},
                source=cell.parts.source,
                stage=_recording(cell, stages),
                seed=cell.parts.seed,
                runtime=cell.parts.runtime,
            )
        )
        notes += Notes(
            stages=tuple(stages),
            metrics=tuple(
                replace(metric, primary=metric.name == spec.primary) for metric in result.metrics
            ),
            item_scores={key: pack_item_scores(items) for key, items in result.item_scores.items()},
            counts={f"{name}_{fact}": count for fact, count in result.counts.items()},
            warnings=result.warnings,
        )
    if not any(metric.primary for metric in notes.metrics):
        raise InvalidInput(
            f"task {spec.name}: task.primary={spec.primary} was not measured: "
            f"{'; '.join(notes.warnings)}"
        )
    return notes


def _recording(cell: Cell, stages: list[Stage]) -> Callable[..., Stage]:
    """Returns `cell.stage`; what it returns is appended to `stages`, as evaluators return metrics
    alone.
    """

    def stage(*arguments: Any, **named: Any) -> Stage:
        stages.append(cell.stage(*arguments, **named))
        return stages[-1]

    return stage
