"""The record of one cell: its metrics, the cost of its stages, its inputs and its configuration."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from shortlist.core.typed import check_plain, shown, typed
from shortlist.errors import InvalidInput

SCHEMA = 3  # of the JSON that `Record.to_json` writes; no other is read
READS = "read."  # prefix of the entries of `Record.inputs` that enter the record's key
CHARACTERS = 4_000_000  # of a record without its item scores; 13 domains take 50,000
MAX_ITEMS = 10_000_000  # of a metric whose item scores are unpacked: 80 MB

Status = Literal["done", "skipped", "failed"]
Role = Literal["preparation", "selection", "diagnostics", "training", "evaluation"]

# Lowest and highest value of each unit. A percentage in the place of a fraction is refused.
UNITS: Mapping[str, tuple[float, float]] = {
    "fraction": (0.0, 1.0),
    "fraction_gained": (-1.0, 1.0),
    "correlation": (-1.0, 1.0),
    "nats": (0.0, math.inf),
    "nats_gained": (-math.inf, math.inf),
    "perplexity": (1.0, math.inf),
    "seconds": (0.0, math.inf),
    "count": (0.0, math.inf),
    "label_units": (0.0, math.inf),  # of a regression's error
}


@dataclass(frozen=True)
class Metric:
    """One measured number and the way it was measured.

    Attributes:
        name: standard name of the quantity (`accuracy`, `macro_f1`, `mlm_loss_after`, ...).
        unit: a key of `UNITS`.
        higher_is_better: direction of improvement.
        value: the number, within the range of its unit.
        n: number of items it was measured on.
        stderr: standard error over these items; None where it is not known.
        split: the split it was measured on.
        protocol: hash of the settings of the measurement; numbers of different protocols are never
            compared.
        primary: whether it ranks the methods on its task.

    Raises:
        InvalidInput: the unit is unknown, or the value lies outside the unit's range.
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
    """The position of a cell in the experiment grid."""

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
    """Cost of one stage of a cell, measured when the stage was computed: now or by an earlier cell.

    Attributes:
        stage: name of the stage.
        key: key of its artifact.
        seconds: wall-clock time.
        peak_mib: largest resident host memory in MiB.
        device: the device it was computed on.
        role: the part of the cell that the cost belongs to:

            - `preparation`: pool, task, leaked documents, prefilter, base model: shared by all
              methods;
            - `selection`: features, fit, scores and choice of this method;
            - `diagnostics`: computed to explain the selection; the selection does not depend on it;
            - `training`: warm-up and fine-tuning;
            - `evaluation`: losses before and after the warm-up, metrics of the trained model.
    """

    stage: str
    key: str
    seconds: float
    peak_mib: float
    device: str
    role: Role


def charged_seconds(stages: Iterable[StageCost], role: Role) -> float:
    """Returns the cost of a role: the sum of the seconds of its stages. All output shows this sum."""
    return math.fsum(stage.seconds for stage in stages if stage.role == role)


