"""The command line and Hydra's callbacks: one-line errors, checks before a sweep and tables after
it.
"""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from shortlist.config import folder, register
from shortlist.core import Record
from shortlist.errors import InvalidInput, ShortlistError
from shortlist.leaderboard.power import powers
from shortlist.pipeline import hydra_setup  # noqa: F401  (resolvers)
from shortlist.pipeline.arguments import (
    check_choices,
    describe,
    full_disk,
    name_sizes,
    sweep_group_settings,
)
from shortlist.pipeline.signals import Stopped, raised
from shortlist.pipeline.sweeps import cell_config, designs, one_at_a_time, sweep_cells
from shortlist.rendering.tables import visible
from shortlist.store.atomic import make_directory
from shortlist.store.cache import open_cache
from shortlist.store.disk import room_for, says_full
from shortlist.store.records import read_file, read_records

# `pipeline.compose` loads the deep-learning libraries, so it is imported where a command is valid.


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
            refuse(full_disk(error, sys.argv[1:]))
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


def refuse(message: str, code: int = 1) -> NoReturn:
    """Prints `error: message` as one line and ends the process."""
    print(f"error: {visible(' '.join(message.split()))}", file=sys.stderr)
    raise SystemExit(code)


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
                    check(cell_config(config, overrides))
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
