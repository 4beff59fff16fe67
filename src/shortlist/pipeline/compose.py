"""From a composed configuration to the components that it names, and to the key of its cell."""

from __future__ import annotations

import copy
import inspect
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from shortlist.config import HASHED, Advice, Check
from shortlist.core import READS, Budget, TargetSpec
from shortlist.data.files import stem
from shortlist.data.sources import HubSource, LocalSource
from shortlist.errors import InvalidInput, ShortlistError, near
from shortlist.runtime import Runtime
from shortlist.selectors.base import option_name
from shortlist.store.keys import key as make_key

if TYPE_CHECKING:
    from shortlist.data.sources import Source
    from shortlist.featurizers.base import Featurizer
    from shortlist.models.pretrained import Pretrained
    from shortlist.selectors.base import Selector

APART = {"pool": "prefilter"}  # what stands among a group's settings and is a part of its own


@dataclass(frozen=True)
class Prefilter:
    """Which domains of a pool are kept: the `keep` nearest to the targets, for every selector.

    Attributes:
        keep: how many domains.
        documents: at most so many of a domain, and of a target, are looked at: a sample by id.
        relative_epsilon: regularisation as a share of the mean cost over all domains and targets.
        cost: ground cost.
        seed: seed of the sample.
        featurizer: what gives the vectors.
    """

    keep: int
    documents: int
    relative_epsilon: float
    cost: Any
    seed: int
    featurizer: Featurizer

    def __post_init__(self) -> None:
        for name in ("keep", "documents", "seed"):
            if not isinstance(value := getattr(self, name), int):
                raise InvalidInput(f"pool.prefilter.{name} must be an integer, found {value!r}")
        if self.keep < 1 or self.documents < 2:
            raise InvalidInput(
                "pool.prefilter needs keep of at least 1 and documents of at least 2, found "
                f"keep={self.keep} and documents={self.documents}; keep=null switches it off"
            )
        if self.relative_epsilon <= 0:
            raise InvalidInput(
                f"pool.prefilter.relative_epsilon must be above 0, found {self.relative_epsilon:g}"
            )


@dataclass(frozen=True)
class Ablation:
    """The method that the selector's picks are compared with.

    Attributes:
        selector: the method.
        settings: its settings as a YAML has them.
        changed: of these, what differs from the selector's: all of them, or those of a member.
    """

    selector: Selector
    settings: Mapping[str, Any]
    changed: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The name that `conf/selector` has for the class of what differs."""
        return option_name(str(self.changed["_target_"]).rsplit(".", 1)[-1])


@dataclass(frozen=True)
class Components:
    """The objects that a configuration names, before any of them has worked.

    `task` is what is trained and measured on, `targets` are the tasks that documents are chosen
    for: the task alone, unless the configuration says otherwise.
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
    ablation: Ablation | None
    advice: Advice | None
    leaks: str
    check: Check
    check_vectors: Featurizer


def build_components(config: DictConfig) -> Components:
    """Returns every object that the configuration names; nothing is read and nothing computed.

    Raises:
        InvalidInput: a setting is missing, unknown to its class or out of range.
    """
    if config.seed < 0:
        raise InvalidInput(f"seed must be 0 or more, found {config.seed}")
    if config.runtime.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read by huggingface_hub when it is first imported
    made: dict[str, Any] = {}
    for name in ("task", "pool", "selector", "featurizer", "model", "warmup", "finetune"):
        made[name] = build_component(config, name)
    for name in list(config.logger or {}):
        made[f"logger.{name}"] = build_component(config, f"logger.{name}")
    _check_unmade(made["model"], made["warmup"], config)
    runtime, paths = config.runtime, config.paths
    local = config.source.name == "local"
    advice: Any = None if config.advice is None else OmegaConf.to_object(config.advice)
    return Components(
        **{name: part for name, part in made.items() if "." not in name},
        loggers=[part for name, part in made.items() if name.startswith("logger.")],
        source=LocalSource(absolute(paths.data)) if local else HubSource(runtime.offline, None),
        runtime=Runtime(
            runtime.accelerator.name,
            runtime.threads,
            runtime.inference_tokens,
            runtime.progress,
            runtime.report,
        ),
        budget=Budget(config.budget, config.budget_unit.name),
        seed=config.seed,
        until=config.until.name,
        **_targets(config, made["task"]),
        prefilter=_prefilter(config),
        ablation=_ablation(made["selector"], _plain(config.selector)),
        advice=advice,
        leaks=config.leaks.action.name,
        check=Check(
            config.check.assumption, absolute(config.check.reference), config.check.documents
        ),
        check_vectors=_check_vectors(config),
    )


def _check_unmade(model: Any, warmup: Any, config: DictConfig) -> None:
    """Refuses what a model that is pre-trained first cannot be used for, minutes before it is."""
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
            found = getattr(owner, setting, 0)
            if found > model.positions:
                raise InvalidInput(
                    f"{name}.{setting}={found} exceeds model.positions={model.positions}; set "
                    f"{name}.{setting}={model.positions}"
                )
    if config.check.assumption:
        raise InvalidInput(
            "check.assumption asks whether the pool looks like what the model has read; this model "
            "is pre-trained on the pool itself; set check.assumption=false"
        )