@dataclass(frozen=True)
class Record:
    """Configuration, inputs, results and costs of one cell.

    Attributes:
        key: hash of the configuration (hashed groups only) and of the inputs; names the file.
        status: `done`, `skipped` (the method does not apply) or `failed`.
        axes: the cell's position in the experiment grid.
        until: the stage after which the cell stopped (`select`, `warmup`, `finetune`, `evaluate`).
        reason: why the cell was skipped or failed; otherwise empty.
        metrics: the measured numbers.
        stages: cost of each stage, in the order of computation.
        selection: `size`, `unique`, `sha256`, `domains` (documents per domain), and `fit`: facts
            that the selector reports, such as the certificate of a transport solve. Where they were
            computed also: `targets` and `pareto` (several targets), `divergences` (domains compared
            by a prefilter), `against_NAME` (overlap with the ablation baseline NAME) and
            `recommended` (the recommended budget).
        inputs: fingerprints and digests of the pool, the targets, the model and hub revisions.
        counts: numbers of rows that were removed or cut, by reason.
        warnings: limitations of the numbers, such as a transport solve that did not converge.
        code: version, commit, hash of the lock file, interpreter and libraries.
        config: the resolved configuration, hashed groups only.
        overrides: the command-line overrides of hashed groups.
        started: time in UTC, ISO 8601.
        item_scores: score of each test item by name of the metric, packed by `pack_item_scores`.
            Metrics of equal protocols were measured on the same items in the same order, so two
            records can be compared item by item.
        digest: SHA-256 of everything else (`sealed`); empty in a record that is not finished.
        schema: `SCHEMA`.
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
    item_scores: Mapping[str, str] = field(default_factory=dict[str, str])
    digest: str = ""
    schema: int = SCHEMA

    @property
    def reads(self) -> dict[str, str]:
        """The entries of `inputs` that enter the key: digests of the pool, the tasks, the model."""
        return {name: value for name, value in self.inputs.items() if name.startswith(READS)}

    def metric(self, name: str) -> Metric | None:
        """Returns the metric called `name`, or None."""
        return next((metric for metric in self.metrics if metric.name == name), None)

    def to_json(self) -> str:
        """Returns the record as sorted, indented JSON that ends in a line break."""
        return json.dumps(self._plain(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    def sealed(self) -> Record:
        """Returns the record with the digest of its contents."""
        return replace(self, digest=_digest(self._plain()))

    def _plain(self) -> dict[str, Any]:
        return vars(self) | {
            "axes": vars(self.axes),
            "metrics": [vars(metric) for metric in self.metrics],
            "stages": [vars(stage) for stage in self.stages],
        }

    @staticmethod
    def from_json(text: str) -> Record:
        """Returns the record that `to_json` wrote.

        Raises:
            InvalidInput: the text is not a record of schema `SCHEMA`, a value is of another type or
                out of range, the text is too long or too deeply nested to be one, or its contents
                are not those of its digest.
        """
        try:
            raw: dict[str, Any] = typed(Mapping[str, Any], json.loads(text), "a record")
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"not a record: {error}") from error
        if (found := raw.get("schema")) != SCHEMA:
            raise InvalidInput(
                f"expected a record of schema {SCHEMA}, found schema {shown(found)}; "
                "python results/migrate.py rewrites records of schema 2"
            )
        packed = typed(Mapping[str, str], raw.get("item_scores", {}), "item_scores")
        if (length := len(text) - sum(map(len, packed.values()))) > CHARACTERS:
            raise InvalidInput(
                f"expected at most {CHARACTERS:,} characters beside item scores, found {length:,}"
            )
        check_plain(raw, long="item_scores")
        record: Record = typed(Record, raw, "")
        for name, kind in SELECTION.items():
            if name in record.selection:
                typed(kind, record.selection[name], f"selection.{name}")
        if record.digest and record.digest != _digest(raw):
            raise InvalidInput(
                f"its contents are not those of its digest {shown(record.digest)}: they were "
                "changed after it was written"
            )
        return record


# Types of the facts of a selection that tables read.
SELECTION: Mapping[str, Any] = {
    "size": int, "unique": int, "domains": Mapping[str, int], "fit": Mapping[str, Any],
    "probe": Mapping[str, float], "evaluation": Mapping[str, Any],
}  # fmt: skip


def _digest(raw: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of a record as plain data, apart from its digest."""
    contents = {name: value for name, value in raw.items() if name != "digest"}
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()


MANTISSA_BITS = 12  # relative rounding error up to 2^-12, far below the standard error of one item


def pack_item_scores(values: NDArray[np.float64]) -> str:
    """Returns (n,) scores as text: float32 of `MANTISSA_BITS` bits, deflated, in base 64.

    The bytes are deflated plane by plane (all first bytes, all second bytes, ...), which takes
    about two bits for an item that is right or wrong. Zeros and ones are kept exactly.
    """
    mantissa, exponent = np.frexp(values)
    rounded = np.round(mantissa * (1 << MANTISSA_BITS)) / (1 << MANTISSA_BITS)
    rounded = np.ldexp(rounded, exponent) + 0.0
    planes = rounded.astype("<f4").view(np.uint8).reshape(-1, 4).T
    return base64.b64encode(zlib.compress(planes.tobytes(), 9)).decode("ascii")


def unpack_item_scores(text: str, n: int) -> NDArray[np.float64]:
    """Returns the (n,) scores that `pack_item_scores` packed, rounded as it rounded them.

    No more than n scores are unpacked, whatever the text holds.

    Raises:
        InvalidInput: the text was not written by `pack_item_scores`, or for another number of
            items; a score is not finite, or there are more than `MAX_ITEMS`.
    """
    if not 0 <= n <= MAX_ITEMS:
        raise InvalidInput(f"expected item scores of at most {MAX_ITEMS:,} items, found {n:,}")
    stream = zlib.decompressobj()
    try:
        planes = stream.decompress(base64.b64decode(text, validate=True), 4 * n + 1)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise InvalidInput(
            f"expected item scores written by `pack_item_scores`, found: {error}"
        ) from error
    if len(planes) != 4 * n or not stream.eof or stream.unused_data:
        found = "more" if len(planes) > 4 * n else f"{len(planes) / 4:g}"
        raise InvalidInput(f"expected the item scores of {n:,} items, found those of {found}")
    transposed = np.frombuffer(planes, np.uint8).reshape(4, -1).T
    scores = np.ascontiguousarray(transposed).view("<f4").ravel().astype(np.float64)
    if not np.isfinite(scores).all():
        raise InvalidInput("expected finite item scores, found a NaN or an infinity")
    return scores
