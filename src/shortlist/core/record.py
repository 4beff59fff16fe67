"""One measured number, and everything that is known of one cell."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from shortlist.errors import InvalidInput

# What a unit allows: lowest and highest value. A percentage where a fraction belongs is refused.
UNITS: Mapping[str, tuple[float, float]] = {
    "fraction": (0.0, 1.0),
    "correlation": (-1.0, 1.0),
    "nats": (0.0, math.inf),
    "nats_gained": (-math.inf, math.inf),
    "perplexity": (1.0, math.inf),
    "seconds": (0.0, math.inf),
    "count": (0.0, math.inf),
}


@dataclass(frozen=True)
class Metric:
    """One measured number and how it was measured.

    Attributes:
        name: the field's standard term (`accuracy`, `macro_f1`, `mlm_loss_after`, ...).
        unit: a key of `UNITS`; values outside its range are refused.
        higher_is_better: direction of improvement.
        value: the number.
        n: how many items it was measured on.
        stderr: standard error over these items, where it is known.
        split: the split it was measured on.
        protocol: hash of how it was measured; different protocols never share a column.
        primary: whether it ranks the table of its task.
    """

    name: str
    unit: str
    higher_is_better: bool
    value: float
    n: int
    stderr: float | None = None
    split: str = "test"
    protocol: str = ""
    primary: bool = False

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise InvalidInput(
                f"metric {self.name} has unit {self.unit!r}, expected one of: {', '.join(UNITS)}"
            )
        low, high = UNITS[self.unit]
        if not low <= self.value <= high:
            raise InvalidInput(
                f"metric {self.name} is a {self.unit} and must lie in "
                f"[{low:g}, {high:g}], found: {self.value}"
            )


@dataclass(frozen=True)
class Axes:
    """Where a cell stands in a table."""

    task: str
    pool: str
    selector: str
    featurizer: str
    model: str
    budget: int
    budget_unit: str
    seed: int


@dataclass(frozen=True)
class StageCost:
    """What one stage of a cell cost when it was computed, whether now or earlier."""

    stage: str
    key: str
    seconds: float
    peak_mib: float
    device: str


Status = Literal["done", "skipped", "failed"]
SCHEMAS = (1, 2)

READS = "read."  # prefix, among a record's inputs, of what its key is a hash of


@dataclass(frozen=True)
class Record:
    """Everything that is known of one cell: what ran, what came out, what it cost, on what input.

    Attributes:
        key: hash of the configuration (hashed groups only) and of what is read; the file's name.
        status: `done`, `skipped` (the method does not apply) or `failed`; `reason` says why.
        axes: the cell's place in a table.
        until: the stage the cell stopped after (`select`, `warmup`, `finetune`, `evaluate`).
        metrics: what was measured.
        stages: cost of each stage, in order.
        selection: `size`, `unique`, `sha256`, `domains` (documents per domain), and `fit`: what the
            selector reports of its fit, such as the certificate of a transport solve; where there
            is something to say, `targets` and `pareto` (several targets), `divergences` (the
            domains a prefilter compared), `against_NAME` (picks shared with the ablation NAME) and
            `recommended` (how many documents, and why).
        inputs: fingerprints and digests of what went in (pool, target, model, hub commits).
        counts: what was left out on the way, by name (quarantined rows, exact copies, leaks, ...).
        warnings: what a reader of the numbers must know (a solve that did not converge, ...).
        code: version, commit, lock file, interpreter and libraries.
        config: the resolved configuration, hashed groups only.
        overrides: what was typed, of the hashed groups.
        started: UTC, ISO 8601.
        outcomes: what each test item contributed to a metric, by the metric's name, packed
            (`core.outcomes`). Metrics of equal protocols were measured on the same items in the
            same order, so two records can be compared item by item.
        schema: 2; records of schema 1 are read as they are and have no outcomes.
    """

    key: str
    status: Status
    axes: Axes
    until: str = "evaluate"
    reason: str = ""
    metrics: tuple[Metric, ...] = ()
    stages: tuple[StageCost, ...] = ()
    selection: Mapping[str, Any] = field(default_factory=dict[str, Any])
    inputs: Mapping[str, str] = field(default_factory=dict[str, str])
    counts: Mapping[str, int] = field(default_factory=dict[str, int])
    warnings: tuple[str, ...] = ()
    code: Mapping[str, str] = field(default_factory=dict[str, str])
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    overrides: tuple[str, ...] = ()
    started: str = ""
    outcomes: Mapping[str, str] = field(default_factory=dict[str, str])
    schema: int = SCHEMAS[-1]

    @property
    def reads(self) -> dict[str, str]:
        """The digests of pool, task and model that the key is a hash of."""
        return {name: value for name, value in self.inputs.items() if name.startswith(READS)}

    def metric(self, name: str) -> Metric | None:
        """Returns the metric called `name`, or None."""
        return next((metric for metric in self.metrics if metric.name == name), None)

    def to_json(self) -> str:
        """Returns the record as sorted, indented JSON that ends in a line break."""
        fields = asdict(self)
        if self.schema == 1:  # what was written before there were outcomes stays as it was
            del fields["outcomes"]
        return json.dumps(fields, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    @staticmethod
    def from_json(text: str) -> Record:
        """Returns the record that `to_json` wrote.

        Raises:
            InvalidInput: the text is no record of this schema.
        """
        try:
            raw = json.loads(text)
            if raw.get("schema") not in SCHEMAS:
                raise InvalidInput(
                    f"a record of schema {' or '.join(map(str, SCHEMAS))} was expected, "
                    f"found schema {raw.get('schema')!r}"
                )
            raw["axes"] = Axes(**raw["axes"])
            raw["metrics"] = tuple(Metric(**metric) for metric in raw["metrics"])
            raw["stages"] = tuple(StageCost(**stage) for stage in raw["stages"])
            raw["warnings"] = tuple(raw["warnings"])
            raw["overrides"] = tuple(raw["overrides"])
            return Record(**raw)
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise InvalidInput(f"not a record: {error}") from error
