"""The command line and Hydra's callbacks: arguments, one-line errors, checks before a sweep and
tables after it.
"""

from __future__ import annotations

import functools
import io
import itertools
import json
import logging
import os
import secrets
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from shortlist.config import check_sections, folder, register
from shortlist.core import Record
from shortlist.errors import InvalidInput, ShortlistError, near
from shortlist.leaderboard.power import Design, powers
from shortlist.pipeline.build import check_targets
from shortlist.pipeline.signals import Stopped, raised
from shortlist.rendering.tables import visible
from shortlist.store.atomic import make_directory
from shortlist.store.cache import open_cache
from shortlist.store.disk import room, room_for, says_full
from shortlist.store.records import read_file, read_records

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

# `pipeline.compose` loads the deep-learning libraries, so it is imported where a command is valid.


def sweep_name() -> str:
    """Returns a unique name of a sweep: the time in seconds and six random hexadecimal digits."""
    return f"{time.strftime('%Y-%m-%d_%H-%M-%S', time.gmtime())}_{secrets.token_hex(3)}"


def data(path: str, *, _root_: Any) -> str | None:
    """Returns `path` inside the directory `paths.data`, or None where that is not set."""
    folder = _root_.paths.data
    return None if folder is None else f"{folder}/{path}"


def checking(load: Callable[..., DictConfig]) -> Callable[..., DictConfig]:
    """Returns `load`, made to refuse a configuration that names foreign classes or functions.

    Hydra has no hook between composing and instantiating callbacks and loggers.
    """

    @functools.wraps(load)
    def checked(*arguments: Any, **settings: Any) -> DictConfig:
        config = load(*arguments, **settings)
        check_targets(config)
        check_sections(config)
        return config

    return checked


ConfigLoaderImpl.load_configuration = checking(ConfigLoaderImpl.load_configuration)
OmegaConf.register_new_resolver("sweep_name", sweep_name, use_cache=True, replace=True)
OmegaConf.register_new_resolver("data", data, replace=True)


def main() -> None:
    """Runs what `sys.argv` asks for: one cell, or with -m a sweep."""
    register(folder())
    guard(hydra.main(version_base="1.3", config_path=str(folder()), config_name="config")(run_cell))


def run_cell(config: DictConfig) -> object:
    """Returns the record of the cell that `config` describes, in the directory of Hydra's job."""
    from shortlist.pipeline.cell import execute

    job = HydraConfig.get()
    directory = Path(job.runtime.output_dir)
    group = Path(job.sweep.dir) if job.mode == RunMode.MULTIRUN else directory
    choices, overrides = dict(job.runtime.choices), tuple(job.overrides.task)
    return execute(config, choices, overrides, directory, group)


def guard(main: Callable[[], Any]) -> None:
    """Runs `main`; a refusal is printed as one line and ends with exit code 1.

    With `--explain` the command is explained instead (`pipeline.origins`). HYDRA_FULL_ERROR=1, set
    by the user, shows tracebacks as Hydra does.
    """
    tracebacks = os.environ.get("HYDRA_FULL_ERROR") == "1"
    # Without it, Hydra prints several lines and ends the process itself.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    logging.raiseExceptions = False  # a full disk under a log file is said once, not line by line
    replace_unencodable()
    try:
        with raised():
            _run(main)
    except (KeyboardInterrupt, Stopped) as stopped:
        if tracebacks:
            raise
        number = stopped.number if isinstance(stopped, Stopped) else signal.SIGINT
        how = f"stopped by {signal.Signals(number).name}"
        refuse(f"{how}; the same command continues where it stopped", code=128 + number)
    except Exception as error:
        if not tracebacks and not isinstance(error, ShortlistError) and says_full(error):
            refuse(_full_disk(error, sys.argv[1:]))
        known = isinstance(error, ShortlistError | HydraException | OmegaConfBaseException)
        # OmegaConf does not check that what a setting or a mapping is merged into is not null.
        null = ("Unexpected type for root: NoneType", "'NoneType' object has no attribute 'get'")
        known = known or str(error).startswith(null)
        if tracebacks or not known:
            raise
        refuse(describe(error, sys.argv[1:]))


