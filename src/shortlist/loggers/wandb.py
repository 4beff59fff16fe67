"""Weights & Biases: one run for each cell in the group of its sweep, and one for the tables."""

from __future__ import annotations

import hashlib
import logging
import netrc
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from shortlist.core import Record
from shortlist.errors import Missing
from shortlist.hub import dataset_card, read_selection, write_folder
from shortlist.leaderboard.plots import plots
from shortlist.leaderboard.table import ComparisonTable
from shortlist.leaderboard.text import method_rows
from shortlist.loggers import CellReport
from shortlist.rendering.page import light_colours
from shortlist.settings import Positive
from shortlist.store.atomic import make_directory, write_text

if TYPE_CHECKING:
    import wandb

    from shortlist.trainers.curves import Curve

log = logging.getLogger(__name__)

Mode = Literal["auto", "online", "offline"]
POINTS = 500  # of a curve of losses
HOST = "https://api.wandb.ai"


class WandbLogger:
    """Reports to Weights & Biases, or to files that `wandb sync` can send later.

    Attributes:
        project: the project.
        entity: the user or team; None for that of the API key.
        mode: `online`, `offline`, or `auto` (online if an API key is configured, else offline).
        tags: tags of every run.
        texts: whether the artifact of a selection holds the texts.
        timeout: seconds that the server has for the start and for the end of a run; after the first
            one that passes, this run and those after it are kept as files.
    """

    extra = "wandb"

    def __init__(
        self,
        project: str,
        entity: str | None,
        mode: Mode,
        tags: Sequence[str] | None,
        texts: bool,
        timeout: Positive,
    ) -> None:
        self.project = project
        self.entity = entity
        self.mode = mode
        self.tags = tags
        self.texts = texts
        self.timeout = timeout

    def log_cell(self, report: CellReport) -> None:
        """Reports a cell: configuration and axes as config, metrics and costs as summary, the
        selection as an artifact (`selection_artifact`), the losses of its trainings as history.

        The id of the run is a hash of group and key, so that a cell reported twice is one run.

        Raises:
            Missing: wandb is not installed.
        """
        record, axes = report.record, report.record.axes
        name = f"{axes.task} {axes.selector} {axes.budget} seed {axes.seed}"
        config = {
            **record.config,
            "axes": asdict(axes),
            "key": record.key,
            "until": record.until,
            "overrides": list(record.overrides),
            "code": dict(record.code),
            "inputs": dict(record.inputs),
        }
        with self._run(report.group, record.key, name, "cell", config, report.directory) as run:
            for stage, curve in report.curves.items():
                _log_curve(run, stage, curve)
            run.summary.update(_summary(record))
            if report.picks is not None:
                run.log_artifact(selection_artifact(report, report.picks, self.texts))

    def log_table(self, tables: Sequence[ComparisonTable], group: str, directory: Path) -> None:
        """Reports each table as a `wandb.Table` called `table/<task>-<pool>`, with its plots.

        They are the summary of one run, whose id follows from the group, so that sending them again
        replaces them. The run has no history: W&B appends to the history of a run that is sent
        again.

        Raises:
            Missing: wandb is not installed.
        """
        wandb = _wandb()
        with self._run(group, "table", f"{group} table", "table", {}, directory) as run:
            logged: dict[str, Any] = {}
            for table in tables:
                rows = method_rows(table)
                logged[f"table/{table.name}"] = wandb.Table(
                    columns=list(rows[0]) if rows else [],
                    data=[list(row.values()) for row in rows],
                    allow_mixed_types=True,
                )
                for plot in plots(table):
                    name = f"plot/{table.name}/{plot.title.lower().replace(' ', '_')}"
                    logged[name] = wandb.Html(
                        f"<style>{light_colours()}</style>\n{plot.svg()}", inject=False
                    )
            run.summary.update(logged)

    @contextmanager
    def _run(
        self,
        group: str,
        key: str,
        name: str,
        job_type: str,
        config: Mapping[str, Any],
        directory: Path,
    ) -> Iterator[wandb.Run]:
        """Yields a run and finishes it, with exit code 1 if the block fails."""
        wandb = _wandb()
        folder = make_directory(directory, "paths.runs")
        # A file, because the cells of a sweep may run in processes of their own.
        unreachable = folder / "wandb" / "unreachable.txt"

        def start(mode: Any) -> Any:
            if mode == "offline":
                # Crash reports are sent even in offline mode.
                os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
            return wandb.init(
                project=self.project,
                entity=self.entity,
                group=group,
                name=name,
                # Replaced, not resumed: `resume="allow"` would keep metrics that the cell lost.
                id=run_id(group, key),
                job_type=job_type,
                tags=list(self.tags or ()),
                config=dict(config),
                dir=folder,
                mode=mode,
                reinit="create_new",  # leaves a run of the caller open
                save_code=False,
                settings=wandb.Settings(
                    silent=True, console="off", disable_git=True, x_disable_stats=True,
                    init_timeout=self.timeout, finish_timeout=self.timeout,
                    finish_timeout_raises=True,
                ),
            )  # fmt: skip

        def give_up(error: Exception) -> None:
            reason = " ".join(str(error).split())
            write_text(unreachable, f"{reason}\n")
            log.warning(
                "wandb: the server cannot be used (%s); kept in %s from here on; send with "
                "`wandb sync`, and delete %s to try again",
                reason, unreachable.parent, unreachable.name,
            )  # fmt: skip

        if unreachable.exists():
            run = start("offline")
        else:
            try:
                run = start(self._mode())
            except (wandb.Error, TimeoutError) as error:
                give_up(error)
                wandb.teardown()  # the failed start has taken the run's id; ends a caller's runs, too
                run = start("offline")
        try:
            yield run
        except BaseException:
            run.finish(exit_code=1)
            raise
        try:
            run.finish()
        except TimeoutError as error:  # what was not sent is on disk
            give_up(error)

    def _mode(self) -> Any:
        """Returns `online` or `offline`, and logs the reason if the mode is `auto`."""
        if self.mode != "auto":
            return self.mode
        source = key_source()
        mode = "online" if source else "offline"
        reason = f"key from {source}" if source else "no key configured; send with `wandb sync`"
        log.info("wandb: %s (%s)", mode, reason)
        return mode


