"""The arguments of a command in Hydra's grammar: sizes, settings of swept groups, options that a
group does not have, and one line on the argument that caused an error.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from shortlist.config import folder
from shortlist.errors import InvalidInput, ShortlistError, near
from shortlist.pipeline import hydra_setup  # noqa: F401  (resolvers)
from shortlist.store.disk import room

OPTIONAL = (
    "cascade",
    "experiment",
    "launcher",
    "logger",
    "peft",
    "practice",
    "protocol",
    "search",
)  # groups a cell can lack
# Groups without an option by default, so that there is nothing to merge a mapping into.
UNSET = ("calibration", "cascade", "experiment", "peft", "practice", "protocol", "search")
# Groups of which a cell has one option; `logger=[csv,wandb]` has several.
SINGLE = (
    "cascade", "featurizer", "launcher", "model", "paths", "peft", "pool", "practice",
    "runtime", "search", "selector", "task", "trainer",
)  # fmt: skip


def name_sizes(arguments: list[str]) -> list[str]:
    """Returns the arguments with `size=SIZE` made part of the experiment's option.

    `experiment=NAME size=mini` is `experiment=NAME_mini`; `size=full` is the experiment itself.

    Raises:
        InvalidInput: there is a size without an experiment.
    """
    sizes = [text.removeprefix("size=") for text in arguments if text.startswith("size=")]
    if not sizes:
        return arguments
    kept = [text for text in arguments if not text.startswith("size=")]
    if not any(text.startswith("experiment=") for text in kept):
        raise InvalidInput(
            f"size={sizes[-1]} is the size of an experiment, found none; set experiment=NAME"
        )
    suffix = "" if sizes[-1] == "full" else f"_{sizes[-1]}"
    return [
        ",".join(f"{option}{suffix}" for option in text.split(","))
        if text.startswith("experiment=")
        else text
        for text in kept
    ]


def sweep_group_settings(arguments: list[str]) -> list[str]:
    """Returns the arguments with the settings of a swept group made part of the sweep.

    Of `-m selector=gotd,soft_knn selector.cost=cosine` Hydra composes what is not swept first,
    under the default selector, which may not have the setting. As a sweep over one value it is
    applied to each cell.
    """
    if not {"-m", "--multirun"} & set(arguments):
        return arguments
    pairs = [text.partition("=") for text in arguments]
    groups = {name for name, _, value in pairs if "," in value}

    def lifted(name: str, equals: str, value: str) -> str:
        inside = equals and "." in name and name.lstrip("+").split(".")[0] in groups
        single = "," not in value and "(" not in value
        return f"{name}=choice({value})" if inside and single and value else name + equals + value

    return [lifted(*pair) for pair in pairs]


def check_choices(arguments: Iterable[str]) -> None:
    """Refuses a group whose value cannot be an option: `selector=null`, `featurizer=1`, `~task`.

    Raises:
        InvalidInput: the value of a group is neither a name nor, where it may have several
            options, a list of names; or a group is left out that every cell needs.
    """
    for override in _overrides(arguments):
        options = _options(override.key_or_group)
        optional = override.key_or_group in OPTIONAL
        key = override.get_key_element().lstrip("+~")
        if not options or override.is_sweep_override() or (override.is_delete() and optional):
            continue
        if override.is_delete():
            raise InvalidInput(f"{key} cannot be left out; {near('', options)}")
        value = override.value()
        single = override.key_or_group in SINGLE
        names = value if isinstance(value, list) and not single else [value]
        mapping = isinstance(value, dict) and override.key_or_group not in UNSET
        if value and (mapping or (names and all(isinstance(name, str) for name in names))):
            continue
        advice = f"~{key} leaves it out; " if optional else ""
        raise InvalidInput(
            f"{key} must be one of its options, found {str(override.input_line).partition('=')[2]}; "
            f"{advice}{near(str(value), options)}"
        )


def describe(error: BaseException, arguments: Iterable[str]) -> str:
    """Returns one line for an error: the argument that caused it, what is known, what is near.

    An error of Hydra or OmegaConf is traced to the first argument that cannot be applied to the
    configuration of the chosen options; where all can, the error's text is returned.

    Args:
        error: the exception.
        arguments: the arguments of the command line.
    """
    arguments = tuple(arguments)
    if isinstance(error, ShortlistError):
        return str(error)
    if isinstance(error, OverrideParseException):
        return unreadable(str(error).splitlines()[0], arguments)
    if clash := _inside_null(arguments):
        return f"{clash[0]} is null, so {clash[1]} cannot be set; leave one of the two out"
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        return f"{group} has no option `{name}`; {near(name, error.options)}"
    config, choices = _composed(arguments)
    causes = (_refusal(override, config, choices) for override in _overrides(arguments))
    return next((cause for cause in causes if cause), str(error))


def unreadable(reason: str, arguments: Sequence[str]) -> str:
    """Returns one line on an override that is no NAME=VALUE, with the quotes that make it one."""
    parser = OverridesParser.create()

    def reads(text: str) -> Any:
        try:
            return parser.parse_override(text).value()
        except HydraException:
            return None

    broken = next((text for text in arguments if text[:1] != "-" and reads(text) is None), "")
    name, equals, value = broken.partition("=")
    listed = value.startswith("[") and value.endswith("]")
    items = [item.strip() for item in value[1:-1].split(",")] if listed else [value]
    quoted = [json.dumps(item, ensure_ascii=False) for item in items]
    offered = f"{name}=[{','.join(quoted)}]" if listed else f"{name}={quoted[0]}"
    advice = "write NAME=VALUE"
    if equals and reads(offered) == (items if listed else value):
        advice = f"write {shlex.quote(offered)}"
    return f"an override is not readable: {broken} ({reason}); {advice}"


def full_disk(error: BaseException, arguments: Iterable[str]) -> str:
    """Returns one line on a full disk that was met outside a stage: what is free in each directory."""
    paths = _composed(arguments)[0].get("paths") or {}
    rooms = [
        f"paths.{name}={paths[name]} ({room(Path(paths[name]).absolute())})"
        for name in ("runs", "results", "cache")
        if name in paths
    ]
    return (
        f"a disk is full ({' '.join(str(error).split())}); free some room under "
        f"{', '.join(rooms) or 'the working directory'} or set another directory; the same command "
        "then goes on"
    )


def _refusal(override: Override, config: DictConfig, choices: Mapping[str, str]) -> str:
    """Returns why an override cannot be applied to a configuration, or an empty text."""
    name, typed = override.key_or_group, override.get_key_element().lstrip("+~")
    if typed in choices or override.is_sweep_override() or (override.is_add() and "@" in typed):
        return ""
    if name.startswith("hydra."):  # not in the configuration of a cell
        return ""
    known = [*_flat(OmegaConf.to_container(config), ""), *choices]
    outer = name.rpartition(".")[0]
    if outer in known and OmegaConf.select(config, outer) is None:
        return (
            f"{outer} is null, so {name} cannot be set; give {outer} a value, or leave {name} out"
        )
    if name not in known and not override.is_add():
        first = name.partition(".")[0]
        group = next((group for group in choices if group.rpartition("@")[2] == first), None)
        chosen = f" with {group}={choices[group]}" if group else ""
        return f"there is no setting `{typed}`{chosen}; {near(typed, known)}"
    if override.is_delete() and name.partition(".")[0] not in choices:
        return f"{name} cannot be left out; set {name}=VALUE"
    if override.is_add() or override.is_delete():
        return ""
    try:
        OmegaConf.update(config, name, override.value())
    except (OmegaConfBaseException, AttributeError) as error:
        value = override.get_value_element_as_str()
        null = isinstance(error, AttributeError) and OmegaConf.select(config, name) is None
        reason = "it is null, and takes no mapping" if null else str(error).splitlines()[0]
        return f"{name} cannot be `{value}`: {reason}"
    return ""


def _inside_null(arguments: Iterable[str]) -> tuple[str, str] | None:
    """Returns a setting typed as null, and one typed inside it, which OmegaConf only asserts."""
    pairs = [text.lstrip("+").partition("=") for text in arguments]
    null = {name for name, _, value in pairs if value == "null"}
    inside = (
        (outer, name) for name, _, _ in pairs for outer in null if name.startswith(f"{outer}.")
    )
    return next(inside, None)


def _composed(arguments: Iterable[str]) -> tuple[DictConfig, dict[str, str]]:
    """Returns the configuration of the chosen options, and the option of each group of several."""

    def attempt(choices: list[str]) -> Any:
        try:
            with initialize_config_dir(str(folder()), version_base="1.3"):
                return compose("config", overrides=choices, return_hydra_config=True)
        except (HydraException, OmegaConfBaseException, OSError):  # an option that does not compose
            return None

    GlobalHydra.instance().clear()
    choices = [
        str(override.input_line)
        for override in _overrides(arguments)
        if _options(override.key_or_group) and not override.is_sweep_override()
    ]
    config = attempt(choices) or attempt([choice for choice in choices if attempt([choice])])
    if not config:
        return DictConfig({}), {}
    chosen = config.hydra.runtime.choices.items()
    options = {group: name for group, name in chosen if len(_options(group.split("@")[0])) > 1}
    return config, options


def _overrides(arguments: Iterable[str]) -> Iterator[Override]:
    """Yields the arguments that are readable overrides, parsed."""
    parser = OverridesParser.create()
    for text in arguments:
        if not text.startswith("-") and ("=" in text or text.startswith("~")):
            try:
                yield parser.parse_override(text)
            except HydraException:
                continue


def _options(group: str) -> list[str]:
    return sorted(path.stem for path in (folder() / group).glob("*.yaml")) if group else []


def _flat(node: Any, prefix: str) -> Iterator[str]:
    for name, value in node.items():
        if name not in ("_target_", "hydra"):
            yield f"{prefix}{name}"
            if isinstance(value, dict):
                yield from _flat(value, f"{prefix}{name}.")
