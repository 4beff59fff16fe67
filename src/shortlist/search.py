"""Search over settings of a cell: trials that are compared on the validation split.

A trial is the cell up to its fine-tuning; its value is the validation metric of the epoch that is
kept. The study of the trials (`shortlist.trials`) lies in an SQLite file.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from shortlist.errors import InvalidInput, near
from shortlist.overrides import composed, path_of
from shortlist.pipeline.build import class_of, extensions_of
from shortlist.pipeline.cell import check_labels, execute, open_cell, tune
from shortlist.pipeline.identity import input_digests
from shortlist.settings import checked, parameters
from shortlist.store.atomic import make_directory
from shortlist.store.keys import key as make_key
from shortlist.trainers.classify import Classifier
from shortlist.trials import (
    Dimension,
    State,
    Trial,
    Watch,
    best_of,
    dimensions,
    optuna_module,
    run_trials,
)

if TYPE_CHECKING:
    from shortlist.core import Record
    from shortlist.pipeline.stage import Cell

STUDY = "study.sqlite"


@dataclass(frozen=True)
class Found:
    """What a search has found.

    Attributes:
        command: the command that runs the cell of the best trial.
        facts: of the search, for the record of that cell.
        record: that record.
        directory: where the study lies.
    """

    command: str
    facts: Mapping[str, Any]
    record: Record
    directory: Path


def search(typed: Sequence[str], report: Callable[[Trial, Trial | None, str], None]) -> Found:
    """Returns the cell of the best settings, run after all trials.

    Args:
        typed: overrides of the configuration, one of them `search=NAME`.
        report: called with each trial that has ended, the best one so far, and the metric's name.

    Raises:
        InvalidInput: the cell has no validation metric to compare trials by, the space is no space
            of its settings, or every trial failed.
        Missing: optuna is not installed, or an input is not there.
    """
    optuna_module()
    if not any(_named(text) == "search" for text in typed if text[0] != "~"):
        raise InvalidInput(
            "a search needs a space of settings, an option of conf/search; set search=finetune, say"
        )
    with composed(typed) as config:
        settings: Any = config.search
        settings = OmegaConf.to_object(settings)
        space = list(dimensions(settings.space))
        if not space:
            raise InvalidInput("search.space is empty; name one setting at least")
        check_space(config, space)
        home = make_directory(path_of(config, "runs"), "paths.runs")
        cell = open_cell(config, _choices(config), home)
        metric, sign = _metric(cell)
        said = asdict(settings) | {"space": {one.name: _plain(one) for one in space}}
        identity = {name: value for name, value in said.items() if name != "trials"}
        identity["versions"] = [cell.parts.warmup.version, cell.parts.finetune.version]
        cell_of = make_key("cell", 2, cell.settings, input_digests(cell.parts))
        key = make_key("search", 1, identity, {"cell": cell_of})
    directory = make_directory(home / f"search_{key[:12]}", "paths.runs")
    names = {one.name for one in space}
    kept = [text for text in typed if _named(text) not in names and not _is_search(text)]

    def objective(overrides: Sequence[str], watch: Watch) -> float:
        with composed([*kept, *overrides]) as config:
            fitted = tune(open_cell(config, _choices(config), directory), watch)
        scores = fitted.facts["validation"]
        watch(scores)  # of a training that is stored
        return scores[fitted.facts["epoch"] - 1]

    lock = FileLock(directory / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InvalidInput(
            f"another process runs this search in {directory}; wait for it"
        ) from error
    with lock:
        storage = f"sqlite:///{directory / STUDY}"

        def signed(one: Trial) -> Trial:
            return replace(one, value=None if one.value is None else sign * one.value)

        trials = run_trials(
            space,
            settings,
            objective,
            storage,
            lambda one, best: report(signed(one), best and signed(best), metric),
        )
        best = best_of(trials)
        if best is None:
            first = next((one.reason for one in trials if one.reason), "none was finished")
            raise InvalidInput(f"no trial of {len(trials)} was finished; the first: {first}")
        counts = {state: sum(one.state == state for one in trials) for state in get_args(State)}
        facts = {
            **said,
            "trials": len(trials),
            **counts,
            "metric": metric,
            "best_validation": sign * (best.value or 0.0),
            "best_trial": best.number,
            "settings": list(best.settings),
        }
        overrides = [*kept, *best.settings]
        command = shlex.join(["python", "run.py", *overrides])
        with composed(overrides) as config:
            hashed = tuple(config.hydra.overrides.task)
            record = execute(
                config, _choices(config), hashed, directory, command=command, search=facts
            )
    return Found(command, facts, record, directory)


def check_space(config: DictConfig, space: Sequence[Dimension]) -> None:
    """Refuses settings that the configuration does not have, and values that they cannot take
    alone.

    Raises:
        InvalidInput: there is one.
    """
    for one in space:
        place, _, setting = one.name.rpartition(".")
        node = OmegaConf.select(config, place) if place else None
        if not isinstance(node, DictConfig) or "_target_" not in node:
            continue
        known = parameters(
            class_of(node["_target_"], place, None, ("shortlist", *extensions_of(config)))
        )
        if setting not in known:
            raise InvalidInput(f"search.space: {place} has no `{setting}`; {near(setting, known)}")
        for value in one.values:
            checked(known[setting].annotation, value, f"search.space: {one.name}")


def _metric(cell: Cell) -> tuple[str, int]:
    """Returns the metric that compares epochs, and 1 where larger is better, else -1.

    Raises:
        InvalidInput: epochs are not compared.
    """
    parts, trainer = cell.parts, cell.parts.finetune
    if parts.until in ("select", "warmup") or parts.task.evaluators:
        raise InvalidInput(
            "a search compares fine-tuned models on validation, this cell has none; set "
            "until=evaluate and a task that is fine-tuned"
        )
    check_labels(cell)
    if not isinstance(trainer, Classifier) or trainer.keep_epoch != "best":
        raise InvalidInput(
            "a search compares trials by the validation metric of the epoch that is kept; set "
            "finetune.keep=best"
        )
    name = str(trainer.metric or parts.task.primary)
    return name, 1 if parts.task.higher_is_better(name) else -1


def _choices(config: DictConfig) -> dict[str, str]:
    return dict(config.hydra.runtime.choices)


def _named(text: str) -> str:
    """Returns the name of an override."""
    return text.lstrip("+~").partition("=")[0]


def _is_search(text: str) -> bool:
    return _named(text).split(".")[0].split("@")[0] == "search"


def _plain(one: Dimension) -> Any:
    """Returns a dimension as plain data for records and keys."""
    if one.choices:
        return list(one.choices)
    return {name: getattr(one, name) for name in ("low", "high", "log", "step")}