def _targets(config: DictConfig, task: Any) -> dict[str, Any]:
    """Returns the tasks that documents are chosen for, by name, and what they weigh."""
    named: dict[str, Any] = {task.name: task}
    toward, negative = [task.name], None
    if config.targets is not None:
        found = [(f"targets.{name}", node) for name, node in config.targets.items()]
        toward = list(config.targets)
        for name, node in (config.negative_target or {}).items():
            negative = name
            found.append((f"negative_target.{name}", node))
        named = {
            node.name: task if node.name == task.name else _built(node, place)
            for place, node in found
        }
    weights, floors = (
        {} if config[setting] is None else _numbers(config[setting], setting)
        for setting in ("target_weights", "target_floors")
    )
    return {"targets": named, "target_spec": TargetSpec.of(toward, weights, floors, negative)}


def _numbers(node: Any, setting: str) -> dict[str, float]:
    try:
        return {str(name): float(value) for name, value in node.items()}
    except (AttributeError, TypeError, ValueError):
        raise InvalidInput(
            f"{setting} must give numbers by target, {setting}={{NAME: 0.5}}, found: {node}"
        ) from None


def _prefilter(config: DictConfig) -> Prefilter | None:
    node = OmegaConf.select(config, "pool.prefilter")
    if node is None or node.keep is None:
        return None
    featurizer = _ready(config, "pool.prefilter.featurizer")
    settings = {name: value for name, value in node.items() if name != "featurizer"}
    return Prefilter(**settings, featurizer=featurizer)


def _check_vectors(config: DictConfig) -> Featurizer:
    # Who does not ask for the check need not choose vectors that it could use.
    return (_ready if config.check.assumption else build_component)(config, "check.vectors")


def _ready(config: DictConfig, name: str) -> Featurizer:
    """Returns the featurizer at `name`, whose vectors every method shares.

    Raises:
        InvalidInput: it would have to learn something first, from a target or from the pool.
    """
    featurizer: Featurizer = build_component(config, name)
    if featurizer.requirements().any or featurizer.inner is not None:
        raise InvalidInput(
            f"{name} takes vectors as they are, found {type(featurizer).__name__} with something to "
            f"learn first (labels, a head, the pool); choose featurizer@{name}=static, say"
        )
    return featurizer


def _ablation(selector: Selector, written: Mapping[str, Any]) -> Ablation | None:
    settings = selector.ablation_baseline()
    if settings is None:
        return None
    if "members" not in settings:
        return Ablation(instantiate(settings), settings, settings)
    (changed,) = settings["members"].values()
    members = {
        name: {**own, "selector": settings["members"].get(name, own["selector"])}
        for name, own in written["members"].items()
    }
    settings = {**written, "members": members}
    return Ablation(instantiate(settings, _convert_="all"), settings, changed)


def hashed_settings(config: DictConfig) -> dict[str, Any]:
    """Returns the groups that decide what is computed, resolved to plain data.

    What is null, or switched off, is left out: a cell without it keeps the key that it had before
    the setting was there. Folders of this machine stand there by their names (`<paths.data>`): what
    is read in them enters keys by its digest.
    """
    config = copy.deepcopy(config)
    for name in config.paths:
        config.paths[name] = f"<paths.{name}>"
    found = {name: _plain(OmegaConf.select(config, name)) for name in HASHED}
    if (found["pool"].get("prefilter") or {}).get("keep") is None:
        found["pool"].pop("prefilter", None)
    return {name: value for name, value in found.items() if value is not None}


def cell_key(config: DictConfig, reads: Mapping[str, str]) -> str:
    """Returns the key of a cell: a hash of the hashed groups and of what it reads.

    Without the second half, one command over two data folders would name two results alike.
    """
    return make_key("cell", 2, hashed_settings(config), reads)


def input_digests(parts: Components) -> dict[str, str]:
    """Returns the digests of pool, tasks, model, scorer and of what evaluators read by name,
    before any of them is loaded.

    Raises:
        ShortlistError: something that would be read is not there.
    """
    found = {
        "pool": parts.pool.identity(parts.source),
        "task": parts.task.identity(parts.source),
        "model": parts.model.identity(),
        "featurizer.intermediate_task": _intermediate_task(parts.featurizer.model, parts.source),
        "intermediate_task": _intermediate_task(parts.model, parts.source),
        "selector": parts.selector.identity(),
        **{
            f"selector.{name}": member.selector.identity()
            for name, member in parts.selector.members.items()
        },
    }
    if (scorer := parts.featurizer.scorer) is not None:
        scorer.check()
        found["scorer"] = scorer.identity()
    if parts.until == "evaluate":
        for name, evaluator in parts.task.evaluators.items():
            found[f"evaluator.{name}"] = evaluator.identity(parts.source)
    found |= {
        f"target.{name}": target.identity(parts.source)
        for name, target in parts.targets.items()
        if target is not parts.task
    }
    return {
        f"{READS}{part}.{name}": value
        for part, names in found.items()
        for name, value in names.items()
    }


