"""What a record measured, and the columns that come of it: equal columns mean equal measurements."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, get_args

from shortlist.core import Metric, Record
from shortlist.leaderboard.table import Column, Kind

SELECTION_ENDS = "selection"  # every stage up to this one is what choosing the documents took
ENDS = ("_from", "_to")  # of a metric's interval
TRAINING = frozenset({"warmup", "finetune"})


class Measurement(NamedTuple):
    """What makes two numbers comparable; the fields of a column that records decide."""

    kind: Kind
    name: str
    unit: str
    higher_is_better: bool | None
    split: str
    protocol: str


SELECTION_SECONDS = Measurement("cost", "selection_seconds", "seconds", False, "", "")
TRAINING_SECONDS = Measurement("cost", "training_seconds", "seconds", False, "", "")
PEAK_MEMORY = Measurement("cost", "peak_memory", "MiB", False, "", "")
DOCUMENTS = Measurement("count", "documents", "count", None, "", "")
MARGINAL_ERROR = Measurement("certificate", "marginal_error", "relative", False, "", "")
ALWAYS = (SELECTION_SECONDS, TRAINING_SECONDS)
PLACES = {
    found: place
    for place, found in enumerate(
        (SELECTION_SECONDS, TRAINING_SECONDS, PEAK_MEMORY, DOCUMENTS, MARGINAL_ERROR)
    )
}


def measurements(record: Record) -> dict[Measurement, float]:
    """Returns every number of a cell that is done; nothing of one that is not."""
    if record.status != "done":
        return {}
    names = {metric.name for metric in record.metrics}
    numbers = {
        measurement(metric): metric.value
        for metric in record.metrics
        # The ends of an interval are a cell's own: their mean over seeds is nobody's interval.
        if not (metric.name.endswith(ENDS) and metric.name.rpartition("_")[0] in names)
    }
    if record.stages:
        stages = [stage.stage for stage in record.stages]
        end = stages.index(SELECTION_ENDS) + 1 if SELECTION_ENDS in stages else 0
        numbers[SELECTION_SECONDS] = math.fsum(stage.seconds for stage in record.stages[:end])
        numbers[TRAINING_SECONDS] = math.fsum(
            stage.seconds for stage in record.stages if stage.stage in TRAINING
        )
        numbers[PEAK_MEMORY] = max(stage.peak_mib for stage in record.stages)
    if "unique" in record.selection:
        numbers[DOCUMENTS] = float(record.selection["unique"])
    errors = [  # one for each target and member that was solved for: the worst stands for all
        float(found)
        for fact, found in certificate(record).items()
        if fact.rpartition(".")[2] == MARGINAL_ERROR.name
    ]
    if errors:
        numbers[MARGINAL_ERROR] = max(errors)
    return numbers


def certificate(record: Record) -> Mapping[str, Any]:
    """Returns what the solve behind a selection certifies; nothing for a method without one."""
    fit = record.selection.get("fit")
    return fit if isinstance(fit, Mapping) else {}


def measurement(metric: Metric) -> Measurement:
    """Returns how a metric was measured."""
    return Measurement(
        "metric", metric.name, metric.unit, metric.higher_is_better, metric.split, metric.protocol
    )


def device(record: Record) -> str:
    """Returns the devices that the stages of a cell were computed on, each once."""
    return " + ".join(dict.fromkeys(stage.device for stage in record.stages))


def columns(
    records: Sequence[Record], measured: Iterable[Mapping[Measurement, float]]
) -> dict[Measurement, Column]:
    """Returns a column for everything that was measured, in reading order."""
    primary: set[Measurement] = set()
    place = dict(PLACES)
    for record in records:
        for index, metric in enumerate(record.metrics):
            found = measurement(metric)
            place[found] = min(index, place.get(found, index))
            if metric.primary:
                primary.add(found)
    kinds = get_args(Kind)
    present = sorted(
        # The costs are there even if nothing was measured: what failed needs a cell to say why.
        {*ALWAYS, *(key for numbers in measured for key in numbers)},
        key=lambda m: (kinds.index(m.kind), m not in primary, place[m], *map(str, m)),
    )
    headings = _headings(present)
    return {
        found: Column(
            key=headings[found].replace(" ", "_"),
            heading=headings[found],
            unit=found.unit,
            higher_is_better=found.higher_is_better,
            primary=found in primary,
            protocol=found.protocol,
            split=found.split,
            kind=found.kind,
            name=found.name,
        )
        for found in present
    }


def _headings(measurements: Sequence[Measurement]) -> dict[Measurement, str]:
    """Returns distinct headings: the name, and as much of how it was measured as tells it apart."""

    def spellings(found: Measurement) -> Iterator[str]:
        yield found.name
        yield f"{found.name} [{found.split}]"
        for length in (6, 64):
            yield f"{found.name} [{found.protocol[:length] or 'no protocol'}]"
        yield f"{found.name} [{', '.join(map(str, found[2:]))}]"

    chosen: dict[Measurement, str] = {}
    for found in measurements:
        rivals = [other for other in measurements if other.name == found.name and other != found]
        options = zip(spellings(found), *map(spellings, rivals), strict=True)
        chosen[found] = next((mine for mine, *others in options if mine not in others), str(found))
    return chosen
