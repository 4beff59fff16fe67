"""From a composed configuration to the components that it names.

All components are built, and settings that do not go together are refused, before anything is
computed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from omegaconf import DictConfig, OmegaConf

from shortlist.backends import Backend
from shortlist.compression.base import Compression
from shortlist.config import Advice, Cascade, Check
from shortlist.core import Budget, TargetSpec
from shortlist.data.feedback import Feedback
from shortlist.data.folds import CrossValidation, Resplit
from shortlist.data.pools import Pool
from shortlist.data.sources import HubSource, LocalSource
from shortlist.distil.base import Distiller
from shortlist.errors import InvalidInput
from shortlist.featurizers.base import Featurizer
from shortlist.loggers import Logger
from shortlist.models.pretrained import Pretrained
from shortlist.ot.problem import Cost
from shortlist.pipeline.build import build, build_plain, extensions_of, plain
from shortlist.pipeline.combinations import (
    check_compressed,
    check_fine_tuning,
    check_merged,
    check_pretraining,
    check_root,
)
from shortlist.pipeline.preparation import Preparation, augmentation, preparations
from shortlist.prepare.augment import Augmenter
from shortlist.runtime import Runtime
from shortlist.selectors.base import Selector, option_name
from shortlist.settings import (
    Count,
    NonNegative,
    Positive,
    Range,
    Seed,
    checked,
    construct,
)
from shortlist.stats.calibration import Calibrator
from shortlist.tasks.base import Task
from shortlist.trainers.base import TrainingModule

if TYPE_CHECKING:
    from shortlist.data.sources import Source

GROUPS: dict[str, type] = {
    "task": Task,
    "pool": Pool,
    "selector": Selector,
    "featurizer": Featurizer,
    "model": Pretrained,
    "warmup": TrainingModule,
    "finetune": TrainingModule,
}
# Settings of a pool and of a task that apply to any of them and are no arguments of its class.
APART: dict[str, tuple[str, ...]] = {
    "pool": ("prefilter", "prepare"),
    "task": (
        "prepare",
        "folds",
        "cross_validation",
        "split",
        "augment",
        "feedback",
        "feedback_weight",
    ),
}
# Places of further components, with their base class.
PLACES = {
    **GROUPS,
    "backend": Backend,
    "pool.prefilter.featurizer": Featurizer,
    "check.vectors": Featurizer,
}


@dataclass(frozen=True)
class Prefilter:
    """Restricts a pool to the `keep` domains nearest to the targets, for every selector.

    Attributes:
        keep: number of domains.
        documents: size of the sample of a domain, and of a target, that is compared; by id.
        relative_epsilon: regularisation as a fraction of the mean cost over all domains and targets.
        cost: ground cost.
        seed: seed of the samples.
        featurizer: computes the vectors that are compared.
    """

    keep: Count
    documents: Annotated[int, Range(2)]
    relative_epsilon: Positive
    cost: Cost
    seed: Seed
    featurizer: Featurizer


@dataclass(frozen=True)
class AblationBaseline:
    """The method that the selector's picks are compared with.

    Attributes:
        selector: the method.
        settings: its settings as a YAML has them.
        changed: those that differ from the selector's: all, or those of one member.
    """

    selector: Selector
    settings: Mapping[str, Any]
    changed: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The option of `conf/selector` for the class of what differs."""
        return option_name(str(self.changed["_target_"]).rsplit(".", 1)[-1])


@dataclass(frozen=True)
class SemanticLeaks:
    """Embeddings by which documents leak that share no words with an evaluation text.

    Attributes:
        vectors: computes the embeddings.
        threshold: least cosine.
    """

    vectors: Featurizer
    threshold: float


@dataclass(frozen=True)
class LeakPolicy:
    """Which documents leak, and what is done with them.

    Attributes:
        action: `drop`, `report` or `refuse`.
        targets: whether documents that repeat a training text of a target leak too.
        semantic: how documents are compared by embeddings; None compares words alone.
    """

    action: str
    targets: bool
    semantic: SemanticLeaks | None


