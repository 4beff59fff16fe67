"""What happens around the cells: every cell of a sweep is checked before the first is computed; at
the end the comparison is printed, the leaderboard written, the failures listed.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from shortlist.assembly import absolute, prepare
from shortlist.commandline import explain, refuse
from shortlist.core import Record
from shortlist.errors import InvalidInput, ShortlistError
from shortlist.store.atomic import make_directory

log = logging.getLogger(__name__)


class Publish(Callback):
    """Hydra's hooks before the first and after the last cell.

    Hydra turns what a callback raises into a warning, but lets SystemExit through: refusals leave
    by `refuse`.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Prepares every cell: a typo in the last one stops the first."""
        try:
            cells = sweep_cells(config)
            if not cells:
                refuse("the sweep is empty: an axis matched nothing; name one option at least")
            for overrides in one_at_a_time(cells):
                prepare(_compose(config, overrides))
            directory = make_directory(absolute(config.paths.runs), "paths.runs")
            make_directory(absolute(config.paths.results), "paths.results")
            make_directory(absolute(config.paths.cache), "paths.cache")
            log.info("%d cells; runs under %s", len(cells), directory)
        except Exception as error:
            if not isinstance(error, ShortlistError) and not type(error).__module__.startswith(
                ("hydra", "omegaconf")
            ):
                raise SystemExit(f"error: {type(error).__name__}: {error}") from error
            refuse(explain(error, sys.argv[1:]))

    def on_run_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Publishes the one cell."""
        self._publish(config, Path(config.hydra.run.dir))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Publishes the sweep."""
        self._publish(config, Path(config.hydra.sweep.dir))

    def _publish(self, config: DictConfig, directory: Path) -> None:
        records: list[Record] = []
        try:
            records = read_run(directory)
            conclude(config, directory, records)
        except ShortlistError as error:
            refuse(str(error))
        failed = [record for record in records if record.status == "failed"]
        if failed:
            sys.stdout.flush()
            for record in failed:
                axes = record.axes
                where = f"task={axes.task} selector={axes.selector} budget={axes.budget} seed={axes.seed}"
                print(f"failed: {where}: {record.reason}", file=sys.stderr)
            if len(records) > 1:
                print(
                    f"{len(failed)} of {len(records)} cells failed; the same command runs only these again "
                    f"(tracebacks under {directory})",
                    file=sys.stderr,
                )
            raise SystemExit(1)


def sweep_cells(config: DictConfig) -> list[list[str]]:
    """Returns the overrides of every cell, in the order in which Hydra's basic sweeper launches
    them.
    """
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    typed = list(config.hydra.overrides.task)
    chosen = {item.split("=")[0].lstrip("+~") for item in typed}
    params = OmegaConf.select(config, "hydra.sweeper.params") or {}
    typed = [f"{name}={value}" for name, value in params.items() if name not in chosen] + typed
    from hydra.core.global_hydra import GlobalHydra

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


def read_run(directory: Path) -> list[Record]:
    """Returns the records of a run or a sweep, in the order of its cells.

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
    return [Record.from_json(path.read_text(encoding="utf-8")) for path in paths]


def conclude(config: DictConfig, directory: Path, records: Sequence[Record]) -> None:
    """Prints the comparison, writes the leaderboard, hands the table to the loggers."""
    from rich.console import Console

    from shortlist.assembly import make
    from shortlist.leaderboard import build, console_table, publish

    console = Console(width=None if sys.stdout.isatty() else 120)
    tables = build([record for record in records if record.until == "evaluate"])
    for table in tables:
        console.print(console_table(table))
    for record in records:
        if record.until == "select" and record.status == "done":
            console.print(
                f"{record.selection['size']:,} documents: {directory}/**/shortlist.jsonl",
                highlight=False,
            )
    for name in list(config.logger or {}):
        make(config, f"logger.{name}").log_table(tables, directory.name, directory)
    results = absolute(config.paths.results)
    if tables:
        for path in publish(results):
            console.print(f"wrote {path}", highlight=False, soft_wrap=True)


def _compose(config: DictConfig, overrides: list[str]) -> DictConfig:
    from hydra.core.global_hydra import GlobalHydra

    loader = GlobalHydra.instance().config_loader()
    composed = loader.load_sweep_config(config, list(overrides))
    OmegaConf.set_readonly(composed, None)
    return composed
