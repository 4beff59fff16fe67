"""From a composed configuration to the components that it names, and to the key of its cell.

All components are built before anything is computed.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from shortlist.compression.base import Compression
from shortlist.config import HASHED, Advice, Cascade, Check, Config
from shortlist.core import READS, Budget, TargetSpec
from shortlist.data.feedback import Feedback
from shortlist.data.files import file_digest, stem
from shortlist.data.folds import CrossValidation, Resplit
from shortlist.data.pools import Pool
from shortlist.data.sources import HubSource, LocalSource
from shortlist.errors import InvalidInput, near
from shortlist.featurizers.base import Featurizer
from shortlist.loggers import Logger
from shortlist.models.pretrained import Pretrained
from shortlist.ot.problem import Cost
from shortlist.pipeline.build import build, build_plain, extensions_of, plain
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
    parameters,
)
from shortlist.stats.calibration import Calibrator
from shortlist.store.keys import key as make_key
from shortlist.tasks.base import Task
from shortlist.trainers.base import TrainingModule
from shortlist.trainers.classify import Classifier

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
PLACES = {**GROUPS, "pool.prefilter.featurizer": Featurizer, "check.vectors": Featurizer}


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
    leaks: str
    check: Check
    check_vectors: Featurizer
    prepare: Mapping[str, Preparation]
    cut: CrossValidation | Resplit | None
    augmentation: Augmenter | None
    calibration: Calibrator | None
    compressions: Mapping[str, Compression]
    feedback: Feedback | None


def build_components(config: DictConfig) -> Components:
    """Returns every object that the configuration names; nothing is read and nothing computed.

    Args:
        config: a composed configuration, completed by `with_targets`.

    Raises:
        InvalidInput: a setting is missing, unknown, of a wrong type or out of range.
    """
    _check_root(config)
    runtime, paths = config.runtime, config.paths
    if runtime.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read by huggingface_hub when it is first imported
    groups = {name: build_component(config, name) for name in GROUPS}
    loggers = [build_component(config, f"logger.{name}") for name in config.logger]
    _check_pretraining(groups["model"], groups["warmup"], config)
    _check_fine_tuning(groups["task"], groups["finetune"], groups["warmup"], config)
    _check_peft(groups)
    local = config.source.name == "local"
    advice, cascade = (
        None if config[name] is None else OmegaConf.to_object(config[name])
        for name in ("advice", "cascade")
    )
    folds, resplit = _cross_validation(config), _resplit(config)  # never both
    return Components(
        **groups,
        loggers=loggers,
        source=LocalSource(absolute(paths.data)) if local else HubSource(runtime.offline, None),
        runtime=construct(
            Runtime,
            {field.name: plain(runtime[field.name]) for field in fields(Runtime)},
            "runtime",
        ),
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
        leaks=config.leaks.action.name,
        check=Check(
            config.check.assumption,
            absolute(config.check.reference),
            checked(Count, config.check.documents, "check.documents"),
            forgetting=config.check.forgetting,
            probe=_probe(config, groups["task"]),
        ),
        check_vectors=_shared_featurizer(config, "check.vectors", config.check.assumption),
        prepare=preparations(config),
        cut=folds or resplit,
        augmentation=augmentation(config),
        calibration=_calibration(config, groups["task"]),
        compressions=_compressions(config, groups["task"], groups["finetune"]),
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


def _feedback(config: DictConfig) -> Feedback | None:
    """Returns the corrections that join the training split; None where there are none."""
    path = config.task.get("feedback")
    if path is None:
        return None
    weight = checked(NonNegative, config.task.feedback_weight, "task.feedback_weight")
    return Feedback(absolute(str(path)), weight)


def _cross_validation(config: DictConfig) -> CrossValidation | None:
    """Returns how the task's rows become folds; None where its own splits are used."""
    folds, fold = config.task.get("folds"), config.fold
    if (folds is None) != (fold is None):
        raise InvalidInput(
            f"task.folds and fold belong together, found task.folds={folds} and fold={fold}; set "
            "task.folds=5 fold=0,1,2,3,4, or neither"
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


def _check_root(config: DictConfig) -> None:
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


def _check_pretraining(model: Any, warmup: Any, config: DictConfig) -> None:
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


def _check_fine_tuning(task: Task, trainer: Any, warmup: Any, config: DictConfig) -> None:
    """Refuses settings of the fine-tuning that the task does not allow, before anything is computed."""
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


def _check_peft(groups: Mapping[str, Any]) -> None:
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


def _calibration(config: DictConfig, task: Task) -> Calibrator | None:
    """Returns the family of maps for the probabilities of the fine-tuned model; None for none.

    Raises:
        InvalidInput: the task is not fine-tuned on classes.
    """
    if config.calibration is None:
        return None
    if task.kind != "classification" or task.evaluators:
        raise InvalidInput(
            f"calibration needs class probabilities of a fine-tuned model, found the task {task.name}, "
            f"which has none; set calibration=off"
        )
    return build(config.calibration, "calibration", Calibrator, extensions=extensions_of(config))


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
            _check_compressed(task, trainer, setting)
        made[str(name)] = one
    return made


def _check_compressed(task: Task, trainer: Any, setting: str) -> None:
    """Refuses trainings of a model that is made smaller whose weights would not hold what it learns,
    and metrics that the task lacks.
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


def hashed_settings(config: DictConfig) -> dict[str, Any]:
    """Returns the settings that decide what is computed, resolved to plain data.

    Settings that are null or switched off are left out, so that a new setting does not change the
    keys of cells without it. Paths of this machine are replaced by their names (`<paths.data>`):
    what is read there enters keys by its digest.
    """
    config = copy.deepcopy(config)
    for name in config.paths:
        config.paths[name] = f"<paths.{name}>"
    settings = {name: plain(OmegaConf.select(config, name)) for name in HASHED}
    if ((settings["pool"] or {}).get("prefilter") or {}).get("keep", 0) is None:
        settings["pool"].pop("prefilter")
    steps = settings["compress"] or {}  # in their order, which a mapping's key would lose
    settings["compress"] = [{"name": name, **step} for name, step in steps.items()] or None
    for setting in ("forgetting", "probe"):
        if settings["check"] and not settings["check"].get(setting):
            settings["check"].pop(setting, None)
    groups = [settings[name] for name in ("targets", "negative_target")]
    named = [node for group in groups if isinstance(group, dict) for node in group.values()]
    for part in (settings["pool"], settings["task"], *named):
        if isinstance(part, dict):
            for setting in ("prepare", "augment"):
                if part.get(setting, 0) is None:
                    part.pop(setting)
            if part.get("folds", 0) is None:
                part.pop("folds")
                part.pop("cross_validation")
            else:
                folds = part.get("cross_validation") or {}
                off = {"column": None, "test": "fold"}
                for name in [name for name in off if folds.get(name, 0) == off[name]]:
                    folds.pop(name)
            if part.get("feedback", 0) is None:
                part.pop("feedback")
                part.pop("feedback_weight", None)
            if (part.get("split") or {}).get("by", 0) is None:
                part.pop("split")
    return {name: _trained(value) for name, value in settings.items() if value is not None}


def _trained(node: Any) -> Any:
    """Returns settings without those of trainers that are switched off: a trainer's setting is off
    where it has the constructor's default.
    """
    if isinstance(node, list):
        return [_trained(item) for item in node]
    if not isinstance(node, dict):
        return node
    off: dict[str, Any] = {}
    if "learning_rate" in node and "_target_" in node:
        off = {name: known.default for name, known in parameters(Classifier).items()}
    return {
        name: _trained(value)
        for name, value in node.items()
        if name not in off or value != off[name]
    }


def cell_key(config: DictConfig, reads: Mapping[str, str]) -> str:
    """Returns the key of a cell: a hash of the hashed settings and of the digests it reads.

    Without the digests, one command over two data folders would give two results one key.
    """
    return make_key("cell", 2, hashed_settings(config), reads)


def input_digests(components: Components) -> dict[str, str]:
    """Returns the digests of pool, tasks, model, scorer and evaluators' inputs by name, before any
    of them is loaded.

    Raises:
        ShortlistError: an input is not there.
    """
    source, selector, featurizer = components.source, components.selector, components.featurizer
    digests = {
        "pool": components.pool.identity(source),
        "task": components.task.identity(source),
        "model": components.model.identity(),
        "featurizer.intermediate_task": _intermediate_task(featurizer.model, source),
        "intermediate_task": _intermediate_task(components.model, source),
        "selector": selector.identity(),
        **{
            f"selector.{name}": member.selector.identity()
            for name, member in selector.members.items()
        },
    }
    digests |= {f"prepare.{place}": one.identity for place, one in components.prepare.items()}
    digests |= {f"compress.{name}": one.reads() for name, one in components.compressions.items()}
    if (how := components.augmentation) is not None and how.masked_lm is not None:
        digests["augment"] = how.masked_lm.identity()
    if components.feedback is not None:
        digests["feedback"] = {"file": file_digest(components.feedback.path)}
    if featurizer.scorer is not None:
        featurizer.scorer.check()
        digests["scorer"] = featurizer.scorer.identity()
    if components.until == "evaluate":
        for name, evaluator in components.task.evaluators.items():
            digests[f"evaluator.{name}"] = evaluator.identity(source)
    for name, target in components.targets.items():
        if target is not components.task:
            digests[f"target.{name}"] = target.identity(source)
    return {
        f"{READS}{part}.{name}": value
        for part, names in digests.items()
        for name, value in names.items()
    }


def _intermediate_task(model: Pretrained | None, source: Source) -> dict[str, str]:
    """Returns the digests of the task that a model is fine-tuned on first."""
    task = None if model is None else model.intermediate_task
    return {} if task is None else task.identity(source)


def with_targets(config: DictConfig) -> DictConfig:
    """Returns the configuration with every target as a configured task, by name.

    An entry of `targets`, or `negative_target`, is the name of a task as `task=NAME` takes it (the
    chosen task's own name is that task with its settings), a file of texts, or a mapping
    `{task: NAME, setting: value, ...}`.

    Raises:
        InvalidInput: an entry is none of these, or two have the same name.
    """
    if config.targets is None and config.negative_target is None:
        return config
    positive = config.targets if config.targets is not None else str(config.task.name)
    entries = {
        "targets": list(positive) if isinstance(positive, ListConfig) else [positive],
        "negative_target": [] if config.negative_target is None else [config.negative_target],
    }
    if not entries["targets"]:
        raise InvalidInput("targets is empty, expected at least one task; set targets=[NAME,...]")
    nodes: dict[str, dict[str, DictConfig]] = {"targets": {}, "negative_target": {}}
    for setting in entries:
        for entry in entries[setting]:
            node = _target(config, setting, entry)
            if any(str(node.name) in named for named in nodes.values()):
                raise InvalidInput(
                    f"{setting} names `{node.name}` a second time; give each target once, and "
                    "files of one name a name of their own: {task: own, train: FILE, name: NAME}"
                )
            nodes[setting][str(node.name)] = node
    whole = copy.deepcopy(config)
    with open_dict(whole):
        whole.targets, whole.negative_target = nodes["targets"], nodes["negative_target"] or None
    return whole


def _target(config: DictConfig, setting: str, entry: Any) -> DictConfig:
    """Returns the configuration of one target."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode

    loader = GlobalHydra.instance().config_loader()
    options = loader.get_group_options("task")
    settings: Mapping[Any, Any] = entry if isinstance(entry, DictConfig) else {"task": entry}
    name = str(settings.get("task"))
    settings = {key: value for key, value in settings.items() if key != "task"}
    if name == str(config.task.name) and not settings:
        return copy.deepcopy(config.task)
    if name not in options and ("/" in name or "." in name):
        # Nothing is evaluated on it, so that all of it is the target.
        settings = {"train": name, "name": stem(name), "holdout": 0.0, **settings}
        name = "own"
    if name not in options:
        raise InvalidInput(f"{setting}: there is no task `{name}`; {near(name, options)}")
    # Composed as a whole, because a task may override other groups.
    node = loader.load_configuration("config", [f"task={name}"], RunMode.RUN).task
    with open_dict(node):
        node.update(settings)
    return node