@dataclass(frozen=True)
class Components:
    """The objects that a configuration names, before any of them has computed anything.

    `task` is trained and evaluated on; `targets` are the tasks that documents are selected for: the
    task alone, unless the configuration says otherwise. `prepare` has the operations on the texts of
    `pool`, `task` and of each target by name. `cut` makes the splits of the task; None keeps its own.
    """

    task: Any
    pool: Any
    selector: Selector
    featurizer: Featurizer
    model: Pretrained
    warmup: Any
    finetune: Any
    source: Source
    runtime: Runtime
    backend: Backend
    loggers: list[Any]
    budget: Budget
    seed: int
    until: str
    targets: Mapping[str, Any]
    target_spec: TargetSpec
    prefilter: Prefilter | None
    ablation: AblationBaseline | None
    advice: Advice | None
    cascade: Cascade | None
    leaks: LeakPolicy
    check: Check
    check_vectors: Featurizer
    prepare: Mapping[str, Preparation]
    cut: CrossValidation | Resplit | None
    augmentation: Augmenter | None
    calibration: Calibrator | None
    compressions: Mapping[str, Compression]
    distiller: Distiller | None
    feedback: Feedback | None


def build_components(config: DictConfig) -> Components:
    """Returns every object that the configuration names; nothing is read and nothing computed.

    Args:
        config: a composed configuration, completed by `with_targets`.

    Raises:
        InvalidInput: a setting is missing, unknown, of a wrong type or out of range.
    """
    check_root(config)
    runtime, paths = config.runtime, config.paths
    if runtime.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read by huggingface_hub when it is first imported
    groups = {name: build_component(config, name) for name in GROUPS}
    loggers = [build_component(config, f"logger.{name}") for name in config.logger]
    check_pretraining(groups["model"], groups["warmup"], config)
    check_fine_tuning(groups["task"], groups["finetune"], groups["warmup"], config)
    check_merged(groups)
    local = config.source.name == "local"
    advice, cascade = (
        None if config[name] is None else OmegaConf.to_object(config[name])
        for name in ("advice", "cascade")
    )
    return Components(
        **groups,
        loggers=loggers,
        source=LocalSource(absolute(paths.data)) if local else HubSource(runtime.offline, None),
        runtime=construct(
            Runtime,
            {field.name: plain(runtime[field.name]) for field in fields(Runtime)},
            "runtime",
        ),
        backend=build_component(config, "backend"),
        budget=Budget(config.budget, config.budget_unit.name),
        seed=config.seed,
        until=config.until.name,
        **_targets(config, groups["task"]),
        prefilter=_prefilter(config),
        ablation=_ablation_baseline(
            groups["selector"], plain(config.selector), extensions_of(config)
        ),
        advice=cast("Advice | None", advice),
        cascade=cast("Cascade | None", cascade),
        leaks=_leaks(config),
        check=Check(
            config.check.assumption,
            absolute(config.check.reference),
            checked(Count, config.check.documents, "check.documents"),
            forgetting=config.check.forgetting,
            probe=_probe(config, groups["task"]),
        ),
        check_vectors=_shared_featurizer(config, "check.vectors", config.check.assumption),
        prepare=preparations(config),
        cut=cut_of(config),
        augmentation=augmentation(config),
        calibration=_calibration(config, groups["task"]),
        compressions=_compressions(config, groups["task"], groups["finetune"]),
        distiller=_distiller(config),
        feedback=_feedback(config),
    )


def _probe(config: DictConfig, task: Task) -> bool:
    """Returns whether the task is probed.

    Raises:
        InvalidInput: it has not one class or number a text.
    """
    if config.check.probe and (task.kind in ("structured", "unlabelled") or task.evaluators):
        raise InvalidInput(
            f"check.probe needs a task of one class or number a text, {task.name} is none; set "
            "check.probe=false"
        )
    return bool(config.check.probe)


