"""Overrides of the configuration in Hydra's grammar, and the configuration that they give."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from shortlist.errors import InvalidInput, near

if TYPE_CHECKING:
    from omegaconf import DictConfig

INPUTS = "inputs"  # the folder in the cache for inputs that are no files
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")  # texts that Hydra's grammar takes without quotes


def override(name: str, value: object) -> str:
    """Returns `NAME=VALUE` in Hydra's grammar; texts are quoted where they need it."""
    return f"{name}={_literal(value)}"


def _literal(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}: {_literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_literal, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = str(value)
    reference = text.startswith("${") and text.endswith("}")
    plain = _PLAIN.fullmatch(text) and text.lower() not in ("null", "true", "false", "nan", "inf")
    if not isinstance(value, str | Path) or reference or plain:
        return text
    escaped = text.replace("${", "\\${")
    # In Hydra's grammar backslashes are escapes before a quote alone.
    pieces = escaped.split("'")
    doubled = [piece + "\\" * (len(piece) - len(piece.rstrip("\\"))) for piece in pieces]
    return "'" + "\\'".join(doubled) + "'"


@contextmanager
def composed(overrides: Sequence[str]) -> Generator[DictConfig]:
    """Returns a context whose value is the configuration; Hydra's state is as before afterwards.

    Raises:
        InvalidInput: an override cannot be applied.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from shortlist.config import folder
    from shortlist.pipeline.arguments import describe

    _register()
    state = GlobalHydra.instance()
    before = state.hydra
    state.clear()
    try:
        with initialize_config_dir(str(folder()), version_base="1.3"):
            try:
                config = compose("config", overrides=list(overrides), return_hydra_config=True)
            # OmegaConf only asserts that what a setting is added to is not null.
            except (HydraException, OmegaConfBaseException, AssertionError) as error:
                raise InvalidInput(describe(error, overrides)) from error
            yield config
    finally:
        GlobalHydra.instance().hydra = before


def cells_of(typed: Sequence[str], apart: Sequence[str] = ()) -> list[list[str]]:
    """Returns the overrides of the first cell of a command, and of one cell more for each further
    value of an axis; `size=SIZE` is part of the experiment's name.

    Args:
        typed: overrides, axes included; those of an experiment are added.
        apart: axes of which the first value is enough.

    Raises:
        InvalidInput: an override cannot be applied, or an axis is an interval.
    """
    from shortlist.pipeline.sweeps import one_at_a_time

    cells = _typed_cells(typed)
    places = [at for at, text in enumerate(cells[0]) if text.partition("=")[0] in apart]
    for cell in cells:
        for at in places:
            cell[at] = cells[0][at]
    return one_at_a_time(cells)


def all_cells(typed: Sequence[str]) -> tuple[list[list[str]], int]:
    """Returns the overrides of all cells of a command for its first seed, and the number of seeds;
    arguments and errors as of `cells_of`.
    """
    cells = _typed_cells(typed)
    seeds = {text for cell in cells for text in cell if text.startswith("seed=")}
    first = next((text for text in cells[0] if text in seeds), None)
    kept = [cell for cell in cells if first is None or first in cell]
    return kept, max(len(seeds), 1)


def without_axes(typed: Sequence[str]) -> list[str]:
    """Returns the overrides that are no axes of a sweep.

    Raises:
        InvalidInput: an override cannot be read.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    from shortlist.pipeline.arguments import unreadable

    parser = OverridesParser.create()
    try:
        return [text for text in typed if not parser.parse_override(text).is_sweep_override()]
    except HydraException as error:
        raise InvalidInput(unreadable(str(error).splitlines()[0], typed)) from error


def _typed_cells(typed: Sequence[str]) -> list[list[str]]:
    from shortlist.pipeline.arguments import check_choices, name_sizes
    from shortlist.pipeline.sweeps import typed_cells

    typed = name_sizes(list(typed))
    check_choices(typed)
    with composed(without_axes(typed)) as config:
        cells = typed_cells(config, typed)
    if not cells:
        raise InvalidInput("the sweep is empty: an axis matched nothing; name one option at least")
    return cells


@cache
def _register() -> None:
    from shortlist.config import folder, register

    register(folder())


def methods() -> tuple[str, ...]:
    """Returns the names of the methods, sorted."""
    from shortlist.config import folder

    return tuple(sorted(path.stem for path in (folder() / "selector").glob("*.yaml")))


def check_method(name: str | None) -> None:
    """Refuses a method that does not exist.

    Raises:
        InvalidInput: there is none of this name; near ones are named.
    """
    if name is not None and name not in methods():
        raise InvalidInput(
            f"there is no method `{name}`; {near(name, methods())} (`shortlist methods` lists them)"
        )


def input_folder(settings: Iterable[str]) -> Path:
    """Returns the folder for inputs that are no files, under the cache that `settings` name."""
    with composed([text for text in settings if text.startswith("paths.")]) as config:
        return path_of(config, "cache") / INPUTS


def path_of(config: DictConfig, name: str) -> Path:
    """Returns the absolute path of `paths.NAME`."""
    return Path(config.paths[name]).expanduser().absolute()


def run_directory(config: DictConfig, directory: str | Path | None) -> Path:
    """Returns the directory of a run: the given one, or a new one in `paths.runs`."""
    from shortlist.pipeline.hydra_setup import sweep_name
    from shortlist.store.atomic import make_directory

    if directory is None:
        chosen = path_of(config, "runs") / sweep_name()
    else:
        chosen = Path(directory).expanduser().absolute()
    return make_directory(chosen, "paths.runs")
