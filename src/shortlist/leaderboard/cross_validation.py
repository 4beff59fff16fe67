"""Records of the folds of one cross-validation, joined to one record before tables are made.

A fold is a part of the test items and no repetition: the metric of a cross-validation is the mean
over the folds, weighted by their items, and its item scores are those of all folds. So the seeds
stay the only repetitions, and the sampling of test items counts each item once.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from shortlist.core import Metric, Record, pack_item_scores, unpack_item_scores

FOLD = "fold"


def join_folds(records: Iterable[Record]) -> list[Record]:
    """Returns the records, those of the folds of one cross-validation as one.

    A cross-validation of which a fold is missing or failed is one failed record that names it.
    Repeats (`task.cross_validation.repeats`), and folds that test the task's own test split, are
    averaged: their items are the same, so that they have no item scores of their own, and the
    standard error over items is that of one of them.
    """
    alone: list[Record] = []
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if FOLD in record.config:
            groups[_identity(record)].append(record)
        else:
            alone.append(record)
    return [*alone, *(_joined(sorted(group, key=_fold)) for group in groups.values())]


def _fold(record: Record) -> int:
    return int(record.config[FOLD])


def _identity(record: Record) -> str:
    config = {name: value for name, value in record.config.items() if name != FOLD}
    return json.dumps(
        [asdict(record.axes), record.until, config, record.reads], sort_keys=True, default=str
    )


def _joined(folds: Sequence[Record]) -> Record:
    """Returns the record of a cross-validation; its key is that of its first fold."""
    first = folds[0]
    task: Any = first.config.get("task") or {}
    parts = int(task.get("folds") or 0)
    dealt: Any = task.get("cross_validation") or {}
    repeats = int(dealt.get("repeats") or 1)
    config = {name: value for name, value in first.config.items() if name != FOLD}
    done = {_fold(record) for record in folds if record.status == "done"}
    missing = sorted(set(range(parts * repeats)) - done)
    joined = replace(
        first, config=config, warnings=tuple(dict.fromkeys(w for f in folds for w in f.warnings))
    )
    if first.until != "evaluate":
        return joined
    if missing:
        reasons = [record.reason for record in folds if record.status != "done" and record.reason]
        said = f"fold {', '.join(map(str, missing))} of {parts * repeats} is missing"
        status = "skipped" if all(record.status == "skipped" for record in folds) else "failed"
        reason = reasons[0] if status == "skipped" else "; ".join([said, *reasons[:1]])
        return replace(joined, status=status, reason=reason, metrics=(), item_scores={})
    if dealt.get("test") == "own":  # all folds test the same items
        repeats *= parts
    names = [metric.name for metric in first.metrics if all(f.metric(metric.name) for f in folds)]
    metrics = tuple(_metric(name, folds, repeats) for name in names)
    scores: dict[str, str] = {}
    for name in names if repeats == 1 else ():
        packed = [record.item_scores.get(name) for record in folds]
        if all(packed):
            scores[name] = pack_item_scores(
                np.concatenate(
                    [
                        unpack_item_scores(part or "", metric_of(record, name).n)
                        for part, record in zip(packed, folds, strict=True)
                    ]
                )
            )
    stages = tuple(stage for record in folds for stage in record.stages)
    return replace(
        joined, status="done", reason="", metrics=metrics, item_scores=scores, stages=stages
    )


def metric_of(record: Record, name: str) -> Metric:
    """Returns the metric called `name`, which the record has."""
    found = record.metric(name)
    assert found is not None
    return found


def _metric(name: str, folds: Sequence[Record], repeats: int) -> Metric:
    """Returns a metric over all folds: the mean weighted by items."""
    parts = [metric_of(record, name) for record in folds]
    total = sum(part.n for part in parts)
    value = math.fsum(part.value * part.n for part in parts) / total
    errors = [part.stderr for part in parts]
    stderr = None
    if all(error is not None for error in errors):
        squares = math.fsum((part.n * (part.stderr or 0.0)) ** 2 for part in parts)
        stderr = math.sqrt(squares / repeats) / (total / repeats)
    protocol = hashlib.sha256("|".join(part.protocol for part in parts).encode()).hexdigest()[:24]
    return replace(parts[0], value=value, n=total // repeats, stderr=stderr, protocol=protocol)
