"""The targets of a selection as configured tasks, by name."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, ListConfig, open_dict

from shortlist.data.files import stem
from shortlist.errors import InvalidInput, near


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
