"""What a record's overrides and inputs determine: its configuration, its axes, and keys of stages.

A forger who makes the key and the digest of a record again is found where one of these disagrees.
What nothing determines is listed in `SECURITY.md`.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from shortlist.config import folder
from shortlist.core import READS, Record, unpack_item_scores
from shortlist.data.splits import PROTECTED
from shortlist.errors import ShortlistError
from shortlist.overrides import composed
from shortlist.pipeline.compose import APART, Components, build_components
from shortlist.pipeline.evaluation import HELD_OUT_DOCUMENTS
from shortlist.pipeline.identity import hashed_settings
from shortlist.pipeline.preparation import with_preparation
from shortlist.pipeline.targets import with_targets
from shortlist.store.keys import key as make_key
from shortlist.tasks.metrics import bootstrap_rows

AXES = ("task", "pool", "selector", "featurizer", "model")
_CHOSEN_FROM = ("pool_fingerprint", "whole_pool_fingerprint", "task_target")
_BASES = ("pretrained", "intermediate", "head", "converted")
PRECISIONS = ("32", "bf16", "16")  # of a training; the machine decides where it is `auto`
# Commits whose records `results/migrate.py` has given the present names of settings: keys of stages
# that hash settings are those of the earlier names.
RENAMED = ("3fc154afe4a490a8e17d8d29c52e83fb81a8f428", "a7fd84125a328650bce12be0957e59915cabf1b8")
_HASHING_NAMES = ("pool", "fit", "selection", "warmup")
_FINGERPRINT = re.compile(r"[0-9a-f]+")
MOST_RESAMPLED = 50_000  # items, whose resamples take 400 MB and a quarter of a second
_SEED = 1_000_003  # stands for any seed, so that the cells of several seeds are composed once


@dataclass(frozen=True)
class _Derived:
    """What overrides compose to, under the seed `_SEED`.

    Attributes:
        config: the hashed settings.
        axes: the option of each axis.
        parts: the components.
    """

    config: Mapping[str, Any]
    axes: Mapping[str, str]
    parts: Components


def composes(conf: Path) -> bool:
    """Returns whether overrides compose by the files of this directory."""
    return conf.resolve() == folder().resolve()


def derivation_problems(record: Record) -> Iterator[str]:
    """Yields what contradicts a record's overrides and inputs: settings, axes, keys of stages."""
    seeds = [text for text in record.overrides if text.lstrip("+").startswith("seed=")]
    if seeds and seeds[-1].partition("=")[2].strip("'\"") != str(record.axes.seed):
        yield f"seed is {record.axes.seed}, but its overrides set {seeds[-1]}"
    typed = [text for text in record.overrides if text not in seeds]
    try:
        derived = _derived((*typed, f"seed={_SEED}") if seeds else tuple(typed))
    except ShortlistError as error:
        yield f"its overrides compose to no configuration: {str(error)[:300]}"
        return
    expected = _seeded(derived.config, record.axes.seed)
    given: Mapping[str, Any] = record.config
    if expected.get("source") == "local":  # what a hub holds has no effect then
        expected, given = _without_hub(expected), _without_hub(given)
    same = True
    for name in sorted({*expected, *given}):
        first, second = expected.get(name), given.get(name)
        if first != second:
            same = False
            place, by_overrides, found = next(_differences(first, second, name))
            yield (
                f"{place} is {found:.80}, but its overrides and conf/ give {by_overrides:.80}; records "
                "are never edited: run the cell"
            )
    for group, name in derived.axes.items():
        if getattr(record.axes, group) != name:
            yield f"{group} is {getattr(record.axes, group)}, but its overrides choose {name}"
    # What follows reads the settings by the names and types that they are composed with.
    if record.status != "done" or not same:
        return
    if absent := list(_absent(record, derived.parts)):
        yield f"it lacks {', '.join(absent)}, from which other parts of it follow"
        return
    yield from _stage_problems(record, derived.parts)
    yield from _error_problems(record)
    yield from _count_problems(record, derived.parts)


@cache
def _derived(overrides: tuple[str, ...]) -> _Derived:
    with composed(overrides) as config:
        choices = config.hydra.runtime.choices
        axes = {group: str(choices[group]) for group in AXES}
        config = with_preparation(with_targets(config))
        return _Derived(hashed_settings(config), axes, build_components(config))


