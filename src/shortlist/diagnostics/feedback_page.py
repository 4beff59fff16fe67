"""The page of rounds of feedback: the metric of each, its corrections, and what was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import t as student

from shortlist.core import Record
from shortlist.diagnostics.datasheet.page import Datasheet, Fact, Figure, Section
from shortlist.errors import InvalidInput
from shortlist.rendering.svg import CHOSEN, svg
from shortlist.rendering.tables import TextCell, TextTable

LEFT_OUT = ("repeats_test", "repeats_validation", "already_in_train", "copies")


@dataclass(frozen=True)
class Round:
    """The runs of one round.

    Attributes:
        number: the round; 0 is before any correction.
        runs: how many runs there are.
        value: mean of the primary metric over them.
        low: lower end of its 95 % interval: Student's t over the runs, of one run 1.96 standard
            errors over the test items; None where neither is known.
        high: its upper end.
        examples: training texts.
        joined: corrections among them.
        wrong: how many of these the model had predicted another class for.
        conflicting: corrections that were left out because labels contradict each other.
        left_out: those that were left out for other reasons.
    """

    number: int
    runs: int
    value: float
    low: float | None
    high: float | None
    examples: float
    joined: float
    wrong: float
    conflicting: float
    left_out: float


def rounds_of(records: Sequence[Record]) -> tuple[str, tuple[Round, ...]]:
    """Returns the name of the primary metric, and the rounds, first to last; of several runs of a
    round the means.

    Raises:
        InvalidInput: a run has no primary metric, or runs were not measured alike.
    """
    by_round: dict[int, list[Record]] = {}
    protocols: dict[tuple[str, str], str] = {}
    for record in records:
        metric = next((one for one in record.metrics if one.primary), None)
        if metric is None:
            raise InvalidInput(
                f"record {record.key}: expected a fine-tuned run with a metric, found until="
                f"{record.until}; leave it out"
            )
        protocols.setdefault((metric.name, metric.protocol), record.key)
        by_round.setdefault(_facts(record).get("round", 0), []).append(record)
    if len(protocols) > 1:
        found = " and ".join(protocols.values())
        raise InvalidInput(
            f"expected runs that were measured alike, found records {found} "
            "with other test items or metrics; name the runs of one task"
        )
    (name, _), *_ = protocols
    return name, tuple(_round(number, by_round[number], name) for number in sorted(by_round))


def _facts(record: Record) -> Mapping[str, Any]:
    return record.selection.get("feedback", {})


def _round(number: int, records: Sequence[Record], name: str) -> Round:
    metrics = [record.metric(name) for record in records]
    values = np.array([metric.value for metric in metrics if metric is not None])
    half = metrics[0].stderr if metrics[0] is not None else None
    half = None if half is None else 1.96 * half
    if len(values) > 1:
        error = float(values.std(ddof=1)) / len(values) ** 0.5
        half = float(student.ppf(0.975, len(values) - 1)) * error
    mean = float(values.mean())

    def over(what: Any) -> float:
        return float(np.mean([what(record) for record in records]))

    def left_out(record: Record, *fates: str) -> int:
        known = _facts(record).get("left_out", {})
        return sum(known.get(fate, 0) for fate in fates)

    return Round(
        number=number,
        runs=len(records),
        value=mean,
        low=None if half is None else mean - half,
        high=None if half is None else mean + half,
        examples=over(
            lambda record: record.counts.get(
                "task_feedback_train", record.counts.get("task_train", 0)
            )
        ),
        joined=over(lambda record: _facts(record).get("joined", 0)),
        wrong=over(lambda record: _facts(record).get("wrong", 0)),
        conflicting=over(lambda record: left_out(record, "conflicting")),
        left_out=over(lambda record: left_out(record, *LEFT_OUT)),
    )


def rounds_page(task: str, metric: str, rounds: Sequence[Round]) -> Datasheet:
    """Returns the page.

    Args:
        task: name of the task.
        metric: name of the metric.
        rounds: the rounds.
    """
    headings = ("round", "runs", metric, "95 % interval", "training texts", "corrections",
                "wrong before", "conflicts", "left out otherwise")  # fmt: skip
    rows = tuple(
        (
            TextCell(str(one.number)),
            TextCell(f"{one.runs:,}"),
            TextCell(f"{one.value:.4f}"),
            TextCell("not known" if one.low is None else f"{one.low:.4f} to {one.high:.4f}"),
            *(
                TextCell(f"{number:,.10g}")
                for number in (
                    one.examples, one.joined, one.wrong, one.conflicting, one.left_out,
                )
            ),
        )
        for one in rounds
    )  # fmt: skip
    note = (
        "Intervals: of several runs Student's t over them, of one run 1.96 standard errors over the test "
        "items. Counts of several runs are means. Wrong before: corrections of another class than the "
        "model had predicted."
    )
    numbers = [one.number for one in rounds]
    values = np.array([one.value for one in rounds])

    def draw(axis: Any) -> None:
        spread = [
            [0.0 if one.low is None else one.value - one.low for one in rounds],
            [0.0 if one.high is None else one.high - one.value for one in rounds],
        ]
        axis.errorbar(numbers, values, yerr=spread, color=CHOSEN, marker="o", capsize=3)
        axis.set_xticks(numbers)
        axis.set_xlabel("round of feedback")
        axis.set_ylabel(metric)

    last, first = rounds[-1], rounds[0]
    facts = (
        Fact("rounds", f"{last.number}"),
        Fact("corrections", f"{last.joined:,.10g}", "in the training split of the last round"),
        Fact(metric, f"{last.value:.4f}", f"{last.value - first.value:+.4f} since round {first.number}"),
    )  # fmt: skip
    figure = Figure(
        f"{metric} by round",
        svg(draw),
        f"{metric} of each round with its 95 % interval",
        "Whether corrections helped more than other labels would have is not shown here: compare "
        "with as many texts drawn at random.",
    )
    section = Section(
        "rounds", "Rounds", tables=(TextTable("", headings, rows, note),), figures=(figure,)
    )
    return Datasheet(
        task, "Corrections of predictions joined the training texts, round by round.", facts, (),
        (section,), "Feedback",
    )  # fmt: skip
