"""Origins of a configuration: the file that chose each option and set each value (`--explain`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

TYPED = "command line"
HIDDEN = ("hydra", "sizes")  # parts of the configuration that no cell reads


@dataclass(frozen=True)
class Origin:
    """One line of an explanation.

    Attributes:
        name: a group (`selector`, `trainer@warmup`) or a dotted setting.
        value: the option, or the value.
        file: the file, relative to the directory of the configuration, or `command line`.
        elsewhere: whether a setting is set outside the files of the option that it belongs to.
    """

    name: str
    value: str
    file: str
    elsewhere: bool = False


def explain(folder: Path, overrides: Sequence[str]) -> str:
    """Returns a table of the options of all groups, and one of the settings of interest.

    These are the settings of groups that `overrides` name, and every setting that is set outside
    the group that it belongs to.

    Args:
        folder: the directory of the configuration.
        overrides: arguments of the command line.
    """
    groups, settings = origins(folder, overrides)
    typed = {text.lstrip("+").partition("=")[0].rpartition("@")[2] for text in overrides}
    shown = [
        setting
        for setting in settings
        if setting.elsewhere or setting.name.partition(".")[0] in typed
    ]
    return f"{_table('group', 'option', groups)}\n\n{_table('setting', 'value', shown)}"


def origins(folder: Path, overrides: Sequence[str]) -> tuple[list[Origin], list[Origin]]:
    """Returns the origins of the options and of the settings, in the order of composition.

    Args:
        folder: the directory of the configuration.
        overrides: arguments of the command line, without a sweep.

    Raises:
        HydraException: the overrides do not compose.
    """
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(folder), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        config = loader.load_configuration("config", list(overrides), RunMode.RUN)
        # The result has no public type; what is read of it is what `--info defaults-tree` prints.
        composition = loader.compute_defaults_list("config", list(overrides), RunMode.RUN)
    # A file with a defaults list has no key; one option may stand in several packages.
    parents = {d.override_key or (d.config_path, d.package): d.parent for d in composition.defaults}
    groups = []
    for group, option in reversed(config.hydra.runtime.choices.items()):
        override = composition.overrides.override_metadata.get(group)
        if override is not None:
            path = override.containing_config_path
        elif any(text.startswith(f"+{group}=") for text in overrides):
            path = None
        else:
            name, _, package = group.partition("@")
            places = [(f"{name}/{option}", place) for place in (package or name, "")]
            path = next(filter(None, map(parents.get, [group, *places])), "config")
        if not group.startswith("hydra/"):
            groups.append(Origin(group, _text(option), _file(folder, path) if path else TYPED))

    written: dict[str, tuple[Any, str]] = {}
    owners: dict[str, set[str]] = {}  # groups of an option and of what it includes, by package
    for default in composition.defaults:
        path, package = default.config_path, default.package or ""
        if path.partition("/")[0] not in (*HIDDEN, "schema"):
            owners.setdefault(package, set()).add(path.rpartition("/")[0])
            for name, value in _leaves(_content(folder, path), package):
                _write(written, name, value, _file(folder, path))
    for override in composition.config_overrides:
        _write(written, override.key_or_group, override.value(), TYPED)
    settings = []
    for name, (value, file) in written.items():
        package = max((p for p in owners if p and name.startswith(f"{p}.")), key=len, default="")
        root = name.partition(".")[0]
        if root not in HIDDEN and not name.endswith("_target_"):
            inside = owners[package] if package else {root}  # a file of the group may set the root
            elsewhere = file.rpartition("/")[0] not in inside
            settings.append(Origin(name, _shown(config, name, value), file, elsewhere))
    return groups, settings


def _file(folder: Path, path: str) -> str:
    """Returns the name of a file; the size of an experiment is a block of the experiment's file."""
    if (folder / f"{path}.yaml").is_file():
        return f"{path}.yaml"
    experiment, _, size = path.rpartition("_")
    return f"{experiment}.yaml, size {size}"


def _content(folder: Path, path: str) -> dict[str, Any]:
    """Returns what a file contains, without its defaults list."""
    file, store = folder / f"{path}.yaml", ConfigStore.instance()
    node: Any = OmegaConf.load(file) if file.is_file() else store.load(f"{path}.yaml").node
    content: Any = OmegaConf.to_container(node)
    return {name: value for name, value in content.items() if name != "defaults"}


def _leaves(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        path = f"{prefix}.{name}" if prefix else str(name)
        if isinstance(value, dict) and value:
            yield from _leaves(value, path)
        else:
            yield path, value


def _write(written: dict[str, tuple[Any, str]], name: str, value: Any, file: str) -> None:
    """Records a value in place of an earlier one, of those inside it, and of one around it."""
    for other in list(written):
        if f"{other}.".startswith(f"{name}.") or f"{name}.".startswith(f"{other}."):
            del written[other]
    written[name] = (value, file)


def _shown(config: DictConfig, name: str, value: Any) -> str:
    """Returns a value as it is in the configuration, beside the interpolation that gives it."""
    try:
        resolved = OmegaConf.select(config, name)
    except OmegaConfBaseException:
        return _text(value)
    if OmegaConf.is_config(resolved):
        return _text(value)
    interpolated = isinstance(value, str) and "${" in value
    return f"{_text(resolved)} ({value})" if interpolated else _text(resolved)


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(getattr(value, "name", value))


def _table(first: str, second: str, rows: Sequence[Origin]) -> str:
    cells = [(first, second, "set by"), *((row.name, row.value[:60], row.file) for row in rows)]
    widths = [max(len(cell[column]) for cell in cells) for column in (0, 1)]
    return "\n".join(f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c}" for a, b, c in cells)