def _seeded(node: Any, seed: int) -> Any:
    """Returns settings with the seed in the place of `_SEED`."""
    if isinstance(node, dict):
        return {name: _seeded(value, seed) for name, value in node.items()}
    if isinstance(node, list):
        return [_seeded(value, seed) for value in node]
    return seed if type(node) is int and node == _SEED else node


def _without_hub(config: Mapping[str, Any]) -> dict[str, Any]:
    task = config.get("task")
    if not isinstance(task, dict):
        return dict(config)
    return {**config, "task": {name: value for name, value in task.items() if name != "hub"}}


def _differences(first: Any, second: Any, place: str) -> Iterator[tuple[str, str, str]]:
    """Yields the place and both values, as JSON, of each setting that differs."""
    if isinstance(first, dict) and isinstance(second, dict):
        for name in sorted({*first, *second}):
            if first.get(name) != second.get(name) or (name in first) != (name in second):
                yield from _differences(first.get(name), second.get(name), f"{place}.{name}")
        return
    yield place, json.dumps(first), json.dumps(second)


def _absent(record: Record, parts: Components) -> Iterator[str]:
    """Yields the facts that every finished cell of these settings has and this record has not."""
    trained = record.until != "select"
    splits = {parts.task.held_out} if trained else set[str]()
    if _of_task_alone(record, parts):
        splits.update(PROTECTED)
    given = {
        name for name in record.inputs if name in ("task_train", "task_validation", "task_test")
    }
    for name in sorted({*given, *(f"task_{split}" for split in splits)}):
        if not _FINGERPRINT.fullmatch(record.inputs.get(name, "")):
            yield f"the fingerprint inputs.{name}"
    if trained and not isinstance(record.selection.get("sha256"), str):
        yield "selection.sha256"
    stepped = parts.warmup.objective == "mlm" and "warmup_steps" in record.counts
    if stepped and "warmup_documents" not in record.counts:
        yield "counts.warmup_documents"


def _of_task_alone(record: Record, parts: Components) -> bool:
    """Returns whether leaks are documents that share words with the texts of the task's evaluation
    splits, and no others.
    """
    plain = parts.leaks.semantic is None and not parts.leaks.targets
    return plain and _one_target(record) and not parts.task.evaluators


def _one_target(record: Record) -> bool:
    """Returns whether the task's own target is the only one."""
    return record.config.get("targets") is None and record.config.get("negative_target") is None


def _error_problems(record: Record) -> Iterator[str]:
    """Yields the standard errors of accuracies that are not those of the bootstrap over the items,
    whose resamples follow from the test split.
    """
    if "finetune_truncated" not in record.counts or "task_test" not in record.inputs:
        return
    for metric in record.metrics:
        packed = record.item_scores.get(metric.name)
        if metric.name != "accuracy" or packed is None or metric.stderr is None:
            continue
        if metric.n > MOST_RESAMPLED:
            continue
        scores = unpack_item_scores(packed, metric.n)
        if not np.isin(scores, (0.0, 1.0)).all():  # of tokens: a ratio of sums
            continue
        rows = bootstrap_rows(metric.n, record.inputs["task_test"])
        expected = float(scores[rows].mean(axis=1)[1:].std(ddof=1))
        if not math.isclose(metric.stderr, expected, rel_tol=1e-6, abs_tol=1e-12):
            yield (
                f"metric accuracy has the standard error {metric.stderr:.6g}, its item scores give "
                f"{expected:.6g}"
            )


