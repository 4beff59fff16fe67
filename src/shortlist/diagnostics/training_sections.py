"""Sections of a run's page on its trainings and on the evaluation: curves, classes, confusions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from shortlist.diagnostics.datasheet.page import Figure, Section
from shortlist.rendering.svg import CHOSEN, POOL, SOFT, TARGET, legend, svg
from shortlist.rendering.tables import TextCell, TextTable
from shortlist.trainers.curves import Curve

POINTS = 200  # most points of a plotted curve, each the mean over consecutive steps
CLASSES = 15  # of a confusion matrix; of more the most frequent confusions are shown
CONFUSIONS = 20


@dataclass(frozen=True)
class Training:
    """One training of a run, for its page.

    Attributes:
        name: `warm-up` or `fine-tuning`.
        curve: losses by step and epoch.
        metric: the metric by which epochs are compared.
        sign: 1 where a larger metric is better, else -1.
        held_out: loss on held-out texts before and after, in nats a token; None where not measured.
        range_test: rates, losses and the chosen rate of `learning_rate=find`.
    """

    name: str
    curve: Curve
    metric: str = ""
    sign: int = 1
    held_out: tuple[float, float] | None = None
    range_test: Mapping[str, Any] | None = None

    @property
    def reported(self) -> Curve:
        """The curve with the metric as reports have it."""
        return replace(self.curve, scores=[self.sign * score for score in self.curve.scores])


def training_section(trainings: Sequence[Training]) -> Section:
    """Returns the section with the curves of all trainings."""
    figures: list[Figure] = []
    for one in trainings:
        curve = one.curve
        width = math.ceil(len(curve.losses) / POINTS)
        note = f"{len(curve.losses):,} steps, {curve.steps_an_epoch:,} an epoch"
        if width > 1:
            note += f"; each point of the training loss is the mean of {width:,} steps"
        if one.held_out:
            note += "; held-out: texts of the task that were not trained on, before and after"
        if any(loss is not None for loss in curve.validation_losses):
            note += (
                "; the training loss includes dropout and the options of the loss, the validation"
            )
            note += " loss does not"
        figures.append(
            Figure(
                f"Loss of the {one.name}",
                _losses(one),
                f"Loss of the {one.name} by step",
                f"{note}.",
            )
        )
        if curve.scores:
            kept = curve.epoch or len(curve.scores)
            figures.append(
                Figure(
                    f"{one.metric} on validation",
                    _scores(one, kept),
                    f"{one.metric} on validation after each epoch",
                    f"The weights of epoch {kept} of {len(curve.scores)} were kept.",
                )
            )
        if one.range_test is not None:
            figures.append(
                Figure(
                    f"Learning rate of the {one.name}",
                    _range_test(one.range_test),
                    "Smoothed loss by learning rate",
                    f"Range test of {len(one.range_test['rates'])} steps; chosen: "
                    f"{one.range_test['chosen']:g}.",
                )
            )
    return Section("training", "Training", figures=tuple(figures))


def _losses(one: Training) -> str:
    curve, means = one.curve, one.curve.means(POINTS)
    points = [
        (step, loss)
        for step, loss in zip(curve.epochs, curve.validation_losses, strict=False)
        if loss is not None
    ]
    entries = 1 + bool(points) + bool(one.held_out)

    def draw(axis: Any) -> None:
        axis.plot(*zip(*means, strict=True), color=POOL, linewidth=1.4, label="training")
        if points:
            axis.plot(
                *zip(*points, strict=True), color=CHOSEN, marker="D", markersize=4.5,
                linewidth=1.4, label="validation",
            )  # fmt: skip
        if one.held_out:
            axis.plot(
                (0, len(curve.losses)), one.held_out, color=TARGET, marker="^", markersize=6,
                linestyle=(0, (4, 3)), linewidth=1.2, label="held-out",
                clip_on=False,
            )  # fmt: skip
        axis.set_xlim(left=0)
        axis.xaxis.set_major_formatter("{x:,.0f}")
        axis.set_xlabel("step")
        axis.set_ylabel("loss")
        legend(axis, entries)

    return svg(draw, entries, entries)


def _scores(one: Training, kept: int) -> str:
    values = one.reported.scores
    epochs = range(1, len(values) + 1)

    def draw(axis: Any) -> None:
        axis.plot(epochs, values, color=CHOSEN, marker="D", markersize=4.5, linewidth=1.4)
        axis.axvline(kept, color=SOFT, linewidth=1.2, linestyle=(0, (4, 3)))
        axis.set_xticks([*epochs][:: math.ceil(len(values) / 10)])
        axis.set_xlabel("epoch")
        axis.set_ylabel(one.metric)

    return svg(draw)


def _range_test(found: Mapping[str, Any]) -> str:
    def draw(axis: Any) -> None:
        axis.semilogx(found["rates"], found["losses"], color=CHOSEN, linewidth=1.4)
        axis.axvline(found["chosen"], color=SOFT, linewidth=1.2, linestyle=(0, (4, 3)))
        axis.set_xlabel("learning rate")
        axis.set_ylabel("smoothed loss")

    return svg(draw)


def evaluation_section(details: Mapping[str, Any]) -> Section:
    """Returns the section on the test items: measures of each class and confusions.

    Args:
        details: `selection.evaluation` of a record: `per_class`, and for single-label tasks
            `classes` and `confusion`.
    """
    tables: list[TextTable] = []
    if rows := details.get("per_class"):
        note = "true, predicted: number of items of the class, and number of items predicted as it."
        if "threshold" in details:
            note += f" A class is predicted at a probability of at least {details['threshold']:g}."
        shown = tuple(
            (
                TextCell(str(row["class"])),
                *(
                    TextCell(f"{row[name]:.3f}", row[name], "chosen")
                    for name in ("precision", "recall", "f1")
                ),
                *(TextCell(f"{row[name]:,}") for name in ("true", "predicted")),
            )
            for row in rows
        )
        headings = ("class", "precision", "recall", "F1", "true", "predicted")
        tables.append(TextTable("Classes", headings, shown, note))
    if confusion := details.get("confusion"):
        classes = [str(name) for name in details["classes"]]
        small = len(classes) <= CLASSES
        tables.append(_matrix(classes, confusion) if small else _confusions(classes, confusion))
    lead = "Predictions of the test items."
    return Section("evaluation", "Evaluation", lead, tables=tuple(tables))


def _matrix(classes: Sequence[str], confusion: Sequence[Sequence[int]]) -> TextTable:
    rows = tuple(
        (
            TextCell(name),
            *(
                TextCell(
                    f"{count:,}",
                    count / max(1, sum(counts)),
                    "chosen" if place == number else "pool",
                )
                for place, count in enumerate(counts)
            ),
        )
        for number, (name, counts) in enumerate(zip(classes, confusion, strict=True))
    )
    note = "Rows: the true class, columns: the predicted one. Bars: share of the row."
    return TextTable("Confusion matrix", ("true \\ predicted", *classes), rows, note)


def _confusions(classes: Sequence[str], confusion: Sequence[Sequence[int]]) -> TextTable:
    wrong = [
        (count, classes[true], classes[predicted], count / max(1, sum(counts)))
        for true, counts in enumerate(confusion)
        for predicted, count in enumerate(counts)
        if count and true != predicted
    ]
    wrong.sort(key=lambda entry: (-entry[0], entry[1:3]))
    rows = tuple(
        (
            TextCell(true),
            TextCell(predicted),
            TextCell(f"{count:,}"),
            TextCell(f"{share:.1%}", share, "pool"),
        )
        for count, true, predicted, share in wrong[:CONFUSIONS]
    )
    note = (
        f"The {len(rows)} most frequent of {len(wrong):,} pairs, of {len(classes):,} classes; the whole "
        "matrix is selection.evaluation.confusion of the record."
    )
    headings = ("true", "predicted", "items", "of the true class")
    return TextTable("Most frequent confusions", headings, rows, note, left=2)
