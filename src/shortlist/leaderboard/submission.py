"""Rules that a record must keep among the results, and the submission of records made elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from shortlist.core import Record, unpack_item_scores
from shortlist.errors import InvalidInput
from shortlist.store.keys import key as make_key
from shortlist.store.records import read_record, record_path, write_record

CELL_VERSION = 2  # version of the key of a cell
LOCAL_PATHS = ("/home/", "/root/", "/tmp/", "/Users/")


def check(results: Path) -> list[Record]:
    """Returns every record under `results/records` after checking each against all rules.

    Raises:
        InvalidInput: a record breaks a rule; the message names the first with its path and reason.
    """
    records: list[Record] = []
    for path in sorted(results.glob("records/*/*/*.json")):
        records.append(read_record(results, path))
        for problem in problems(records[-1]):
            raise InvalidInput(f"{path}: {problem}")
        if records[-1].to_json() != path.read_text(encoding="utf-8"):
            raise InvalidInput(
                f"{path}: expected the JSON that the program writes (sorted, indented by 2); "
                "submit the run again"
            )
    return records


def problems(record: Record) -> Iterator[str]:
    """Yields one sentence for each rule that a record breaks."""
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
    if record.status != "done":
        if not record.reason:
            yield f"it is {record.status} without a reason"
        return
    primary = [metric.name for metric in record.metrics if metric.primary]
    if record.until == "evaluate" and len(primary) != 1:
        yield f"expected one primary metric, found {len(primary)}"
    places = [(metric.name, metric.split) for metric in record.metrics]
    for name, split in sorted({place for place in places if places.count(place) > 1}):
        yield f"metric {name} occurs twice for the {split} split"
    for metric in record.metrics:
        if not metric.n > 0:
            yield f"metric {metric.name} was measured on {metric.n} items"
        if not metric.protocol:
            yield f"metric {metric.name} has no protocol: how it was measured is unknown"
        if metric.stderr is not None and not (0 <= metric.stderr < math.inf):
            yield f"metric {metric.name} has the standard error {metric.stderr}"
        if metric.name in record.item_scores:
            yield from _item_score_problems(record, metric.name, metric.value, metric.n)
    for stage in record.stages:
        if not (0 <= stage.seconds < math.inf and 0 <= stage.peak_mib < math.inf):
            yield f"stage {stage.stage} took {stage.seconds} seconds and {stage.peak_mib} MiB"
    domains = record.selection.get("domains", {})
    size = record.selection.get("size")
    if sum(domains.values()) != size:
        yield f"the domains hold {sum(domains.values())} documents, the selection {size}"
    if axes.budget_unit == "documents" and size not in (axes.budget, 0):  # 0: `vanilla`
        yield f"{size} documents were selected, the budget is {axes.budget}"
    for path in LOCAL_PATHS:
        if path in record.to_json():
            yield f"it contains a path of the machine it was made on: `{path}...`"


def _item_score_problems(record: Record, name: str, value: float, n: int) -> Iterator[str]:
    try:
        scores = unpack_item_scores(record.item_scores[name])
    except InvalidInput as error:
        yield f"metric {name}: {error}"
        return
    if len(scores) != n:
        yield f"metric {name} has {len(scores)} item scores of {n} items"
    elif not math.isclose(scores.mean(), value, rel_tol=1e-3, abs_tol=1e-3):
        yield f"metric {name} is {value:.6g}, the mean of its item scores {scores.mean():.6g}"


def submit(results: Path, runs: Sequence[Path]) -> list[Path]:
    """Returns the paths of the records of runs or sweeps after copying them to the results.

    All are checked before the first is written. An existing record is not written again.

    Raises:
        InvalidInput: there is no record, one breaks a rule, or one has other numbers than the
            existing record of the same cell.
    """
    records: list[Record] = []
    for run in runs:
        paths = sorted(run.glob("**/record.json")) if run.is_dir() else [run]
        if not paths:
            raise InvalidInput(
                f"{run} contains no record.json; give the directory of a run or sweep"
            )
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
                        "replaced: find the setting or library that is not in its key"
                    )
            records.append(record)
    return [
        path if (path := record_path(results, record)).exists() else write_record(results, record)
        for record in records
    ]
