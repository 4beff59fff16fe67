"""Builds configured objects, and refuses settings that their constructors do not take."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Collection, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from shortlist.errors import InvalidInput, ShortlistError, near

# Types of settings as annotations name them, and in words; other names are not checked.
TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "int": ((int,), "an integer"),
    "float": ((int, float), "a number"),
    "str": ((str, int, float), "text"),  # `precision: 32` is a number in a YAML
    "bool": ((bool,), "true or false"),
    "None": ((type(None),), "null"),
    "Sequence": ((list,), "a list"),
    "list": ((list,), "a list"),
    "Mapping": ((dict,), "a mapping"),
    "dict": ((dict,), "a mapping"),
}


def plain(value: Any, missing: bool = True) -> Any:
    """Returns a node as plain data; `missing` says whether values may be missing in it."""
    if not OmegaConf.is_config(value):
        return getattr(value, "name", value)
    return OmegaConf.to_container(
        value, resolve=True, enum_to_str=True, throw_on_missing=not missing
    )


def build(node: Any, place: str, base: type | None = None, apart: Collection[str] = ()) -> Any:
    """Returns the object that a node of the configuration describes.

    A mapping with `_target_` is an object of that class, constructed from the other entries; the
    objects inside it are built first.

    Args:
        node: the node.
        place: its place in the configuration, for messages.
        base: a class that the object must be an instance of.
        apart: settings of the node that are not the object's.

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
    return build_plain(settings, place, base)


def build_plain(node: Any, place: str, base: type | None = None) -> Any:
    """Returns what plain data describe: `build` without a configuration to resolve them in."""
    if isinstance(node, list):
        return [build_plain(item, f"{place}[{index}]") for index, item in enumerate(node)]
    if not isinstance(node, dict):
        return node
    settings = {
        name: build_plain(value, f"{place}.{name}")
        for name, value in node.items()
        if name != "_target_"
    }
    if "_target_" not in node:
        return settings
    return construct(_class(node["_target_"], place, base), settings, place)


def _class(target: Any, place: str, base: type | None) -> type:
    """Returns the class named `target`: `base` or one derived from it, or any of this package."""
    module, _, name = str(target).rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidInput(f"{place}._target_={target} cannot be imported: {error}") from error
    classes = kind.__mro__ if isinstance(kind, type) else ()
    if base not in classes if base else not any(c.__module__[:10] == "shortlist." for c in classes):
        expected = f"a {base.__name__}" if base else "a class of shortlist"
        raise InvalidInput(f"{place}._target_ must be {expected}, found {target}")
    return kind


def construct(kind: type, settings: Mapping[str, Any], place: str) -> Any:
    """Returns `kind(**settings)`, after comparing the settings with the constructor's signature.

    Types are compared where the annotation names plain ones (`int | None`).
    """
    parameters = _parameters(kind)
    for name, value in settings.items():
        if name not in parameters:
            raise InvalidInput(f"{place} has no setting `{name}`; {near(name, parameters)}")
        if expected := _expected(parameters[name].annotation, value):
            raise InvalidInput(f"{place}.{name} must be {expected}, found {value!r}")
    for name, parameter in parameters.items():
        if name not in settings and parameter.default is parameter.empty:
            raise InvalidInput(f"{place} needs the setting `{name}`; set {place}.{name}=VALUE")
    try:
        return kind(**settings)
    except ShortlistError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise InvalidInput(f"{place} could not be built by {kind.__name__}: {reason}") from error


def _parameters(kind: type) -> dict[str, inspect.Parameter]:
    """Returns a constructor's parameters; `**settings` stands for those of the next class."""
    parameters: dict[str, inspect.Parameter] = {}
    for owner in kind.__mro__:
        if "__init__" not in vars(owner):
            continue
        own = list(inspect.signature(owner.__init__).parameters.values())[1:]
        passed_on = [p for p in own if p.kind is p.VAR_KEYWORD]
        named = [p for p in own if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
        parameters = {p.name: p for p in named} | parameters
        if not passed_on:
            break
    return parameters


def _expected(annotation: Any, value: Any) -> str:
    """Returns the types that an annotation names where the value has none of them, else ""."""
    flat = str(annotation)
    while "[" in flat:  # the parameters of a type are not checked
        flat = re.sub(r"\[[^\[\]]*\]", "", flat)
    names = [name.strip() for name in flat.split("|")]
    checked = [TYPES[name] for name in names if name in TYPES]
    if len(checked) < len(names) and (value is not None or "Any" in names):
        return ""
    # Exact types, because true is an integer for Python.
    if any(type(value) in kinds for kinds, _ in checked):
        return ""
    return " or ".join(TYPES[name][1] if name in TYPES else name for name in names)
