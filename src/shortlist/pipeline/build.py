"""Builds configured objects from mappings with the class in `_target_`.

Classes come from this package and from packages that `runtime.extensions` names; nothing else is
imported. Settings are compared with the constructor's annotations (`shortlist.settings`).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Collection, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from shortlist.errors import InvalidInput
from shortlist.settings import check_names, construct

# Packages of launchers and sweepers, which Hydra instantiates.
PLUGINS = ("hydra._internal.core_plugins", "hydra_plugins")
# What the configuration of logging may name, besides classes of `logging`.
LOGGING = (
    "colorlog.ColoredFormatter", "logging.FileHandler", "logging.NullHandler",
    "logging.StreamHandler", "logging.handlers.RotatingFileHandler", "sys.stderr", "sys.stdout",
)  # fmt: skip


def plain(value: Any, missing: bool = True) -> Any:
    """Returns a node as plain data; `missing` says whether values may be missing in it."""
    if not OmegaConf.is_config(value):
        return getattr(value, "name", value)
    return OmegaConf.to_container(
        value, resolve=True, enum_to_str=True, throw_on_missing=not missing
    )


def build(
    node: Any,
    place: str,
    base: type | None = None,
    apart: Collection[str] = (),
    extensions: Sequence[str] = (),
) -> Any:
    """Returns the object that a node of the configuration describes.

    A mapping with `_target_` is an object of that class, constructed from the other entries; the
    objects inside it are built first.

    Args:
        node: the node.
        place: its place in the configuration, for messages.
        base: a class that the object must be an instance of.
        apart: settings of the node that are not the object's.
        extensions: packages besides this one whose classes may be named.

    Raises:
        InvalidInput: the node is no such mapping, the class is another one, or a setting is
            missing, unknown to the constructor, of a wrong type or refused by it.
    """
    if not isinstance(node, DictConfig) or "_target_" not in node:
        raise InvalidInput(
            f"{place} must be a mapping with the class in `_target_`, found {node}; choose one of "
            "its options"
        )
    try:
        settings = {name: plain(node[name], missing=False) for name in node if name not in apart}
    except MissingMandatoryValue as error:
        raise InvalidInput(f"{error.full_key} has no value; set {error.full_key}=VALUE") from error
    except OmegaConfBaseException as error:
        raise InvalidInput(f"{place}: {' '.join(str(error).split())}") from error
    return build_plain(settings, place, base, extensions)


def build_plain(
    node: Any, place: str, base: type | None = None, extensions: Sequence[str] = ()
) -> Any:
    """Returns what plain data describe: `build` without a configuration to resolve them in."""
    if isinstance(node, list):
        return [
            build_plain(item, f"{place}[{index}]", extensions=extensions)
            for index, item in enumerate(node)
        ]
    if not isinstance(node, dict):
        return node
    settings = {name: value for name, value in node.items() if name != "_target_"}
    kind = None
    if "_target_" in node:
        kind = class_of(node["_target_"], place, base, ("shortlist", *extensions))
        check_names(kind, settings, place)  # before anything inside is built
    built = {
        name: build_plain(value, f"{place}.{name}", extensions=extensions)
        for name, value in settings.items()
    }
    return built if kind is None else construct(kind, built, place)


def class_of(target: Any, place: str, base: type | None, packages: Sequence[str]) -> type:
    """Returns the class named `target`, defined in one of the packages; no other one is imported.

    Args:
        target: dotted name of the class.
        place: place of its `_target_`, for messages.
        base: the class that it must be or derive from.
        packages: names of packages.

    Raises:
        InvalidInput: it cannot be imported, is no such class, or is defined elsewhere.
    """
    _check_package(target, place, packages)
    module, _, name = str(target).rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), name)
    except Exception as error:  # of an extension, whatever its module does
        raise InvalidInput(f"{place}._target_={target} cannot be imported: {error}") from error
    if not isinstance(kind, type) or not issubclass(kind, base or object):
        expected = f"a {base.__name__}" if base else "a class"
        raise InvalidInput(f"{place}._target_ must be {expected}, found {target}")
    _check_package(f"{kind.__module__}.{kind.__qualname__}", place, packages)
    return kind


def _check_package(target: Any, place: str, packages: Sequence[str]) -> None:
    if not any(str(target).startswith(f"{package}.") for package in packages):
        raise InvalidInput(
            f"{place}._target_ must be a class of {' or '.join(packages)}, found {target}; for a "
            "package of your own set runtime.extensions=[PACKAGE]"
        )


def extensions_of(config: DictConfig) -> tuple[str, ...]:
    """Returns the packages that `runtime.extensions` names.

    Raises:
        InvalidInput: one is no package's name, or is a module of Python itself.
    """
    names: Any = OmegaConf.select(config, "runtime.extensions") or ()
    for name in names:
        parts = str(name).split(".")
        if parts[0] in sys.stdlib_module_names or not all(part.isidentifier() for part in parts):
            raise InvalidInput(f"runtime.extensions takes packages of your own, found {name}")
    return tuple(names)


def check_targets(config: DictConfig) -> None:
    """Refuses a composed configuration that names classes or functions of other packages.

    Hydra instantiates callbacks, launchers and sweepers as soon as it has composed, and configures
    logging, which calls what it names.

    Raises:
        InvalidInput: a `_target_` or a class of logging lies elsewhere.
    """
    packages = ("shortlist", *extensions_of(config))
    _check_targets(OmegaConf.to_container(config, resolve=False), "", packages)


def _check_targets(node: Any, place: str, packages: Sequence[str]) -> None:
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for name, value in items:
        inside = f"{place}.{name}" if place else str(name)
        if name == "_target_":
            # Hydra looks attributes up along the whole name, so that a prefix is not enough.
            if place.startswith("hydra."):
                class_of(value, place, None, (*packages, *PLUGINS))
            else:
                _check_package(value, place, packages)
        elif isinstance(value, dict | list):
            _check_targets(value, inside, packages)
        elif place.startswith(("hydra.job_logging", "hydra.hydra_logging")):
            named = isinstance(value, str) and value.startswith("ext://")
            if (named or name in ("()", "class")) and str(value).removeprefix(
                "ext://"
            ) not in LOGGING:
                raise InvalidInput(f"{inside} must be one of {', '.join(LOGGING)}, found {value}")
