"""The columns of a comparison table: what a record measured, and what each column is called.

A metric's column is what makes two numbers comparable: equal columns mean equal measurements. The
cost columns are in `COSTS`; what they count is in `core.charged_seconds`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, get_args

from shortlist.core import Metric, Record, Role, charged_seconds
from shortlist.leaderboard.compute import operations
from shortlist.leaderboard.table import Column, Kind


class Measurement(NamedTuple):
    """What makes two numbers comparable."""

    kind: Kind
    name: str
    unit: str
    higher_is_better: bool | None
    split: str = ""
    protocol: str = ""


class Cost(NamedTuple):
    """A cost column: the seconds of the stages of one role (`core.StageCost.role`)."""

    name: str
    title: str
    description: str

    @property
    def measurement(self) -> Measurement:
        """The column's measurement."""
        return Measurement("cost", self.name, "seconds", False)


# Seconds are those of the computation of a stage, whether a cell computed or reused it.
COSTS: Mapping[Role, Cost] = {
    "preparation": Cost(
        "preparation_seconds",
        "preparation (s)",
        "pool, task, leak check, prefilter and base model (pre-training, intermediate task, head): "
        "shared by all methods",
    ),
    "selection": Cost(
        "selection_seconds",
        "selection (s)",
        "features, fit, scores and choice of this method",
    ),
    "diagnostics": Cost(
        "diagnostics_seconds",
        "diagnostics (s)",
        "ablation baseline, sensitivity, budget recommendation, Pareto front and assumption check: "
        "the selection does not depend on them",
    ),
    "training": Cost(
        "training_seconds",
        "training (s)",
        "warm-up and fine-tuning",
    ),
    "evaluation": Cost(
        "evaluation_seconds",
        "evaluation (s)",
        "losses before and after the warm-up, metrics of the trained model",
    ),
}
# The two costs that depend on the method most, where there is no room for all.
METHOD_COSTS = (COSTS["selection"].name, COSTS["training"].name)

OPERATIONS = Measurement("cost", "operations", "operations", False)
PEAK_MEMORY = Measurement("cost", "peak_memory", "MiB", False)
DOCUMENTS = Measurement("count", "documents", "count", None)
MARGINAL_ERROR = Measurement("certificate", "marginal_error", "relative", False)
FIXED = (
    *(cost.measurement for cost in COSTS.values()),
    OPERATIONS,
    PEAK_MEMORY,
    DOCUMENTS,
    MARGINAL_ERROR,
)
TITLES = {cost.name: cost.title for cost in COSTS.values()}
TITLES |= {"peak_memory": "peak memory (MiB)", "operations": "compute (FLOP)"}
DESCRIPTIONS = {cost.name: f"seconds of: {cost.description}" for cost in COSTS.values()}
DESCRIPTIONS["operations"] = "estimated floating-point operations of selection and warm-up"
# Metrics of predictions by their names; `probe_` before a name: those of the linear probe.
PREDICTED = ("accuracy", "micro_f1", "macro_f1", "matthews", "f1", "pearson", "spearman")
PROBE = "probe_"
INTERVAL_ENDS = ("_from", "_to")  # suffixes of metrics that are the interval of another metric


def measurements(record: Record) -> dict[Measurement, float]:
    """Returns every number of a cell that is done; nothing of one that is not."""
    if record.status != "done":
        return {}
    names = {metric.name for metric in record.metrics}
    numbers = {
        measurement(metric): metric.value
        for metric in record.metrics
        # The interval of one cell says nothing about a mean over seeds.
        if not (metric.name.endswith(INTERVAL_ENDS) and metric.name.rpartition("_")[0] in names)
    }
    if record.stages:
        for role, cost in COSTS.items():
            numbers[cost.measurement] = charged_seconds(record.stages, role)
        numbers[PEAK_MEMORY] = max(stage.peak_mib for stage in record.stages)
        if (estimated := operations(record)) is not None:
            numbers[OPERATIONS] = estimated
    if "unique" in record.selection:
        numbers[DOCUMENTS] = float(record.selection["unique"])
    # One solve for each target and member: the largest error is reported.
    errors = fit_facts(record, MARGINAL_ERROR.name)
    if errors:
        numbers[MARGINAL_ERROR] = max(map(float, errors))
    return numbers


def fit_facts(record: Record, name: str) -> list[Any]:
    """Returns the values of a fact that the selector reports, one for each fit."""
    fit = record.selection.get("fit")
    facts = fit.items() if isinstance(fit, Mapping) else ()
    return [value for fact, value in facts if fact.rpartition(".")[2] == name]


def measurement(metric: Metric) -> Measurement:
    """Returns how a metric was measured."""
    return Measurement(
        "metric", metric.name, metric.unit, metric.higher_is_better, metric.split, metric.protocol
    )


def columns(
    records: Sequence[Record], measured: Iterable[Mapping[Measurement, float]]
) -> dict[Measurement, Column]:
    """Returns a column for everything that was measured, in reading order.

    The columns of seconds are there even if nothing was measured, so that a table of failed cells
    can show the reasons.
    """
    primary: set[Measurement] = set()
    position = {fixed: place for place, fixed in enumerate(FIXED)}
    for record in records:
        for place, metric in enumerate(record.metrics):
            key = measurement(metric)
            position[key] = min(place, position.get(key, place))
            if metric.primary:
                primary.add(key)
    kinds = get_args(Kind)
    always = (cost.measurement for cost in COSTS.values())
    present = sorted(
        {*always, *(key for numbers in measured for key in numbers)},
        key=lambda m: (kinds.index(m.kind), m not in primary, position[m], *map(str, m)),
    )
    names = _distinct_names(present)
    return {
        key: Column(
            key=names[key].replace(" ", "_"),
            title=TITLES.get(names[key], names[key].replace("_", " ")),
            primary=key in primary,
            description=DESCRIPTIONS.get(names[key], ""),
            **key._asdict(),
        )
        for key in present
    }


def _distinct_names(measurements: Sequence[Measurement]) -> dict[Measurement, str]:
    """Returns distinct names: the quantity, and as much of its measurement as distinguishes it."""

    def spellings(key: Measurement) -> Iterator[str]:
        yield key.name
        yield f"{key.name} [{key.split}]"
        for length in (6, 64):
            yield f"{key.name} [{key.protocol[:length] or 'no protocol'}]"
        yield f"{key.name} [{', '.join(map(str, key[2:]))}]"

    names: dict[Measurement, str] = {}
    for key in measurements:
        rivals = [other for other in measurements if other.name == key.name and other != key]
        options = zip(spellings(key), *map(spellings, rivals), strict=True)
        names[key] = next((own for own, *others in options if own not in others), str(key))
    return names