def _count_problems(record: Record, parts: Components) -> Iterator[str]:
    """Yields the sizes that do not add up to the split that losses are measured on, and a number of
    warm-up steps that the settings do not give.
    """
    counts, split = record.counts, parts.task.held_out
    held_out, left = counts.get(f"task_{split}"), counts.get("held_out_not_measured")
    cut_anew = parts.cut is not None  # then the counts of the fold hold
    if not cut_anew and held_out is not None and left is not None:
        name, measured = f"{parts.warmup.objective}_loss_before", held_out - left
        for metric in record.metrics:
            if metric.name == name and metric.n != measured:
                yield f"{metric.n} texts were measured and {left} not, the {split} split has {held_out}"
    settings, steps = record.config.get("warmup", {}), counts.get("warmup_steps")
    if parts.warmup.objective == "mlm" and steps is not None:
        batches = -(-counts["warmup_documents"] // settings["batch_size"])
        if steps != settings["epochs"] * batches:
            yield f"the warm-up took {steps} steps, its settings give {settings['epochs'] * batches}"


def _stage_problems(record: Record, parts: Components) -> Iterator[str]:
    """Yields the stages whose keys are not those of their settings and inputs."""
    keys: dict[str, list[str]] = defaultdict(list)
    for stage in record.stages:
        keys[stage.stage].append(stage.key)
    compared = {(one.stage, one.key) for one in record.stages if one.role != "diagnostics"}
    renamed = record.code.get("commit") in RENAMED
    for name, possible in _possible_keys(record, parts, keys):
        if renamed and name in _HASHING_NAMES:
            continue
        wrong = [key for key in keys[name] if (name, key) in compared and key not in possible]
        if wrong:
            yield (
                f"stage {name} has the key {wrong[0]}, which its settings and the stages before it do not "
                "give; records are never edited: run the cell"
            )


def _possible_keys(
    record: Record, parts: Components, keys: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, set[str]]]:
    """Yields each kind of stage that the record determines, with the keys that its stages may have.

    Versions of a stage are not in a record: any up to the present one is possible.
    """
    config, inputs = record.config, record.inputs
    alone = _one_target(record)
    source = {"source": config["source"]}

    def read(part: str) -> dict[str, str]:
        start = f"{READS}{part}."
        return {name.removeprefix(start): v for name, v in inputs.items() if name.startswith(start)}

    pool = {k: v for k, v in config["pool"].items() if k not in APART["pool"]}
    yield "pool", _keys("pool", parts.pool.version, {**pool, **source}, [read("pool")])
    if alone and parts.model.intermediate_task is None:
        apart = ("evaluators", *APART["task"])
        task = {k: v for k, v in config["task"].items() if k not in apart}
        yield "task", _keys("task", parts.task.version, {**task, **source}, [read("task")])
    if _of_task_alone(record, parts):
        texts = {split: inputs[f"task_{split}"] for split in PROTECTED}
        pools = {inputs[name] for name in _CHOSEN_FROM if name in inputs}
        keep = {"keep": parts.leaks.action == "report"}
        yield "leaks", _keys("leaks", 3, keep, [{"pool": one, **texts} for one in pools])
    features, scores = keys.get("features", ()), keys.get("scores", ())
    pairs = [{"fit": fit, "pool": one} for fit in keys.get("fit", ()) for one in features]
    yield "scores", _keys("scores", 1, {}, pairs)
    selector = parts.selector
    if alone and not selector.members:
        between = itertools.product(features, features)
        vectors = [{"target": t, "pool": p, **read("selector")} for t, p in between]
        yield "fit", _keys("fit", selector.version, config["selector"], vectors)
        ranked = itertools.product(scores, keys.get("leaks", ()))
        inputs_of = [{"scores": score, "leaks": leak} for score, leak in ranked]
        chosen = {"selector": config["selector"]}
        chosen |= {"budget": config["budget"], "unit": config["budget_unit"]}
        chosen |= {"seed": config["seed"]} if selector.traits.stochastic else {}
        versions = range(1, selector.version + 1)
        either = (_keys("selection", 4, {**chosen, "version": n}, inputs_of) for n in versions)
        yield "selection", set().union(*either)
    if record.until == "select":
        return
    made = set(itertools.chain(*(keys.get(name, ()) for name in _BASES)))
    plain = [read("model"), *({"model": one} for one in made)]
    bases = made | _keys("model", parts.model.version, {}, plain)
    trained = [
        {"model": base, "selection": record.selection["sha256"], "precision": precision}
        for base in bases
        for precision in PRECISIONS
    ]
    warmup = {**config["warmup"], "seed": config["seed"]}
    yield "warmup", _keys("warmup", parts.warmup.version, warmup, trained)
    measured = {
        "objective": parts.warmup.objective,
        "max_length": parts.warmup.max_length,
        "documents": HELD_OUT_DOCUMENTS,
    }
    models = {*bases, *keys.get("warmup", ())}
    split = parts.task.held_out
    read_by = [{"model": one, split: inputs[f"task_{split}"]} for one in models]
    yield "held_out", _keys("held_out", 3, measured, read_by)


def _keys(
    stage: str, version: int, settings: Mapping[str, Any], inputs: Iterable[Mapping[str, str]]
) -> set[str]:
    """Returns the keys under any version up to `version` and any of the inputs."""
    versions = range(1, version + 1)
    return {
        make_key(stage, number, settings, read)
        for number, read in itertools.product(versions, inputs)
    }
