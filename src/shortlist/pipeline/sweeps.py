"""The cells of a sweep, as Hydra's basic sweeper orders them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from shortlist.errors import InvalidInput
from shortlist.leaderboard.power import Design


def sweep_cells(config: DictConfig) -> list[list[str]]:
    """Returns the overrides of every cell, in the order of Hydra's basic sweeper.

    Raises:
        InvalidInput: an axis is an interval.
    """
    typed: Any = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
    names = {text.split("=")[0].lstrip("+~") for text in typed}
    params = OmegaConf.select(config, "hydra.sweeper.params") or {}
    typed = [f"{name}={value}" for name, value in params.items() if name not in names] + typed
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    axes: dict[str, list[str]] = {}
    for override in parser.parse_overrides(typed):
        if override.is_discrete_sweep():
            values = list(override.sweep_string_iterator())
        elif override.is_sweep_override():
            raise InvalidInput(f"an axis must be a list of values, found {override.input_line}")
        else:
            values = [override.get_value_element_as_str()]
        name = override.get_key_element()
        axes[name] = [f"{name}={value}" for value in values]
    return [list(cell) for cell in itertools.product(*axes.values())]


def typed_cells(config: DictConfig, typed: Sequence[str]) -> list[list[str]]:
    """Returns the overrides of every cell that a command would run.

    Args:
        config: the configuration without the typed axes.
        typed: what was typed, axes included.

    Raises:
        InvalidInput: an axis is an interval.
    """
    swept = OmegaConf.create(
        {
            "hydra": {
                "overrides": {"task": list(typed)},
                "sweeper": {"params": OmegaConf.select(config, "hydra.sweeper.params")},
            }
        }
    )
    return sweep_cells(swept)


def designs(config: DictConfig, typed: Sequence[str]) -> list[Design]:
    """Returns what a sweep compares on each task: methods differ in any axis but task, seed and
    budget; arguments and errors as of `typed_cells`.
    """
    default = config.hydra.runtime.choices.task
    seeds: dict[str, set[str]] = {}
    methods: dict[str, set[tuple[str, ...]]] = {}
    for cell in typed_cells(config, typed):
        axes = dict(text.split("=", 1) for text in cell)
        task, seed = axes.pop("task", default), axes.pop("seed", str(config.seed))
        axes.pop("budget", None)
        seeds.setdefault(task, set()).add(seed)
        methods.setdefault(task, set()).add(tuple(axes.values()))
    return [Design(task, len(seeds[task]), len(methods[task])) for task in seeds]


def one_at_a_time(cells: Sequence[list[str]]) -> list[list[str]]:
    """Returns the first cell, and one cell for each value of each axis: the sum of the axes'
    lengths instead of their product.
    """
    seen: set[tuple[int, str]] = set()
    kept: list[list[str]] = []
    for cell in cells:
        values = set(enumerate(cell))
        if not values <= seen:
            kept.append(cell)
            seen |= values
    return kept


def cell_config(config: DictConfig, overrides: list[str]) -> DictConfig:
    """Returns the configuration of a cell of a sweep, from that of the sweep."""
    loader = GlobalHydra.instance().config_loader()
    composed = loader.load_sweep_config(config, list(overrides))
    OmegaConf.set_readonly(composed, None)
    return composed
