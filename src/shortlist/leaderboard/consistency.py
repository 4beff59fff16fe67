"""What a metric's name, other counts and the configuration say about a field of a record."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from shortlist.core import Metric, Record
from shortlist.leaderboard.columns import PREDICTED
from shortlist.leaderboard.options import typed_values

# Unit and direction by name, the first that matches; evaluators of a user's own have other names.
_KINDS = tuple(
    (re.compile(name), unit, higher_is_better)
    for name, unit, higher_is_better in (
        (r"(mlm|clm)_loss_(before|after)|general_(mlm|clm)_loss_base", "nats", False),
        (r"(mlm|clm)_loss_drop|general_(mlm|clm)_loss_gain_\w+", "nats_gained", True),
        (r"probe_\w+_gain_\w+", "fraction_gained", True),
        (r"matthews|pearson|spearman", "correlation", True),
        (r"perplexity", "perplexity", False),
        (r"generated_tokens", "count", True),
        (r"(emt|tp)_(toxic|nontoxic)(_\w+)?", "fraction", False),
        (r"repetition|empty_continuations|utility_forgotten", "fraction", False),
        (r"accuracy|(micro|macro)_f1|distinct_\d|utility(_\w+)?|probe_\w+_base", "fraction", True),
    )
)
# Metrics on the reference of `check.forgetting`.
_GENERAL = re.compile(r"general_\w+|probe_\w+_(base|gain_\w+)")

# The counts that the rows read are the sum of, and those that are no part of it (`OTHERS`). Counts
# of a record with further names are not added up: rows may have left in another way.
_POOL = ("kept", "exact_copies", "not_sampled", "quarantined", "filtered")
_POOL_OTHERS = ("rows_read", "truncated", "cut")
_SPLITS = ("train", "validation", "test")
_TASK_OTHERS = ("rows_read_", "unknown_labels_", "prompts_")


def metric_problems(metric: Metric) -> Iterator[str]:
    """Yields what the name of a metric contradicts: its unit, direction or split."""
    kinds = ((unit, higher) for name, unit, higher in _KINDS if name.fullmatch(metric.name))
    unit, higher_is_better = next(kinds, (metric.unit, metric.higher_is_better))
    if metric.unit != unit:
        yield f"metric {metric.name} is a {metric.unit}, by its name it is a {unit}"
    if metric.higher_is_better != higher_is_better:
        better = "higher" if higher_is_better else "lower"
        yield f"metric {metric.name} has the wrong direction: {better} is better"
    split = "general" if _GENERAL.fullmatch(metric.name) else "test"
    if metric.split != split:
        yield f"metric {metric.name} is of the {metric.split} split, expected {split}"


def count_problems(record: Record) -> Iterator[str]:
    """Yields the counts that contradict each other, the selection or the metrics."""
    counts = record.counts
    for name, count in counts.items():
        if count < 0:
            yield f"count {name} is {count}"
    pool = {name[5:]: count for name, count in counts.items() if name.startswith("pool_")}
    if "rows_read" in pool and pool.keys() <= {*_POOL, *_POOL_OTHERS}:
        kept = sum(pool.get(name, 0) for name in _POOL)
        if kept != pool["rows_read"]:
            yield f"{pool['rows_read']} rows of the pool were read, its counts add up to {kept}"
    yield from _split_problems(counts)
    size = record.selection.get("size")
    for name, bound in (
        ("evaluate_truncated", counts.get("task_test")),
        ("warmup_truncated", size),
        ("pool_truncated", counts.get("pool_kept")),
        ("prefilter_left_out", counts.get("pool_kept")),
    ):
        if bound is not None and counts.get(name, 0) > bound:
            yield f"count {name} is {counts[name]}, of {bound} at most"
    yield from _sum_problems(record)
    if counts.get("warmup_documents", size) != size:
        yield f"the warm-up read {counts['warmup_documents']} documents, the selection holds {size}"
    if "finetune_truncated" in counts and "task_test" in counts:
        for metric in record.metrics:
            if metric.name in PREDICTED and metric.n != counts["task_test"]:
                yield (
                    f"metric {metric.name} was measured on {metric.n} items, the test split has "
                    f"{counts['task_test']}"
                )


def _sum_problems(record: Record) -> Iterator[str]:
    """Yields the sums that their parts contradict: leaks by kind, rows of a preparation by fate."""
    counts = record.counts
    for prefix in ("", "target_"):
        kinds = record.selection.get(f"{prefix}leaks")
        if isinstance(kinds, Mapping) and f"{prefix}leaked" in counts:
            added = sum(n for kind, n in kinds.items() if kind != "action")
            if added != counts[f"{prefix}leaked"]:
                yield f"{counts[f'{prefix}leaked']} documents leaked, by kind they are {added}"
    for place, before in (("pool_prepare", "pool_kept"), ("task_prepare_train", "task_train")):
        read, kept, dropped = (counts.get(f"{place}_{x}") for x in ("rows_read", "kept", "dropped"))
        if read is None or kept is None or dropped is None:
            continue
        cut = any(name.startswith(("task_fold", "task_split", "task_feedback")) for name in counts)
        whole = read if cut else counts.get(before, read)  # a fold is prepared after it is cut
        rules = sum(n for name, n in counts.items() if name.startswith(f"{place}_dropped."))
        if kept + dropped != read or rules != dropped or read != whole:
            yield (
                f"{place}: {read} rows were read, {kept} kept and {dropped} dropped ({rules} by operation), "
                f"of {whole} rows"
            )
    limit = record.config.get("task", {}).get("max_train")
    train, left = counts.get("task_train"), counts.get("task_train_not_sampled")
    published = "read.task.test" in record.inputs and "read.task.validation" in record.inputs
    short = published and left and limit is not None and train is not None and train < limit
    if limit is not None and train is not None and (train > limit or short):
        yield f"{train} training rows and {left} not sampled, where {limit} are taken at most"


def _split_problems(counts: Mapping[str, int]) -> Iterator[str]:
    """Yields the splits of a task whose rows do not add up to those that were read."""
    task = {name[5:]: count for name, count in counts.items() if name.startswith("task_")}
    parts = {
        split: (split, f"{split}_not_sampled", f"{split}_out_of_range", f"quarantined_{split}")
        for split in _SPLITS
    }
    known = {name for names in parts.values() for name in names}
    if any(name not in known and not name.startswith(_TASK_OTHERS) for name in task):
        return
    read = {split: task[f"rows_read_{split}"] for split in _SPLITS if f"rows_read_{split}" in task}
    added = sum(task.get(name, 0) for names in parts.values() for name in names)
    if read and added != sum(read.values()):
        yield f"{sum(read.values())} rows of the task were read, its counts add up to {added}"
    elif len(read) == len(_SPLITS):
        for split, rows in read.items():
            if task.get(f"unknown_labels_{split}", 0) > task.get(split, 0):
                yield f"more unknown labels than rows in the {split} split, which has {rows} rows"


def protocol_problems(records: Mapping[str, Record]) -> Iterator[tuple[str, str]]:
    """Yields the name of each record of which a metric has another protocol than most records of
    the same task, items, model and settings of the measurement, and a sentence.

    Args:
        records: records by their names (paths).
    """
    held: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, record in records.items():
        config = record.config
        measured = [
            config.get("task"),
            config.get("model"),
            config.get("warmup", {}).get("max_length"),
        ]
        items = [record.inputs.get(f"task_{split}") for split in _SPLITS[1:]]
        for metric in record.metrics:
            alike = [metric.split, metric.n, items, measured, record.reads]
            group = json.dumps(alike, sort_keys=True, default=str)
            held[metric.name, group][metric.protocol].append(name)
    for (metric, _), protocols in held.items():
        usual = max(protocols, key=lambda one: len(protocols[one]))
        for other, names in protocols.items():
            if other != usual:
                problem = (
                    f"metric {metric} has the protocol {other}, {len(protocols[usual])} records of "
                    f"the same task, items and model have {usual}"
                )
                yield from ((name, problem) for name in names)


def override_problems(record: Record) -> Iterator[str]:
    """Yields the overrides that set a number or a switch to something else than the configuration
    has.
    """
    for name, text in typed_values(record).items():
        node: Any = record.config
        for step in name.split("."):
            node = node.get(step) if isinstance(node, Mapping) else None
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            continue
        if isinstance(value, str):  # YAML 1.1 reads 1e-3 as a text
            try:
                value = float(value)
            except ValueError:
                continue
        if isinstance(node, bool | int | float) and isinstance(value, bool | int | float):
            same = isinstance(node, bool) == isinstance(value, bool) and math.isclose(node, value)
            if not same:
                yield f"{name} is {text} in its overrides, but {node} in its configuration"
