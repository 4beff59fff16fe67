"""Ensembles of stored cells: the mean of the predictions of cells that differ in the seed alone.

Folds test different items, so that an ensemble averages the seeds of one fold; a leaderboard then
joins the folds as those of any other row.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig

from shortlist.core import Metric, Record, pack_item_scores
from shortlist.errors import InvalidInput, Missing
from shortlist.pipeline.cell import open_cell
from shortlist.pipeline.data import load_task
from shortlist.store.keys import canonical
from shortlist.store.keys import key as make_key
from shortlist.store.provenance import code
from shortlist.store.records import read_records

ENSEMBLE = "ensemble"
GAIN = "gain_of_ensemble"

Compose: TypeAlias = Callable[[Sequence[str]], AbstractContextManager[DictConfig]]


def ensembles(results: Path, settings: Sequence[str], compose: Compose) -> list[Record]:
    """Returns a record for each two or more evaluated cells that differ in the seed alone.

    Its metrics are those of the mean of the cells' predictions (probabilities, or values of a
    regression) on the test split, and for each metric NAME, `NAME_gain_of_ensemble`: its item scores
    less the mean of the cells' item scores, hence paired by item. Its costs are those of all cells.

    Args:
        results: the directory that contains records/.
        settings: overrides of the machine, such as `paths.cache=DIR`.
        compose: makes a configuration of overrides.

    Raises:
        Missing: there are no such cells, or predictions are not in the store.
        InvalidInput: a record cannot be repeated from its overrides, or tests other items.
    """
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in read_records(results):
        single = ENSEMBLE not in record.config
        if record.status == "done" and single and any(s.stage == "evaluate" for s in record.stages):
            groups[_all_but_seed(record)].append(record)
    several = [group for _, group in sorted(groups.items()) if len(group) > 1]
    if not several:
        raise Missing(
            f"an ensemble needs evaluated cells that differ in the seed alone, found none under "
            f"{results}; run `python run.py -m seed=0,1,2 ...`"
        )
    return [
        _ensemble(sorted(group, key=lambda record: record.axes.seed), settings, compose)
        for group in several
    ]


def _all_but_seed(record: Record) -> str:
    config = {name: value for name, value in record.config.items() if name != "seed"}
    axes = {name: value for name, value in vars(record.axes).items() if name != "seed"}
    return canonical([axes, config, record.reads])


def _ensemble(members: Sequence[Record], settings: Sequence[str], compose: Compose) -> Record:
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
        error = float(gain.std(ddof=1)) / len(gain) ** 0.5 if len(gain) > 1 else None
        gains.append(
            replace(
                metric,
                name=name,
                unit="fraction_gained",
                value=float(gain.mean()),
                stderr=error,
                primary=False,
            )
        )
    seeds = [member.axes.seed for member in members]
    said = f"the mean of the predictions of seeds {seeds}; the selection is that of seed {seeds[0]}"
    settings_of = {**first.config, ENSEMBLE: {"seeds": seeds}}
    stages = {(stage.stage, stage.key): stage for member in members for stage in member.stages}
    return replace(
        first,
        key=make_key("cell", 2, settings_of, first.reads),
        config=settings_of,
        metrics=(*metrics, *gains),
        item_scores=scores,
        stages=tuple(stages.values()),
        selection={name: first.selection[name] for name in ("size", "domains")},
        inputs={**first.inputs, **{f"ensemble.{m.axes.seed}": m.key for m in members}},
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
