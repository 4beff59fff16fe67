"""Commands on data alone: prepare files, check a task. Nothing is selected or trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from omegaconf import DictConfig

from shortlist.core import Corpus
from shortlist.data.readers import RejectedRow
from shortlist.data.sources import HubSource, LocalSource
from shortlist.diagnostics.data_pages import personal_counts, preparation_page, task_page
from shortlist.diagnostics.datasheet.page import html
from shortlist.pipeline.compose import absolute, build_component, cut_of
from shortlist.pipeline.preparation import (
    preparations,
    prepare_pool,
    prepare_task,
    with_preparation,
)
from shortlist.prepare.base import Prepared
from shortlist.prepare.checks import TaskChecks, check_task
from shortlist.progress import forward


@dataclass(frozen=True)
class PreparedPool:
    """A prepared pool.

    Attributes:
        before: the documents that were read.
        after: the documents that are kept.
        prepared: the verdicts on those that were read.
        left_out: rows that are no documents, by reason.
        quarantined: those of them that cannot be read, with file, line and reason.
    """

    before: Corpus
    after: Corpus
    prepared: Prepared
    left_out: Mapping[str, int]
    quarantined: tuple[RejectedRow, ...] = ()

    def page(self, title: str) -> str:
        """Returns the report as one HTML file."""
        return html(preparation_page(title, self.before.texts, self.prepared, self.left_out))

    @property
    def facts(self) -> dict[str, Any]:
        """Counts as plain data."""
        return {
            **self.prepared.counts,
            "personal_data": personal_counts(self.before.texts, self.prepared),
            "documents": len(self.after),
            "left_out": dict(self.left_out),
            "quarantined": [row._asdict() for row in self.quarantined],
        }


def prepare_documents(config: DictConfig) -> PreparedPool:
    """Returns the pool of a configuration after `pool.prepare`."""
    config = with_preparation(config)
    preparation = preparations(config)["pool"]
    with forward(show=config.runtime.progress) as report:
        loaded = build_component(config, "pool").load(_source(config), report)
    prepared, verdicts = prepare_pool(loaded.corpus, preparation)
    fates = {k: n for k, n in loaded.counts.items() if k not in ("rows_read", "kept") and n}
    return PreparedPool(loaded.corpus, prepared.corpus, verdicts, fates, loaded.quarantined)


def check(config: DictConfig) -> TaskChecks:
    """Returns the checks of the task of a configuration, as `task.folds` or `task.split` cuts it and
    after `task.prepare`.
    """
    config = with_preparation(config)
    preparation, cut = preparations(config)["task"], cut_of(config)
    task, source = build_component(config, "task"), _source(config)
    with forward(show=config.runtime.progress) as report:
        data = task.load(source, report)
        if cut is not None:
            values = None if cut.column is None else task.column(source, cut.column, report)
            data = cut.split(task.name, data, values)
    if preparation.operations:
        data, _ = prepare_task(task.name, data, preparation)
    return check_task(task.name, data)


def checks_page(checks: TaskChecks) -> str:
    """Returns the checks of a task as one HTML file."""
    return html(task_page(checks))


def checks_json(checks: TaskChecks) -> dict[str, Any]:
    """Returns the checks as plain data: the counts first, then every finding."""
    return {"task": checks.task, "counts": checks.counts, **asdict(checks)}


def _source(config: DictConfig) -> Any:
    if config.source.name == "local":
        return LocalSource(absolute(config.paths.data))
    return HubSource(config.runtime.offline, None)