def _leaks(config: DictConfig) -> LeakPolicy:
    """Returns which documents leak, and what is done with them."""
    semantic = config.leaks.semantic
    if semantic is not None and not 0 < semantic <= 1:
        raise InvalidInput(
            f"leaks.semantic must be a cosine above 0 and at most 1, or null, found {semantic:g}"
        )
    vectors = _shared_featurizer(config, "leaks.vectors", semantic is not None)
    used = None if semantic is None else SemanticLeaks(vectors, float(semantic))
    return LeakPolicy(config.leaks.action.name, bool(config.leaks.targets), used)


def _feedback(config: DictConfig) -> Feedback | None:
    """Returns the corrections that join the training split; None where there are none."""
    path = config.task.get("feedback")
    if path is None:
        return None
    weight = checked(NonNegative, config.task.feedback_weight, "task.feedback_weight")
    return Feedback(absolute(str(path)), weight)


def cut_of(config: DictConfig) -> CrossValidation | Resplit | None:
    """Returns how the task's rows become folds or are cut anew; None where its own splits are used.

    Raises:
        InvalidInput: both are set, or settings do not belong together.
    """
    folds, resplit = _cross_validation(config), _resplit(config)
    return folds or resplit


def _cross_validation(config: DictConfig) -> CrossValidation | None:
    """Returns how the task's rows become folds; None where its own splits are used."""
    folds, fold = config.task.get("folds"), config.fold
    if (folds is None) != (fold is None):
        alone = f"fold={fold}" if folds is None else f"task.folds={folds}"
        raise InvalidInput(
            f"task.folds and fold belong together, found {alone} alone; set task.folds=5 "
            "fold=0,1,2,3,4, or neither"
        )
    if folds is None:
        return None
    settings = {**plain(config.task.cross_validation), "folds": folds, "fold": fold}
    found: CrossValidation = construct(CrossValidation, settings, "task.cross_validation")
    return found


def _resplit(config: DictConfig) -> Resplit | None:
    """Returns how the task's rows are cut anew; None where its own splits are used."""
    node = plain(config.task.get("split"), missing=False) or {}
    if node.get("by") is None:
        if node.get("column") is not None:
            raise InvalidInput(
                f"task.split.column={node['column']} is read by task.split.by=time or column, found "
                "by=null; set task.split.by"
            )
        return None
    if config.task.get("folds") is not None:
        raise InvalidInput(
            "expected task.folds or task.split.by, found both; with folds set "
            "task.cross_validation.group and task.cross_validation.column"
        )
    found: Resplit = construct(Resplit, node, "task.split")
    return found


def _calibration(config: DictConfig, task: Task) -> Calibrator | None:
    """Returns the family of maps for the probabilities of the fine-tuned model; None for none.

    Raises:
        InvalidInput: the task is not fine-tuned on classes.
    """
    if config.calibration is None:
        return None
    if task.kind != "classification" or task.evaluators:
        labels = "task.label=COLUMN or " if task.kind == "unlabelled" else ""
        raise InvalidInput(
            f"calibration needs class probabilities of a fine-tuned model, found the task {task.name}, "
            f"which has none; set {labels}calibration=off"
        )
    return build(config.calibration, "calibration", Calibrator, extensions=extensions_of(config))


def _distiller(config: DictConfig) -> Distiller | None:
    """Returns what makes a scorer file of the scores; None where none is made."""
    if config.distil is None:
        return None
    return build(config.distil, "distil", Distiller, extensions=extensions_of(config))


def _compressions(config: DictConfig, task: Task, tuning: Any) -> dict[str, Compression]:
    """Returns what makes smaller models of the fine-tuned one, by name, each of the one before.

    Raises:
        InvalidInput: the task is not fine-tuned on, the run ends earlier, or the order is none.
    """
    made: dict[str, Compression] = {}
    for name in config.compress:
        place = f"compress.{name}"
        if task.kind == "unlabelled" or task.evaluators or config.until.name != "evaluate":
            raise InvalidInput(
                f"{place} needs a fine-tuned model and until=evaluate, found the task {task.name} and "
                f"until={config.until.name}; set compress=off"
            )
        before = next((earlier for earlier, one in made.items() if one.last), None)
        if before is not None:
            raise InvalidInput(
                f"compress.{before} gives a model that is not changed any more, found {name} after "
                f"it; name {before} last: compress=[{name},{before}]"
            )
        one = build(config.compress[name], place, Compression, extensions=extensions_of(config))
        one.check(task.head(()), place)
        for trainer, setting in ((tuning, "finetune"), (one, place)):
            check_compressed(task, trainer, setting)
        made[str(name)] = one
    return made


