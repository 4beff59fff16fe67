"""Rules that a record must keep among the results, and the submission of records made elsewhere."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from shortlist.core import MANTISSA_BITS, Metric, Record, unpack_item_scores
from shortlist.errors import InvalidInput
from shortlist.leaderboard.consistency import (
    count_problems,
    metric_problems,
    override_problems,
    protocol_problems,
)
from shortlist.leaderboard.options import naming_problems
from shortlist.leaderboard.publish import build_all, render
from shortlist.store.atomic import write_together
from shortlist.store.keys import key as make_key
from shortlist.store.records import read_file, read_record, record_files, record_path

CELL_VERSION = 2  # version of the key of a cell
LOCAL_PATHS = ("/home/", "/root/", "/tmp/", "/Users/")
# Metrics that no item scores are kept of: means over other metrics and properties of generated
# text.
WITHOUT_ITEM_SCORES = (
    "utility", "distinct_1", "distinct_2", "distinct_3", "repetition", "empty_continuations",
    "generated_tokens",
)  # fmt: skip
ENDS = {"_from": -1, "_low": -1, "_to": 1, "_high": 1}  # suffixes of the ends of an interval
ROUNDING = 2.0**-MANTISSA_BITS  # largest relative rounding error of a packed item score
STDERR_RATIO = 3.0  # a bootstrap's standard error of few items differs from the linearised one
# Means over items, whose error is that of their scores but for the scores' rounding; functions of
# the confusion matrix, whose scores are linearised.
STDERR_RATIOS = (
    (
        re.compile(r"(mlm|clm)_loss_(before|after|drop)|perplexity|(emt|tp)_(non)?toxic(_\w+)?"),
        1.001,
    ),
    (re.compile(r"macro_f1|micro_f1|matthews|accuracy"), 1.5),
)


# What a record's overrides determine (`shortlist.derivation`): yields one sentence for each rule
# that it breaks.
Derive = Callable[[Record], Iterator[str]]


class Checked(NamedTuple):
    """The records under a directory of results, and one sentence for each that breaks a rule."""

    records: list[Record]
    problems: list[str]


def check(results: Path, conf: Path | None = None, derive: Derive | None = None) -> Checked:
    """Returns the records under `results/records` after checking each against all rules.

    Args:
        results: the directory that contains records/.
        conf: the directory of the configuration (`naming_problems`).
        derive: what the overrides determine; None: only what stands in the record is compared.
    """
    records, broken = list[Record](), list[str]()
    sound: dict[str, Record] = {}
    paths = record_files(results)
    others = {path for path in (results / "records").rglob("*") if not path.is_dir()} - {*paths}
    broken += [f"{path}: it is in the place of no record" for path in sorted(others)]
    for path in paths:
        try:
            record = read_record(results, path)
        except InvalidInput as error:
            broken.append(str(error))
            continue
        records.append(record)
        problem = next(problems(record, conf, derive), "")
        if not problem and record.to_json().encode() != path.read_bytes():
            problem = (
                "expected the JSON that the program writes (sorted, indented by 2); submit the run "
                "again"
            )
        if problem:
            broken.append(f"{path}: {problem}")
        else:
            sound[str(path)] = record
    broken += [f"{name}: {problem}" for name, problem in protocol_problems(sound)]
    return Checked(records, broken)


def problems(
    record: Record, conf: Path | None = None, derive: Derive | None = None
) -> Iterator[str]:
    """Yields one sentence for each rule that a record breaks.

    Args:
        record: the record.
        conf: the directory of the configuration (`naming_problems`).
        derive: what the overrides determine; None: only what stands in the record is compared.
    """
    try:
        record_path(Path(), record)
    except InvalidInput as error:
        yield str(error)
    if not record.digest:
        yield (
            "it has no digest of its contents; run the cell, or python results/migrate.py where "
            "git knows the record"
        )
    elif record.sealed().digest != record.digest:
        yield "its contents are not those of its digest; records are never edited: run the cell"
    if (expected := make_key("cell", CELL_VERSION, record.config, record.reads)) != record.key:
        yield (
            f"its key is {record.key}, but its configuration and inputs give {expected}; "
            "records are never edited: run the cell"
        )
    axes, config = record.axes, record.config
    for name, value in (
        ("budget", axes.budget),
        ("budget_unit", axes.budget_unit),
        ("seed", axes.seed),
        ("until", record.until),
    ):
        if config.get(name) != value:
            yield f"{name} is {value!r}, but {config.get(name)!r} in its configuration"
    yield from naming_problems(record, conf)
    yield from override_problems(record)
    if not record.code.get("shortlist"):
        yield "the version of the code is not in it"
    text = record.to_json()
    for path in LOCAL_PATHS:
        if path in text:
            yield f"it contains a path of the machine it was made on: `{path}...`"
    if record.status != "done":
        if not record.reason:
            yield f"it is {record.status} without a reason"
        if record.metrics or record.item_scores:
            yield f"it is {record.status}, but has metrics"
        if derive is not None:
            yield from derive(record)
        return
    yield from _metric_problems(record)
    yield from count_problems(record)
    if derive is not None:
        yield from derive(record)
    for stage in record.stages:
        if not (0 <= stage.seconds < math.inf and 0 <= stage.peak_mib < math.inf):
            yield f"stage {stage.stage} took {stage.seconds} seconds and {stage.peak_mib} MiB"
    domains, size = record.selection.get("domains", {}), record.selection.get("size")
    if sum(domains.values()) != size:
        yield f"the domains hold {sum(domains.values())} documents, the selection {size}"
    if axes.budget_unit == "documents" and size not in (axes.budget, 0):  # 0: `vanilla`
        yield f"{size} documents were selected, the budget is {axes.budget}"


def _metric_problems(record: Record) -> Iterator[str]:
    """Yields what is wrong with metrics, one by one and compared with each other."""
    primary = [metric.name for metric in record.metrics if metric.primary]
    if record.until == "evaluate" and len(primary) != 1:
        yield f"expected one primary metric, found {len(primary)}"
    places = [(metric.name, metric.split) for metric in record.metrics]
    for name, split in sorted({place for place in places if places.count(place) > 1}):
        yield f"metric {name} occurs twice for the {split} split"
    values = {metric.name: metric.value for metric in record.metrics}
    for name in sorted(record.item_scores.keys() - values.keys()):
        yield f"it has item scores of {name}, but no such metric"
    for metric in record.metrics:
        if not metric.n > 0:
            yield f"metric {metric.name} was measured on {metric.n} items"
        if not metric.protocol:
            yield f"metric {metric.name} has no protocol: how it was measured is unknown"
        yield from metric_problems(metric)
        if metric.stderr is not None and not (0 <= metric.stderr < math.inf):
            yield f"metric {metric.name} has the standard error {metric.stderr}"
        name, underscore, end = metric.name.rpartition("_")
        side = ENDS.get(underscore + end) if name in values else None
        if side is not None and side * (metric.value - values[name]) < 0:
            yield f"metric {metric.name} is {metric.value:.6g}, {name} {values[name]:.6g}"
        if side is None:
            yield from _item_score_problems(record, metric)
    for name, expected in _functions_of_others(values):
        if not math.isclose(values.get(name, expected), expected, rel_tol=1e-9, abs_tol=1e-9):
            yield f"metric {name} is {values[name]:.6g}, by the others it is {expected:.6g}"


def _functions_of_others(values: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    """Yields the metrics that other metrics of a record determine, with their value."""
    for objective in ("mlm", "clm"):
        before, after = (values.get(f"{objective}_loss_{end}") for end in ("before", "after"))
        if before is not None and after is not None:
            yield f"{objective}_loss_drop", before - after
    utility = [v for n, v in values.items() if n[:8] == "utility_" and n != "utility_forgotten"]
    if utility:
        yield "utility", statistics.fmean(utility)


def _item_score_problems(record: Record, metric: Metric) -> Iterator[str]:
    """Yields what is wrong with the item scores of a metric, or that they are missing."""
    packed = record.item_scores.get(metric.name)
    # A prompt that a scorer failed on has no score, so that prompts cannot be compared one by one.
    unscored = any(n for name, n in record.counts.items() if "unscored_prompts" in name)
    if packed is None:
        if metric.name not in WITHOUT_ITEM_SCORES and not unscored:
            yield f"metric {metric.name} has no item scores: its value cannot be checked"
        return
    try:
        scores = unpack_item_scores(packed, metric.n)
    except InvalidInput as error:
        yield f"metric {metric.name}: {error}"
        return
    mean, spread = float(scores.mean()), float(np.abs(scores).mean())
    if abs(mean - metric.value) > ROUNDING * spread + 1e-9:
        yield f"metric {metric.name} is {metric.value:.6g}, the mean of its item scores {mean:.6g}"
    if metric.stderr is None or len(scores) < 2:
        return
    stderr = float(scores.std(ddof=1)) / math.sqrt(len(scores))
    ratio = next(
        (most for name, most in STDERR_RATIOS if name.fullmatch(metric.name)), STDERR_RATIO
    )
    # Rounding moves each score by a share of its size, and their standard error with them.
    moved = ROUNDING * math.sqrt(float(np.mean(scores**2)) / len(scores))
    if metric.stderr * ratio + moved < stderr or 0 < stderr * ratio + moved < metric.stderr:
        yield (
            f"metric {metric.name} has the standard error {metric.stderr:.3g}, its item scores "
            f"{stderr:.3g}"
        )


def submit(
    results: Path, runs: Sequence[Path], conf: Path | None = None, derive: Derive | None = None
) -> list[Path]:
    """Returns the paths of the records of runs or sweeps, then those of the leaderboard, after
    writing those that are new and the leaderboard.

    Everything is checked and rendered before the first file is written. An existing record is not
    written again.

    Args:
        results: the directory that contains records/.
        runs: directories of runs or sweeps, or records.
        conf: the directory of the configuration (`naming_problems`).
        derive: what the overrides determine; None: only what stands in the record is compared.

    Raises:
        InvalidInput: there is no record; one of these, or of those in `results`, breaks a rule; one
            has other numbers than the existing record of the same cell; or the leaderboard cannot
            be rendered or written.
    """
    present, broken = check(results, conf, derive)
    if broken:
        raise InvalidInput(broken[0])
    records = {record_path(results, record): record for record in present}
    new: dict[Path, Record] = {}
    paths: list[Path] = []
    for path in (path for run in runs for path in _run_records(run)):
        record = read_file(path)
        for problem in problems(record, conf, derive):
            raise InvalidInput(f"{path}: {problem}")
        place = record_path(results, record)
        earlier = records.get(place)
        if earlier is None:
            records[place] = new[place] = record
        elif (earlier.status, earlier.metrics) != (record.status, record.metrics):
            raise InvalidInput(
                f"{path}: {place} holds other numbers of the same cell; results are not "
                "replaced: find the setting or library that is not in its key"
            )
        paths.append(place)
    for name, problem in protocol_problems({str(place): one for place, one in records.items()}):
        raise InvalidInput(f"{name}: {problem}")
    try:
        whole = [records[place] for place in sorted(records)]
        pages = render(results, whole, build_all(results, whole))
    except InvalidInput:
        raise
    except Exception as error:  # a rule that is not written yet must not leave half a submission
        raise InvalidInput(
            "nothing is submitted: the leaderboard of these records cannot be rendered "
            f"({type(error).__name__}: {error})"
        ) from error
    texts = {place: record.to_json() for place, record in new.items()}
    write_together(results, {**texts, **pages}, "--results")
    return [*paths, *pages]


def _run_records(run: Path) -> list[Path]:
    paths = sorted(run.glob("**/record.json")) if run.is_dir() else [run]
    if not paths:
        raise InvalidInput(f"{run} contains no record.json; give the directory of a run or sweep")
    return paths
