"""What happens around the cells: every cell of a sweep is checked before the first is computed; at
the end the comparison is printed, the leaderboard written, the failures listed.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from shortlist.core import Record
from shortlist.errors import InvalidInput, ShortlistError
from shortlist.pipeline.assembly import absolute, prepare, what_is_read
from shortlist.pipeline.commandline import explain, refuse
from shortlist.pipeline.composition import complete
from shortlist.store.atomic import make_directory


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
    what_is_read(prepare(complete(config)))


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
    from shortlist.pipeline.assembly import make

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
        make(config, f"logger.{name}").log_table(tables, directory.name, directory)
    if tables:
        for path in publish(absolute(config.paths.results)):
            console.print(f"wrote {path}")


def _compose(config: DictConfig, overrides: list[str]) -> DictConfig:
    from hydra.core.global_hydra import GlobalHydra

    loader = GlobalHydra.instance().config_loader()
    composed = loader.load_sweep_config(config, list(overrides))
    OmegaConf.set_readonly(composed, None)
    return composed