def selection_artifact(report: CellReport, picks: Path, texts: bool) -> Any:
    """Returns an artifact of the type `selection`: the files of a data set (`hub.write_folder`),
    with the fingerprints of what it was made from as metadata.

    Equal selections of a cell are one version, since a version is a digest of the files. These are
    written under the report's directory, where `wandb sync` reads them.

    Args:
        report: the cell.
        picks: its `shortlist.jsonl`.
        texts: False leaves the texts out.
    """
    record, table = report.record, read_selection(picks)
    card = dataset_card(record, report.command, texts=texts)
    name = f"{record.axes.task}-{record.axes.selector}-{record.key[:12]}"
    metadata = {
        "key": record.key,
        "axes": asdict(record.axes),
        "sha256": record.selection.get("sha256"),
        "inputs": dict(record.inputs),
        "texts": texts,
    }
    artifact = _wandb().Artifact(
        re.sub(r"[^\w.-]", "_", f"selection-{name}", flags=re.ASCII), "selection", metadata=metadata
    )
    folder = report.directory / "wandb" / "selections" / record.key
    folder.mkdir(parents=True, exist_ok=True)
    for file, path in write_folder(
        folder, table if texts else table.drop_columns("text"), card, {}
    ).items():
        artifact.add_file(str(path), file, policy="immutable")  # no copy in the home directory
    return artifact


def _log_curve(run: wandb.Run, stage: str, curve: Curve) -> None:
    """Logs the losses of a training over its own steps, each the mean of a stretch of steps, and
    what was measured on validation after each epoch: rows that are sent twice are one point.
    """
    for axis, names in (("step", ["loss"]), ("epoch", ["validation_loss", "validation_metric"])):
        run.define_metric(f"{stage}/{axis}", hidden=True)
        for name in names:
            run.define_metric(f"{stage}/{name}", step_metric=f"{stage}/{axis}")
    for step, loss in curve.means(POINTS):
        run.log({f"{stage}/step": step, f"{stage}/loss": loss})
    losses = curve.validation_losses
    for place, (score, loss) in enumerate(zip(curve.scores, losses, strict=True)):
        row = {f"{stage}/epoch": place + 1, f"{stage}/validation_metric": score}
        run.log(row | ({} if loss is None else {f"{stage}/validation_loss": loss}))


def run_id(group: str, key: str) -> str:
    """Returns the id of a run: a function of the sweep and of the cell."""
    return hashlib.sha256(f"{group}\n{key}".encode()).hexdigest()[:16]


def key_source() -> str | None:
    """Returns the place where a key for the W&B server is configured, or None; without network."""
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        if os.environ.get(name):
            return name
    path = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or HOST).netloc
    try:
        entry = netrc.netrc(path).authenticators(host)
    except FileNotFoundError:
        return None
    except (netrc.NetrcParseError, OSError) as error:
        log.warning("cannot read %s (%s); assuming no key for %s", path, error, host)
        return None
    return str(path) if entry and entry[2] else None


def _summary(record: Record) -> dict[str, Any]:
    values: dict[str, Any] = {"status": record.status, "reason": record.reason}
    names = [metric.name for metric in record.metrics]
    for metric in record.metrics:
        # Measurements of one quantity under several protocols must not overwrite each other.
        unique = names.count(metric.name) == 1
        values[metric.name if unique else f"{metric.name}.{metric.protocol[:8]}"] = metric.value
    for stage in record.stages:
        name = f"seconds/{stage.stage}"
        values[name] = values.get(name, 0.0) + stage.seconds
    for name in ("size", "unique"):
        if name in record.selection:
            values[f"selection/{name}"] = record.selection[name]
    values["warnings"] = "; ".join(record.warnings)
    return values


def _wandb() -> Any:
    try:
        import wandb
    except ImportError as error:
        raise Missing(
            "logger=wandb needs the package wandb, which is not installed; "
            "run: pip install 'shortlist[wandb]', or choose logger=csv"
        ) from error
    return wandb
