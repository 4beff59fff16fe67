"""The table of smaller models: size, latency, metric; as a table of text and as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shortlist.core import Metric
from shortlist.diagnostics.datasheet.page import Datasheet, Fact, Section
from shortlist.rendering.tables import TextCell, TextTable
from shortlist.stats.intervals import normal_interval

if TYPE_CHECKING:
    from shortlist.compression.size import Latency


@dataclass(frozen=True)
class CompressedModel:
    """A row of the table.

    Attributes:
        name: the compression that made the model; `finetune` of the original.
        parameters: number of its weights.
        bytes: of the files of its weights.
        metric: the primary metric on the test items.
        gain: its difference from the original's, paired by item; None of the original.
    """

    name: str
    parameters: int
    bytes: int
    metric: Metric
    gain: Metric | None


@dataclass(frozen=True)
class Timed:
    """Latencies and how they were measured.

    Attributes:
        latencies: by number of texts a batch and name of the model.
        machine: processor, threads, load and precision in words.
    """

    latencies: Mapping[int, Mapping[str, Latency]]
    machine: str


def compression_table(models: Sequence[CompressedModel], timed: Timed | None) -> TextTable:
    """Returns the table; without times where there are none."""
    primary = models[0].metric.name
    times = dict(timed.latencies) if timed else {}
    headings = (
        "model",
        "parameters",
        "MB",
        primary,
        "difference",
        *(f"ms, batch {n}" for n in times),
    )
    rows = tuple(
        (
            TextCell(one.name),
            TextCell(f"{one.parameters:,}"),
            TextCell(f"{one.bytes / 1e6:.1f}"),
            TextCell(_value(one.metric)),
            TextCell("" if one.gain is None else _interval(one.gain)),
            *(TextCell(_time(found.get(one.name))) for found in times.values()),
        )
        for one in models
    )
    note = (
        f"MB: weights. {primary} on {models[0].metric.n:,} test items with 1.96 standard errors; the "
        "difference from the first row is paired by item, with its 95 % interval."
    )
    if timed:
        note += f" Latency: median of a pass (quartiles), models in turn; {timed.machine}."
    return TextTable("", headings, rows, note)


def compression_page(
    task: str, models: Sequence[CompressedModel], timed: Timed | None
) -> Datasheet:
    """Returns the page of a task's models."""
    first, last = models[0], models[-1]
    facts = (
        Fact("size", f"{last.bytes / first.bytes:.2f}", "of the fine-tuned model, of the last row"),
        Fact("test items", f"{first.metric.n:,}"),
    )
    zeros = any(one.name == "magnitude" for one in models)
    said = "Zeros of magnitude pruning make nothing faster and no file smaller." if zeros else ""
    section = Section("models", "Models", said, tables=(compression_table(models, timed),))
    lead = (
        "Each model is made of the one in the row above. Training and validation items decide "
        "everything; the test items are predicted once by each."
    )
    return Datasheet(task, lead, facts, (), (section,), "Smaller models")


def _value(metric: Metric) -> str:
    spread = "" if metric.stderr is None else f" ± {1.96 * metric.stderr:.4f}"
    return f"{metric.value:.4f}{spread}"


def _interval(gain: Metric) -> str:
    if gain.stderr is None:
        return f"{gain.value:+.4f}"
    low, high = normal_interval(gain.value, gain.stderr)
    return f"{gain.value:+.4f} ({low:+.4f} to {high:+.4f})"


def _time(latency: Latency | None) -> str:
    if latency is None:
        return ""
    return f"{1e3 * latency.median:.1f} ({1e3 * latency.low:.1f} to {1e3 * latency.high:.1f})"