def _run(main: Callable[[], Any]) -> None:
    """Runs `main`, or explains the command.

    Raises:
        InvalidInput: an argument is not UTF-8, or asks Hydra to read a pickled job, which may run
            any code.
    """
    for text in sys.argv[1:]:
        if not text.isprintable() and any("\udc80" <= letter <= "\udcff" for letter in text):
            shown = os.fsencode(text).decode("utf-8", "backslashreplace")
            raise InvalidInput(
                f"{shown}: expected an argument in UTF-8, found other bytes; rename the file, or give "
                "a pattern that matches it ('caf*.jsonl')"
            )
        if text.startswith("--experimental-r"):
            raise InvalidInput(
                "--experimental-rerun reads a pickle, which may run any code; leave it out"
            )
    sys.argv[1:] = sweep_group_settings(name_sizes(sys.argv[1:]))
    check_choices(sys.argv[1:])
    if "--explain" in sys.argv:
        from shortlist.pipeline.origins import explain

        print(explain(folder(), [text for text in sys.argv[1:] if text[0] != "-"]))
    else:
        main()


def replace_unencodable() -> None:
    """Lets the standard streams replace characters that the terminal's encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


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


def refuse(message: str, code: int = 1) -> NoReturn:
    """Prints `error: message` as one line and ends the process."""
    print(f"error: {visible(' '.join(message.split()))}", file=sys.stderr)
    raise SystemExit(code)


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


def _full_disk(error: BaseException, arguments: Iterable[str]) -> str:
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


def _options(group: str) -> list[str]:
    return sorted(path.stem for path in (folder() / group).glob("*.yaml")) if group else []


def _flat(node: Any, prefix: str) -> Iterator[str]:
    for name, value in node.items():
        if name not in ("_target_", "hydra"):
            yield f"{prefix}{name}"
            if isinstance(value, dict):
                yield from _flat(value, f"{prefix}{name}.")


class Publish(Callback):
    """Hydra's hooks before the first and after the last cell.

    Hydra turns exceptions of a callback into warnings, except SystemExit, so that refusals leave by
    `refuse`.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Checks the only cell."""
        self._check(config, [None])

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Checks every cell, so that an error in the last one stops the first."""
        self._check(config, None)
        show_power(config)

    def _check(self, config: DictConfig, cells: Sequence[list[str] | None] | None) -> None:
        from shortlist.pipeline.compose import absolute

        arguments: Sequence[str] = sys.argv[1:]
        try:
            cells = one_at_a_time(sweep_cells(config)) if cells is None else cells
            if not cells:
                raise InvalidInput(
                    "the sweep is empty: an axis matched nothing; name one option at least"
                )
            for setting in ("runs", "results"):
                make_directory(absolute(config.paths[setting]), f"paths.{setting}")
            open_cache(absolute(config.paths.cache), config.runtime.cache.name)
            for overrides in cells:
                if overrides is None:
                    check(config)
                else:
                    arguments = overrides
                    check_choices(overrides)
                    check(_cell_config(config, overrides))
        except (ShortlistError, HydraException, OmegaConfBaseException) as error:
            refuse(describe(error, arguments))
        except Exception as error:
            refuse(f"{type(error).__name__}: {error}")

    def on_run_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Publishes the only cell, unless it left no record: its error then ends the process."""
        if isinstance(kwargs["job_return"]._return_value, Exception):
            return
        self._publish(config, Path(config.hydra.run.dir))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Publishes the sweep."""
        self._publish(config, Path(config.hydra.sweep.dir))

    def _publish(self, config: DictConfig, directory: Path) -> None:
        try:
            cells, broken = read_run(directory)
        except ShortlistError as error:
            refuse(str(error))
        if [record.status for record in cells.values()] == ["failed"]:
            raise SystemExit(1)  # its one line has been printed
        # An error in a table must not hide errors of the cells.
        trouble = ""
        try:
            from shortlist.pipeline.compose import absolute

            with room_for("the leaderboard", absolute(config.paths.results), "paths.results"):
                conclude(config, directory, cells)
        except Exception as error:
            kind = "" if isinstance(error, ShortlistError) else f"{type(error).__name__}: "
            trouble = f"the tables could not be finished: {kind}{' '.join(str(error).split())}"
        sys.stdout.flush()
        failed = [record for record in cells.values() if record.status == "failed"]
        for record in failed:
            print(f"failed: {cell_name(record)}: {record.reason}", file=sys.stderr)
        for message in broken:
            print(f"left out: {message}", file=sys.stderr)
        if failed:
            print(
                f"{len(failed)} of {len(cells)} cells failed; the same command runs only these "
                f"again (tracebacks under {directory})",
                file=sys.stderr,
            )
        if trouble:
            refuse(trouble)
        if failed or broken:
            raise SystemExit(1)


