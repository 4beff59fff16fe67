"""What a record must be before it may stand among the results, and how others' records get there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from shortlist.core import Record, unpack_item_scores
from shortlist.errors import InvalidInput
from shortlist.store.keys import key as make_key
from shortlist.store.records import read_record, record_path, write_record

CELL = 2  # version of a cell's key
HOMES = ("/home/", "/root/", "/tmp/", "/Users/")


def check(results: Path) -> list[Record]:
    """Returns every record under `results/records` after holding each against all rules.

    Raises:
        InvalidInput: one is broken; the first is named with its path and the reason.
    """
    paths = sorted(results.glob("records/*/*/*.json"))
    return [_checked(read_record(results, path), path) for path in paths]


def _checked(record: Record, path: Path) -> Record:
    for problem in problems(record):
        raise InvalidInput(f"{path}: {problem}")
    if record.to_json() != path.read_text(encoding="utf-8"):
        raise InvalidInput(
            f"{path}: not as the program writes it (sorted, indented by 2); submit the run again"
        )
    return record


def problems(record: Record) -> Iterator[str]:
    """Yields what is wrong with a record that could be read: each in a sentence."""
    if (expected := make_key("cell", CELL, record.config, record.reads)) != record.key:
        yield (
            f"its key is {record.key}, but its configuration and inputs give {expected}; "
            "a record is never edited: run its cell"
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
    if record.status != "done":
        if not record.reason:
            yield f"it is {record.status} without a reason"
        return
    primary = [metric.name for metric in record.metrics if metric.primary]
    if record.until == "evaluate" and len(primary) != 1:
        yield f"expected one primary metric, found {len(primary)}"
    places = [(metric.name, metric.split) for metric in record.metrics]
    for name, split in sorted({place for place in places if places.count(place) > 1}):
        yield f"metric {name} stands there twice for the {split} split"
    for metric in record.metrics:
        if not metric.n > 0:
            yield f"metric {metric.name} was measured on {metric.n} items"
        if not metric.protocol:
            yield f"metric {metric.name} does not say how it was measured: no protocol"
        if metric.stderr is not None and not (0 <= metric.stderr < math.inf):
            yield f"metric {metric.name} has the standard error {metric.stderr}"
        if metric.name in record.item_scores:
            yield from _item_scores(record, metric.name, metric.value, metric.n)
    for stage in record.stages:
        if not (0 <= stage.seconds < math.inf and 0 <= stage.peak_mib < math.inf):
            yield f"stage {stage.stage} took {stage.seconds} seconds and {stage.peak_mib} MiB"
    domains = record.selection.get("domains", {})
    size = record.selection.get("size")
    if sum(domains.values()) != size:
        yield f"the domains hold {sum(domains.values())} documents, the selection {size}"
    if axes.budget_unit == "documents" and size not in (axes.budget, 0):  # 0: `vanilla` reads none
        yield f"{size} documents were selected, the budget is {axes.budget}"
    for home in HOMES:
        if home in record.to_json():
            yield f"it tells where on its machine it was made: `{home}...` occurs in it"


def _item_scores(record: Record, name: str, value: float, n: int) -> Iterator[str]:
    """Yields what is wrong with the item scores of a metric."""
    try:
        found = unpack_item_scores(record.item_scores[name])
    except InvalidInput as error:
        yield f"metric {name}: {error}"
        return
    if len(found) != n:
        yield f"metric {name} has {len(found)} item scores of {n} items"
    elif not math.isclose(found.mean(), value, rel_tol=1e-3, abs_tol=1e-3):
        yield f"metric {name} is {value:.6g}, the mean of its item scores {found.mean():.6g}"


def submit(results: Path, runs: Sequence[Path]) -> list[Path]:
    """Returns the paths of the records of runs or sweeps, after copying them among the results.

    All are held against the rules before the first is written. A record that is there already
    stays as it is.

    Raises:
        InvalidInput: there is no record, one is broken, or one has other numbers than the record of
            the same cell among the results.
    """
    found = list[Record]()
    for run in runs:
        paths = sorted(run.glob("**/record.json")) if run.is_dir() else [run]
        if not paths:
            raise InvalidInput(f"{run} holds no record.json; name the directory of a run or sweep")
        for path in paths:
            try:
                record = Record.from_json(path.read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError, InvalidInput) as error:
                raise InvalidInput(f"{path}: {error}") from error
            for problem in problems(record):
                raise InvalidInput(f"{path}: {problem}")
            place = record_path(results, record)
            if place.exists():
                earlier = read_record(results, place)
                if (earlier.status, earlier.metrics) != (record.status, record.metrics):
                    raise InvalidInput(
                        f"{path}: {place} holds other numbers of the same cell; results are not "
                        "replaced: find out which setting or library is not in its key"
                    )
            found.append(record)
    return [
        path if (path := record_path(results, record)).exists() else write_record(results, record)
        for record in found
    ]
