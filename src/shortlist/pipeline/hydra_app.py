"""The command line and Hydra's callbacks: arguments, one-line errors, checks before a sweep and
tables after it.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from shortlist.core import Record
from shortlist.errors import InvalidInput, ShortlistError, near
from shortlist.store.atomic import make_directory


def sweep_name() -> str:
    """Returns a name that no other sweep has, even one started in the same second: time and six
    random digits.
    """
    return f"{time.strftime('%Y-%m-%d_%H-%M-%S', time.gmtime())}_{secrets.token_hex(3)}"


def data(path: str, *, _root_: Any) -> str | None:
    """Returns `path` inside the folder `paths.data`, or None where that is not set."""
    folder = _root_.paths.data
    return None if folder is None else f"{folder}/{path}"


OmegaConf.register_new_resolver("sweep_name", sweep_name, use_cache=True, replace=True)
OmegaConf.register_new_resolver("data", data, replace=True)


def guard(main: Callable[[], Any]) -> None:
    """Runs `main`; a refusal is printed as one line and ends with exit code 1.

    HYDRA_FULL_ERROR=1, set by the user, shows tracebacks as Hydra does.
    """
    tracebacks = bool(os.environ.get("HYDRA_FULL_ERROR"))
    # Without it, Hydra prints several lines and ends the process itself.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        sys.argv[1:] = sweep_group_settings(name_sizes(sys.argv[1:]))
        main()
    except KeyboardInterrupt:
        if tracebacks:
            raise
        refuse("interrupted; the same command continues where it stopped", code=130)
    except Exception as error:
        known = isinstance(error, ShortlistError) or _inside_null(sys.argv[1:])
        known = known or type(error).__module__.startswith(("hydra", "omegaconf", "antlr4"))
        if tracebacks or not known:
            raise
        refuse(explain(error, sys.argv[1:]))


def name_sizes(arguments: list[str]) -> list[str]:
    """Returns the arguments with `size=SIZE` made part of the experiment's option.

    `experiment=NAME size=mini` is `experiment=NAME_mini`; `size=full` is the experiment itself.

    Raises:
        InvalidInput: there is a size without an experiment.
    """
    sizes = [argument.removeprefix("size=") for argument in arguments if argument[:5] == "size="]
    if not sizes:
        return arguments
    kept = [argument for argument in arguments if argument[:5] != "size="]
    if not any(argument.startswith("experiment=") for argument in kept):
        raise InvalidInput(
            f"size={sizes[-1]} is the size of an experiment, found none; set experiment=NAME"
        )
    suffix = "" if sizes[-1] == "full" else f"_{sizes[-1]}"

    def named(argument: str) -> str:
        if not argument.startswith("experiment="):
            return argument
        return ",".join(f"{option}{suffix}" for option in argument.split(","))

    return [named(argument) for argument in kept]


def sweep_group_settings(arguments: list[str]) -> list[str]:
    """Returns the arguments with the settings of a swept group made part of the sweep.

    Of `-m selector=gotd,soft_knn selector.cost=cosine` Hydra composes what is not swept first, under
    the default selector, which may not have the setting. As a sweep over one value it is applied
    to each cell.
    """
    if not {"-m", "--multirun"} & set(arguments):
        return arguments
    pairs = [argument.partition("=") for argument in arguments]
    groups = {name for name, _, value in pairs if "," in value}

    def lifted(argument: str) -> str:
        name, equals, value = argument.partition("=")
        inside = equals and "." in name and name.lstrip("+").split(".")[0] in groups
        single = "," not in value and "(" not in value
        return f"{name}=choice({value})" if inside and single and value else argument

    return [lifted(argument) for argument in arguments]


def refuse(message: str, code: int = 1) -> NoReturn:
    """Prints `error: message` as one line and ends the process."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(code)


def explain(error: BaseException, typed: Iterable[str]) -> str:
    """Returns one line for what Hydra or OmegaConf refused: what it was, what is known, what is
    near.

    Args:
        error: what was raised.
        typed: the arguments of the command line.
    """
    text, typed = str(error), tuple(typed)
    if isinstance(error, ShortlistError):
        return text
    if clash := _inside_null(typed):
        return f"{clash[0]} is null, so {clash[1]} cannot be set; leave one of the two out"
    options = getattr(error, "options", None)
    missing = getattr(error, "missing_cfg_file", None)
    if options is not None and missing:
        group, _, name = str(missing).rpartition("/")
        return f"{group} has no option `{name}`; {near(name, options)}"
    unknown = re.search(
        r"Could not (?:override|append|delete from config\.|find match for override) "
        r"'?([^'\n]+?)'?(?: does not exist)?\.?(?:\n|$)",
        text,
    )
    if unknown:
        name = unknown.group(1).split("=")[0].lstrip("+~")
        return _no_setting(name, typed)
    wrong = re.search(r"Error merging override (\S+?)(?:\n|$)", text)
    if wrong:
        reason = (
            str(error.__cause__ or "").splitlines()[0] if error.__cause__ else text.splitlines()[0]
        )
        key, _, value = wrong.group(1).lstrip("+").partition("=")
        known = re.search(r"Key '([^']+)' (?:is not in struct|not in)", reason)
        if known:
            return _no_setting(key, typed)
        return f"{key} cannot be `{value}`: {reason}"
    if (
        "mismatched input" in text
        or "extraneous input" in text
        or type(error).__name__ == "OverrideParseException"
    ):
        first = text.splitlines()[0]
        return (
            f"an override is not readable: {first}; write NAME=VALUE and quote what the shell "
            f"would take (typed: {' '.join(typed)})"
        )
    return text


