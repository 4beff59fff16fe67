"""What the files of `conf/` say about the option that an axis of a record names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from shortlist.core import Record
from shortlist.errors import near

GROUPS = ("task", "pool", "selector", "featurizer", "model")
# Settings that say what an option is, whatever else is set: its class; a task, or a model of the
# hub; a model in a package; a peer.
IDENTITY = ("_target_", "name", "package", "script")


def typed_values(record: Record) -> dict[str, str]:
    """Returns the values of a record's overrides by name; the last one of a setting holds."""
    return dict(text.lstrip("+").split("=", 1) for text in record.overrides if "=" in text)


def naming_problems(record: Record, conf: Path | None) -> Iterator[str]:
    """Yields one sentence for each axis that names another option than was run.

    An axis must name the option of the overrides, where they choose one; and the option's class,
    name and package must be those of the record's configuration, where no override sets them.

    Args:
        record: the record.
        conf: the directory of the configuration; None: options are not compared.
    """
    typed = typed_values(record)
    for group in GROUPS:
        name = str(getattr(record.axes, group))
        if typed.get(group, name).strip("'\"") != name:
            yield f"{group} is {name}, but {typed[group]} in its overrides"
        if conf is None:
            continue
        options = {path.stem for path in (conf / group).glob("*.yaml")}
        if name not in options:
            yield f"{group} is {name}, which is no option of {conf / group}; {near(name, options)}"
            continue
        settings, described = record.config.get(group), option(conf, group, name, group)
        for setting in IDENTITY:
            found = settings.get(setting) if isinstance(settings, Mapping) else None
            expected = described.get(setting, found)
            if found != expected and f"{group}.{setting}" not in typed:
                yield (
                    f"{group} is {name}, whose {setting} is {expected}, but {found} in its "
                    "configuration"
                )


@cache
def option(conf: Path, folder: str, name: str, group: str) -> Mapping[str, Any]:
    """Returns the settings that the option `name` in `conf/FOLDER`, and those that it extends, give
    to a group.
    """
    from omegaconf import OmegaConf

    path = conf / folder / f"{name}.yaml"
    node: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    settings: dict[str, Any] = {}
    for entry in node.get("defaults", ()):
        # `gotd`, `gotd@PACKAGE` or `/FOLDER@PACKAGE: gotd`; other packages are parts of the group.
        if isinstance(entry, str):
            (chosen, _, package), owner = entry.partition("@"), folder
        else:
            ((place, chosen),) = entry.items()
            owner, _, package = place.strip("/").partition("@")
        if (package or owner) in (folder, group, "_here_", "_global_") and chosen != "_self_":
            settings |= option(conf, owner, chosen, group)
    is_global = path.read_text(encoding="utf-8").startswith("# @package _global_")
    return settings | (node.get(group, {}) if is_global else node)
