"""Ensembles of stored cells: the mean of the predictions of cells that differ in the seed alone.

Folds test different items, so that an ensemble averages the seeds of one fold; a leaderboard then
joins the folds as those of any other row. Folds that test the task's own test split
(`task.cross_validation.test=own`) are averaged where that is asked for.
"""

from __future__ import annotations

import logging
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig

from shortlist.core import Metric, Record, pack_item_scores
from shortlist.errors import InvalidInput, Missing
from shortlist.pipeline.cell import open_cell
from shortlist.pipeline.compression import gain_of
from shortlist.pipeline.data import load_task
from shortlist.store.keys import canonical
from shortlist.store.keys import key as make_key
from shortlist.store.provenance import code
from shortlist.store.records import read_records

log = logging.getLogger(__name__)

ENSEMBLE = "ensemble"
GAIN = "gain_of_ensemble"

Over: TypeAlias = Literal["seed", "fold"]
Compose: TypeAlias = Callable[[Sequence[str]], AbstractContextManager[DictConfig]]


def ensembles(
    results: Path, settings: Sequence[str], compose: Compose, over: Over = "seed"
) -> list[Record]:
    """Returns a record for each two or more evaluated cells that differ in the seed, or the fold,
    alone.

    Its metrics are those of the mean of the cells' predictions (probabilities, or values of a
    regression) on the test split, and for each metric NAME, `NAME_gain_of_ensemble`: its item
    scores less the mean of the cells' item scores, hence paired by item. Its costs are those of all
    cells.

    Args:
        results: the directory that contains records/.
        settings: overrides of the machine, such as `paths.cache=DIR`.
        compose: makes a configuration of overrides.
        over: what the cells differ in.

    Raises:
        Missing: there are no such cells, or predictions are not in the store.
        InvalidInput: a record cannot be repeated from its overrides, or tests other items.
    """
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in read_records(results):
        single = ENSEMBLE not in record.config and (over == "seed" or over in record.config)
        if record.status == "done" and single and any(s.stage == "evaluate" for s in record.stages):
            groups[_all_but(over, record)].append(record)
    several = [group for _, group in sorted(groups.items()) if len(group) > 1]
    if not several:
        raise Missing(
            f"an ensemble needs evaluated cells that differ in the {over} alone, found none under "
            f"{results}; run `python run.py -m {over}=0,1,2 ...`"
        )
    refused = {place: _other_items(group, over) for place, group in enumerate(several)}
    alike = [group for place, group in enumerate(several) if not refused[place]]
    said = [reason for reason in refused.values() if reason]
    if not alike:
        raise InvalidInput(said[0])
    for reason in said:
        log.warning("left out: %s", reason)
    return [
        _ensemble(sorted(group, key=lambda one: _number(one, over)), settings, compose, over)
        for group in alike
    ]


def _all_but(over: Over, record: Record) -> str:
    config = {name: value for name, value in record.config.items() if name != over}
    axes = {name: value for name, value in vars(record.axes).items() if name != over}
    return canonical([axes, config, record.reads])


def _number(record: Record, over: Over) -> int:
    """Returns the seed or the fold of a cell."""
    return record.axes.seed if over == "seed" else int(record.config[over])


def _other_items(group: Sequence[Record], over: Over) -> str:
    """Returns why cells are no ensemble: they test different items; an empty text where they do
    not.
    """
    tested = {record.inputs.get("task_test") for record in group}
    if len(tested) == 1:
        return ""
    return (
        f"an ensemble needs cells that test the same items, those of {over}s "
        f"{sorted(_number(record, over) for record in group)} of {group[0].axes.task} test "
        f"{len(tested)} sets; set task.cross_validation.test=own, or average seeds"
    )


def _ensemble(
    members: Sequence[Record], settings: Sequence[str], compose: Compose, over: Over
) -> Record:
    first = members[0]
    with (
        compose([*first.overrides, *settings]) as config,
        tempfile.TemporaryDirectory() as directory,
    ):
        cell = open_cell(config, dict(config.hydra.runtime.choices), Path(directory))
        if canonical(cell.settings) != canonical(first.config):
            raise InvalidInput(
                f"record {first.key}: its overrides no longer give its configuration; run its cells "
                "again"
            )
        spec, data = cell.parts.task, load_task(cell.only_stored()).data
        predictions = [_predictions(cell.store.root, member) for member in members]
        if predictions[0].dtype.kind != "f":
            raise InvalidInput(
                f"an ensemble averages probabilities or numbers, task {spec.name} predicts texts or "
                "tags; ensemble cells of another task"
            )
        values = np.mean(predictions, axis=0)
        metrics, items = spec.evaluate(values, data, "test"), spec.item_scores(values, data)
        singles = [spec.item_scores(one, data) for one in predictions]
    scores = {name: pack_item_scores(own) for name, own in items.items()}
    gains: list[Metric] = []
    for metric in metrics:
        known = [member.metric(metric.name) for member in members]
        if any(one is None or one.protocol != metric.protocol for one in known):
            raise InvalidInput(
                f"record {first.key}: {metric.name} was measured in another way than today; run its "
                "cells again"
            )
        gain = items[metric.name] - np.mean([one[metric.name] for one in singles], axis=0)
        name = f"{metric.name}_{GAIN}"
        scores[name] = pack_item_scores(gain)
        gains.append(replace(gain_of(metric, gain), name=name))
    numbers = [_number(member, over) for member in members]
    said = (
        f"the mean of the predictions of {over}s {numbers}; the selection is that of {numbers[0]}"
    )
    settings_of = {**first.config, ENSEMBLE: {f"{over}s": numbers}}
    if over == "fold":  # no fold that a leaderboard joins with others
        del settings_of[over]
    stages = {(stage.stage, stage.key): stage for member in members for stage in member.stages}
    return replace(
        first,
        key=make_key("cell", 2, settings_of, first.reads),
        config=settings_of,
        metrics=(*metrics, *gains),
        item_scores=scores,
        stages=tuple(stages.values()),
        selection={name: first.selection[name] for name in ("size", "domains")},
        inputs={
            **first.inputs,
            **{f"ensemble.{n}": m.key for n, m in zip(numbers, members, strict=True)},
        },
        warnings=tuple(dict.fromkeys([said, *(w for member in members for w in member.warnings)])),
        code=code(),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        digest="",
    ).sealed()


def _predictions(root: Path, record: Record) -> NDArray[np.float64]:
    """Returns the stored predictions of a cell."""
    key = next(stage.key for stage in record.stages if stage.stage == "evaluate")
    path = root / "evaluate" / key / "predictions.npy"
    if not path.is_file():
        raise Missing(
            f"the predictions of record {record.key} are not in {path.parent}; run its cell again, or "
            "set paths.cache=DIR"
        )
    return np.load(path)