def _inside_null(typed: Iterable[str]) -> tuple[str, str] | None:
    """Returns a setting that was typed as null, and one typed inside it: OmegaConf only asserts."""
    names = [argument.lstrip("+").partition("=")[0] for argument in typed]
    empty = [name for name, one in zip(names, typed, strict=True) if one.endswith("=null")]
    inside = [(one, name) for one in empty for name in names if name.startswith(f"{one}.")]
    return inside[0] if inside else None


def known_settings(typed: Iterable[str] = ()) -> list[str]:
    """Returns every setting there is under the options typed, dotted; none where nothing composes.

    Args:
        typed: arguments of the command line; of these GROUP=OPTION counts where it composes.
    """
    return list(_flat(_composed(typed)[0], ""))


def _no_setting(name: str, typed: Iterable[str]) -> str:
    """Returns the line for an unknown setting; where options differ in it, the one without it."""
    settings, options = _composed(typed)
    first = name.partition(".")[0]
    group = next((group for group in options if group.rpartition("@")[2] == first), None)
    chosen = f" with {group}={options[group]}" if group else ""
    known = [setting for setting in _flat(settings, "") if setting != name]
    return f"there is no setting `{name}`{chosen}; {near(name, known)}"


def _composed(typed: Iterable[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Returns the configuration under the options typed, and the option of each group of several."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    folder = Path(sys.argv[0]).resolve().parent / "conf"

    def attempt(overrides: list[str]) -> Any:
        try:
            with initialize_config_dir(str(folder), version_base="1.3"):
                return compose("config", overrides=overrides, return_hydra_config=True)
        except (HydraException, OmegaConfBaseException, OSError):  # an option that does not compose
            return None

    GlobalHydra.instance().clear()
    choices = [argument for argument in typed if _group(argument, folder)]
    found = attempt(choices) or attempt([choice for choice in choices if attempt([choice])])
    if not found:
        return {}, {}
    chosen = {
        group: option
        for group, option in found.hydra.runtime.choices.items()
        if len(list((folder / group.partition("@")[0]).glob("*.yaml"))) > 1
    }
    settings: Any = OmegaConf.to_container(found, resolve=False)
    return settings, chosen


def _group(argument: str, folder: Path) -> bool:
    """Returns whether an argument chooses an option: `selector=random`, `trainer@warmup=clm`."""
    name, equals, _ = argument.lstrip("+").partition("=")
    return bool(name and equals) and (folder / name.partition("@")[0]).is_dir()


def _flat(node: Any, prefix: str) -> Iterable[str]:
    for name, value in node.items():
        if name in {"_target_", "hydra"}:
            continue
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")


class Publish(Callback):
    """Hydra's hooks before the first and after the last cell.

    Hydra turns what a callback raises into a warning, but lets SystemExit through: refusals leave
    by `refuse`.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Checks the one cell."""
        self._check(config, [None])

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Checks every cell: a typo in the last one stops the first."""
        self._check(config, None)

    def _check(self, config: DictConfig, cells: Sequence[list[str] | None] | None) -> None:
        from shortlist.pipeline.compose import absolute  # heavy: only once the command is readable

        typed: Sequence[str] = sys.argv[1:]
        try:
            if cells is None:
                found = sweep_cells(config)
                if not found:
                    raise InvalidInput(
                        "the sweep is empty: an axis matched nothing; name one option at least"
                    )
                cells = one_at_a_time(found)
            for setting in ("runs", "results", "cache"):
                make_directory(absolute(config.paths[setting]), f"paths.{setting}")
            for overrides in cells:
                typed = typed if overrides is None else overrides
                check(config if overrides is None else _compose(config, overrides))
        except Exception as error:
            known = isinstance(error, ShortlistError)
            if not known and not type(error).__module__.startswith(("hydra", "omegaconf")):
                refuse(f"{type(error).__name__}: {error}")
            refuse(explain(error, typed))

    def on_run_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Publishes the one cell."""
        self._publish(config, Path(config.hydra.run.dir))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Publishes the sweep."""
        self._publish(config, Path(config.hydra.sweep.dir))

    def _publish(self, config: DictConfig, directory: Path) -> None:
        try:
            cells = read_run(directory)
        except ShortlistError as error:
            refuse(str(error))
        if [record.status for record in cells.values()] == ["failed"]:
            raise SystemExit(1)  # its one line stands on the screen already
        # Whatever goes wrong with a table must not hide what went wrong with the cells.
        trouble = ""
        try:
            conclude(config, directory, cells)
        except Exception as error:
            kind = "" if isinstance(error, ShortlistError) else f"{type(error).__name__}: "
            trouble = f"the tables could not be finished: {kind}{' '.join(str(error).split())}"
        sys.stdout.flush()
        failed = [record for record in cells.values() if record.status == "failed"]
        for record in failed:
            print(f"failed: {name_of(record)}: {record.reason}", file=sys.stderr)
        if failed:
            print(
                f"{len(failed)} of {len(cells)} cells failed; the same command runs only these "
                f"again (tracebacks under {directory})",
                file=sys.stderr,
            )
        if trouble:
            refuse(trouble)
        if failed:
            raise SystemExit(1)


def name_of(record: Record) -> str:
    """Returns a cell in the words of the command line."""
    axes = record.axes
    return f"task={axes.task} selector={axes.selector} budget={axes.budget} seed={axes.seed}"


def check(config: DictConfig) -> None:
    """Instantiates what a cell names and looks for what it would read; computes nothing.

    Raises:
        ShortlistError: a setting is wrong, or an input is not there.
    """
    from shortlist.pipeline.compose import build_components, input_digests, with_targets

    input_digests(build_components(with_targets(config)))


def sweep_cells(config: DictConfig) -> list[list[str]]:
    """Returns the overrides of every cell, in the order in which Hydra's basic sweeper launches
    them.
    """
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser

    typed = list(config.hydra.overrides.task)
    chosen = {item.split("=")[0].lstrip("+~") for item in typed}
    params = OmegaConf.select(config, "hydra.sweeper.params") or {}
    typed = [f"{name}={value}" for name, value in params.items() if name not in chosen] + typed
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    return BasicSweeper.split_arguments(parser.parse_overrides(typed), None)[0]


def one_at_a_time(cells: Sequence[list[str]]) -> list[list[str]]:
    """Returns the first cell, and for each value of each axis one cell that has it: sums where a
    grid multiplies.
    """
    seen: set[tuple[int, str]] = set()
    kept: list[list[str]] = []
    for cell in cells:
        values = set(enumerate(cell))
        if not values <= seen:
            kept.append(cell)
            seen |= values
    return kept


def read_run(directory: Path) -> dict[Path, Record]:
    """Returns the records of a run or a sweep by their cell's directory, in the order of its cells.

    Raises:
        InvalidInput: no cell left one.
    """
    paths = sorted(
        directory.glob("**/record.json"), key=lambda path: (len(path.parent.name), path.parent.name)
    )
    if not paths:
        raise InvalidInput(
            f"a record of each cell was expected under {directory}, found none; look at its log files"
        )
    return {path.parent: Record.from_json(path.read_text(encoding="utf-8")) for path in paths}


def conclude(config: DictConfig, directory: Path, cells: Mapping[Path, Record]) -> None:
    """Prints the comparison, writes the leaderboard, hands the table to the loggers."""
    from rich.console import Console

    from shortlist.leaderboard import build, console_table, publish
    from shortlist.pipeline.compose import absolute, build_component

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False, soft_wrap=True)
    tables = build([record for record in cells.values() if record.until == "evaluate"])
    for table in tables:
        console.print(console_table(table))
    for cell, record in cells.items():
        if record.until != "evaluate" and record.status == "done":
            console.print(f"{name_of(record)}: {record.selection['size']:,} documents")
            for metric in record.metrics:
                console.print(f"  {metric.name} {metric.value:.4f}")
            console.print(f"  {cell / 'shortlist.jsonl'}")
    for name in list(config.logger or {}):
        build_component(config, f"logger.{name}").log_table(tables, directory.name, directory)
    if tables:
        for path in publish(absolute(config.paths.results)):
            console.print(f"wrote {path}")


def _compose(config: DictConfig, overrides: list[str]) -> DictConfig:
    from hydra.core.global_hydra import GlobalHydra

    loader = GlobalHydra.instance().config_loader()
    composed = loader.load_sweep_config(config, list(overrides))
    OmegaConf.set_readonly(composed, None)
    return composed
