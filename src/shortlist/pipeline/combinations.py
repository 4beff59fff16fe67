"""Settings that do not go together: refused when the components of a cell are built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from shortlist.config import Config
from shortlist.errors import InvalidInput, near
from shortlist.settings import Seed, checked
from shortlist.tasks.base import Task
from shortlist.trainers.classify import Classifier


def check_root(config: DictConfig) -> None:
    """Refuses settings outside of components that the schema does not have, or cannot limit."""
    _check_keys(config, "")
    checked(Seed, config.seed, "seed")
    for name, path in config.paths.items():
        if path == "":
            raise InvalidInput(f"paths.{name} must be a directory, found an empty text; set it")


def _check_keys(node: DictConfig, place: str) -> None:
    """Refuses keys that the schema lacks: `+NAME=VALUE` adds any."""
    known = {field.name for field in fields(OmegaConf.get_type(node) or Config)}
    for name in node:
        if name not in known and f"{place}{name}" != "hydra":
            raise InvalidInput(f"there is no setting `{place}{name}`; {near(str(name), known)}")
        if (
            name in known
            and is_dataclass(OmegaConf.get_type(node, name))
            and node[name] is not None
        ):
            _check_keys(node[name], f"{place}{name}.")


def check_pretraining(model: Any, warmup: Any, config: DictConfig) -> None:
    """Refuses settings that a model trained from scratch does not allow, before it is trained."""
    trainer = model.pretraining
    if trainer is None:
        return
    if config.until.name != "select" and warmup.objective != trainer.objective:
        raise InvalidInput(
            f"a warm-up by {trainer.objective} was expected for a model that is pre-trained by it, "
            f"found {warmup.objective}; set trainer@warmup={trainer.objective}"
        )
    for owner, name in ((trainer, "model.pretraining"), (warmup, "warmup")):
        for setting in ("block", "max_length"):
            length = getattr(owner, setting, 0)
            if length > model.positions:
                raise InvalidInput(
                    f"{name}.{setting}={length} exceeds model.positions={model.positions}; set "
                    f"{name}.{setting}={model.positions}"
                )
    if config.check.assumption:
        raise InvalidInput(
            "check.assumption asks whether the pool looks like what the model has read; this model "
            "is pre-trained on the pool itself; set check.assumption=false"
        )


def check_fine_tuning(task: Task, trainer: Any, warmup: Any, config: DictConfig) -> None:
    """Refuses settings of the fine-tuning that the task does not allow, before anything is
    computed.
    """
    for setting in ("prepare", "augment", "folds", "split.by"):
        if task.kind == "structured" and OmegaConf.select(config.task, setting) is not None:
            raise InvalidInput(
                f"task.{setting} needs a task of classes or numbers a text, {task.name} is a "
                f"{type(task).__name__}; set task.{setting}=null and prepare its files before"
            )
    if config.task.get("feedback") is not None and task.kind != "classification":
        raise InvalidInput(
            f"task.feedback needs a task of one class a text, {task.name} is a {task.kind} task; set "
            "task.feedback=null"
        )
    if not isinstance(trainer, Classifier):
        return
    if task.kind != "unlabelled" and not task.evaluators:
        head = task.head(())
        trainer.check_head(head)
        fine_tuned = config.until.name in ("finetune", "evaluate")
        if head.generates and fine_tuned and warmup.objective != "clm":
            raise InvalidInput(
                f"the task {task.name} is {head.description}, by a causal language model, found a warm-up "
                f"by {warmup.objective}; set trainer@warmup=clm and model=smollm2, say"
            )
    _check_metric(task, trainer, "finetune")


def check_merged(groups: Mapping[str, Any]) -> None:
    """Refuses prompts and prefixes in trainings whose model later stages read without them."""
    trainers = {
        "warmup": groups["warmup"],
        "model.trainer": getattr(groups["model"], "trainer", None),
        "featurizer.tuning": getattr(groups["featurizer"], "tuning", None),
    }
    for place, trainer in trainers.items():
        if trainer is not None and trainer.peft is not None and not trainer.peft.mergeable:
            raise InvalidInput(
                f"{place}.peft must be merged into the weights, which later stages read alone, found "
                f"{type(trainer.peft).__name__}; choose peft@{place}.peft=lora, dora or ia3"
            )


def check_compressed(task: Task, trainer: Any, setting: str) -> None:
    """Refuses trainings of a model that is made smaller whose weights would not hold what it
    learns, and metrics that the task lacks.
    """
    if not isinstance(trainer, Classifier):
        return
    if trainer.peft is not None and not trainer.peft.mergeable:
        raise InvalidInput(
            f"{setting}.peft must be merged into the weights, of which compress makes smaller ones, "
            f"found {type(trainer.peft).__name__}; choose peft@{setting}.peft=lora, dora or ia3"
        )
    _check_metric(task, trainer, setting)


def _check_metric(task: Task, trainer: Classifier, setting: str) -> None:
    """Refuses to compare epochs by a metric that the task lacks."""
    if trainer.metric is not None and trainer.metric not in task.metrics:
        raise InvalidInput(
            f"{setting}.metric must be a metric of the task {task.name}, found {trainer.metric!r}; "
            f"{near(trainer.metric, task.metrics)}"
        )