def _targets(config: DictConfig, task: Any) -> dict[str, Any]:
    """Returns the fields `targets` and `target_spec`: tasks by name, and their weights and floors."""
    tasks: dict[str, Any] = {task.name: task}
    positive, negative = [task.name], None
    if config.targets is not None:
        nodes = {f"targets.{name}": node for name, node in config.targets.items()}
        positive = list(config.targets)
        for name, node in (config.negative_target or {}).items():
            negative = name
            nodes[f"negative_target.{name}"] = node
        tasks = {
            str(node.name): task
            if str(node.name) == task.name
            else build(node, place, Task, APART["task"], extensions_of(config))
            for place, node in nodes.items()
        }
    weights, floors = (
        {} if config[setting] is None else _numbers(config[setting], setting)
        for setting in ("target_weights", "target_floors")
    )
    return {"targets": tasks, "target_spec": TargetSpec.of(positive, weights, floors, negative)}


def _numbers(node: Any, setting: str) -> dict[str, float]:
    try:
        return checked(dict[str, float], plain(node), setting)
    except InvalidInput as error:
        raise InvalidInput(f"{error}; give numbers by target, {setting}={{NAME: 0.5}}") from None


def _prefilter(config: DictConfig) -> Prefilter | None:
    """Returns the filter of domains, or None where `keep` is null; its settings are checked then too."""
    place = "pool.prefilter"
    node = OmegaConf.select(config, place)
    if node is None:
        return None
    if not isinstance(node, DictConfig):
        raise InvalidInput(f"{place} must be a mapping or null, found {node!r}")
    used = node.get("keep") is not None
    settings = {str(name): plain(value) for name, value in node.items() if name != "featurizer"}
    settings["featurizer"] = _shared_featurizer(config, f"{place}.featurizer", check=used)
    prefilter: Prefilter = construct(
        Prefilter, settings if used else {**settings, "keep": 1}, place
    )
    return prefilter if used else None


def _shared_featurizer(config: DictConfig, place: str, check: bool) -> Featurizer:
    """Returns the featurizer at `place`, whose vectors all methods share.

    Raises:
        InvalidInput: it has to be trained on a target or on the pool first, and `check` is true.
    """
    featurizer: Featurizer = build_component(config, place)
    if check and (featurizer.requirements().any or featurizer.inner is not None):
        raise InvalidInput(
            f"{place} takes vectors as they are, found {type(featurizer).__name__} with something to "
            f"learn first (labels, a head, the pool); choose featurizer@{place}=static, say"
        )
    return featurizer


def _ablation_baseline(
    selector: Selector, settings: Mapping[str, Any], extensions: Sequence[str]
) -> AblationBaseline | None:
    baseline = selector.ablation_baseline()
    if baseline is None:
        return None
    if "members" not in baseline:
        return AblationBaseline(
            build_plain(baseline, "selector", None, extensions), baseline, baseline
        )
    (changed,) = baseline["members"].values()
    members = {
        name: {**member, "selector": baseline["members"].get(name, member["selector"])}
        for name, member in settings["members"].items()
    }
    settings = {**settings, "members": members}
    return AblationBaseline(build_plain(settings, "selector", None, extensions), settings, changed)


def build_component(config: DictConfig, place: str) -> Any:
    """Returns the object that the node at `place` describes.

    Raises:
        InvalidInput: a setting is missing, unknown to the class, of a wrong type, or refused by it.
    """
    base = Logger if place.startswith("logger.") else PLACES.get(place)
    node, extensions = OmegaConf.select(config, place), extensions_of(config)
    return build(node, place, base, APART.get(place, ()), extensions)


def absolute(path: str | None) -> Any:
    """Returns the path, joined to the working directory where it is relative; None for None."""
    return Path(path).expanduser().absolute() if path is not None else None