def _intermediate_task(model: Pretrained | None, source: Source) -> dict[str, str]:
    """Returns the digests of the task that a model is fine-tuned on first."""
    task = None if model is None else model.intermediate_task
    return {} if task is None else task.identity(source)


def build_component(config: DictConfig, name: str) -> Any:
    """Returns the object that the node `name` describes.

    Raises:
        InvalidInput: a setting is missing, unknown to the class or refused by it.
    """
    if name in APART:
        config = copy.deepcopy(config)
        with open_dict(config):
            config[name].pop(APART[name], None)
    return _built(OmegaConf.select(config, name), name)


def _built(node: Any, name: str) -> Any:
    """Returns the object that `node` describes; `name` is what messages call it."""
    try:
        # Plain dicts and lists: Hydra's own containers would take a `Member` for a configuration.
        return instantiate(node, _convert_="all")
    except OmegaConfBaseException as error:
        raise InvalidInput(f"{name}: {' '.join(str(error).split())}") from error
    except Exception as error:  # Hydra wraps whatever a constructor raises
        cause = error.__cause__ or error
        if isinstance(cause, ShortlistError):
            raise cause from error
        # Of a part inside this one, Hydra names the place and the class in its message alone.
        inner = re.search(rf"full_key: ({re.escape(name)}[\w.]*)", str(error))
        place = inner.group(1) if inner else name
        called = re.search(r"target '([\w.]+)'", str(error))
        target = called.group(1) if called else node.get("_target_")
        reason = " ".join(str(cause).split("full_key:")[0].split())
        unknown = re.search(r"unexpected keyword argument '(\w+)'", reason)
        if unknown:
            known = near(unknown.group(1), _settings(get_class(target)))
            raise InvalidInput(f"{place} has no setting `{unknown.group(1)}`; {known}") from error
        raise InvalidInput(f"{place} could not be made by {target}: {reason}") from error


def _settings(made: type) -> set[str]:
    """Returns what a constructor takes; `**settings` means what the next class takes."""
    found: set[str] = set()
    for kind in made.__mro__:
        if "__init__" in vars(kind):
            taken = list(inspect.signature(kind.__init__).parameters.values())[1:]
            found |= {one.name for one in taken if one.kind is not one.VAR_KEYWORD}
            if all(one.kind is not one.VAR_KEYWORD for one in taken):
                break
    return found


def absolute(path: str | None) -> Any:
    """Returns the path with the directory the command was typed in before it, or None for None."""
    return Path(path).expanduser().absolute() if path is not None else None


def _plain(value: Any) -> Any:
    return (
        OmegaConf.to_container(value, resolve=True, enum_to_str=True)
        if OmegaConf.is_config(value)
        else getattr(value, "name", value)
    )


def with_targets(config: DictConfig) -> DictConfig:
    """Returns the configuration with every target as a configured task, by name.

    An entry of `targets`, or `negative_target`, is the name of a task as `task=NAME` takes it (the
    chosen task's own name means that task, as it is set), a file of texts, or `{task: NAME,
    setting: value, ...}`.

    Raises:
        InvalidInput: an entry is none of these, or two have one name.
    """
    if config.targets is None and config.negative_target is None:
        return config
    listed = config.targets if config.targets is not None else config.task.name
    given = {
        "targets": list(listed) if isinstance(listed, ListConfig) else [listed],
        "negative_target": [] if config.negative_target is None else [config.negative_target],
    }
    if not given["targets"]:
        raise InvalidInput("targets is empty, expected at least one task; set targets=[NAME,...]")
    nodes: dict[str, dict[str, DictConfig]] = {"targets": {}, "negative_target": {}}
    for setting, entries in given.items():
        for entry in entries:
            node = _target(config, setting, entry)
            if any(node.name in found for found in nodes.values()):
                raise InvalidInput(
                    f"{setting} names `{node.name}` a second time; give each target once, and "
                    "files of one name a name of their own: {task: own, train: FILE, name: NAME}"
                )
            nodes[setting][node.name] = node
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
    if name == config.task.name and not settings:
        return copy.deepcopy(config.task)
    if name not in options and ("/" in name or "." in name):
        # Nothing is measured on it, so all of it is the target.
        settings = {"train": name, "name": stem(name), "holdout": 0.0, **settings}
        name = "own"
    if name not in options:
        raise InvalidInput(f"{setting}: there is no task `{name}`; {near(name, options)}")
    # Composed whole: a task may bring a model or a trainer, and has nothing to bring them to alone.
    found = loader.load_configuration("config", [f"task={name}"], RunMode.RUN).task
    with open_dict(found):
        found.update(settings)
    return found