def cell_name(record: Record) -> str:
    """Returns a cell as the command line names it."""
    axes = record.axes
    return f"task={axes.task} selector={axes.selector} budget={axes.budget} seed={axes.seed}"


def check(config: DictConfig) -> None:
    """Builds the components of a cell and looks for its inputs; computes nothing.

    Raises:
        ShortlistError: a setting is wrong, or an input is not there.
    """
    from shortlist.pipeline.compose import build_components
    from shortlist.pipeline.identity import input_digests
    from shortlist.pipeline.preparation import with_preparation
    from shortlist.pipeline.targets import with_targets

    if config.search is not None:
        raise InvalidInput(
            "search is no part of a cell; run `shortlist search search=NAME ...`, or leave search out"
        )
    input_digests(build_components(with_preparation(with_targets(config))))


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


def show_power(config: DictConfig) -> None:
    """Prints, for each task of a sweep, the smallest difference of methods that it can show in the
    primary metric, from the records in `results/` and in `paths.results`, where there are any.
    """
    from shortlist.pipeline.compose import absolute

    planned = designs(config, list(config.hydra.overrides.task))
    tasks = [design.task for design in planned if design.methods > 1]
    places = dict.fromkeys((absolute(config.paths.results), Path("results").absolute()))
    records = [record for place in places for record in read_records(place, tasks)]
    for design in planned:
        for power in powers(records, design, 0.0)[:1]:
            print(f"{design}: {power} ({power.records} earlier records)", file=sys.stderr)


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


def read_run(directory: Path) -> tuple[dict[Path, Record], list[str]]:
    """Returns the records of a run or a sweep by the directory of the cell, in the cells' order,
    and one sentence for each file that is not a record.

    Raises:
        InvalidInput: there is no record.
    """
    paths = sorted(
        directory.glob("**/record.json"), key=lambda path: (len(path.parent.name), path.parent.name)
    )
    if not paths:
        raise InvalidInput(
            f"a record of each cell was expected under {directory}, found none; look at its log files"
        )
    cells: dict[Path, Record] = {}
    broken: list[str] = []
    for path in paths:
        try:
            cells[path.parent] = read_file(path)
        except InvalidInput as error:
            broken.append(str(error))
    return cells, broken


def conclude(config: DictConfig, directory: Path, cells: Mapping[Path, Record]) -> None:
    """Writes the leaderboard, passes the tables to the loggers, prints the comparison."""
    from rich.console import Console

    from shortlist.leaderboard import build, console_table, publish
    from shortlist.pipeline.compose import absolute, build_component

    tables = [table for table in build(cells.values()) if table.rows]
    written = publish(absolute(config.paths.results)) if tables else []
    for name in config.logger:
        build_component(config, f"logger.{name}").log_table(tables, directory.name, directory)
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False, soft_wrap=True)
    for table in tables:
        console.print(console_table(table))
    for cell, record in cells.items():
        if record.until != "evaluate" and record.status == "done":
            print(f"{cell_name(record)}: {record.selection['size']:,} documents")
            for metric in record.metrics:
                print(f"  {metric.name} {metric.value:.4f}")
            print(f"  {cell / 'shortlist.jsonl'}")
    for path in written:
        print(f"wrote {path}")
    print(f"run {next(iter(cells))}" if len(cells) == 1 else f"{len(cells)} runs in {directory}")


def _cell_config(config: DictConfig, overrides: list[str]) -> DictConfig:
    loader = GlobalHydra.instance().config_loader()
    composed = loader.load_sweep_config(config, list(overrides))
    OmegaConf.set_readonly(composed, None)
    return composed
