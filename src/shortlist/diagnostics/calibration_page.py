"""The page of a calibration: measures, reliability diagrams, accuracy by coverage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shortlist.diagnostics.datasheet.page import Datasheet, Fact, Figure, Section
from shortlist.rendering.svg import CHOSEN, LINE, POOL, legend, svg
from shortlist.rendering.tables import TextCell, TextTable
from shortlist.stats.calibration import (
    MEASURES,
    Calibrator,
    Measured,
    accuracy_by_coverage,
    reliability,
)

COVERAGES = tuple(share / 20 for share in range(1, 21))
_NAMES = {
    "log_loss": "log loss (nats)",
    "brier": "Brier score",
    "ece": "calibration error, bins of equal width",
    "ece_equal_mass": "calibration error, bins of equal mass",
}
_LOOKS = {"uncalibrated": (POOL, "o"), "calibrated": (CHOSEN, "D")}


def calibration_page(
    title: str,
    calibrator: Calibrator,
    measured: Mapping[str, tuple[NDArray[np.float64], Measured]],
    truth: NDArray[np.int64],
) -> Datasheet:
    """Returns the page.

    Args:
        title: name of the task.
        calibrator: the family of the map.
        measured: (n, k) probabilities of the test items and their measures, under `uncalibrated`
            and `calibrated`.
        truth: (n,) numbers of the true classes.
    """
    rows = tuple(
        (
            TextCell(_NAMES[name]),
            *(
                TextCell(f"{found.values[name]:.4f} ± {1.96 * found.stderrs[name]:.4f}")
                for _, found in measured.values()
            ),
        )
        for name in MEASURES
    )
    table = TextTable(
        "", ("measure", *measured), rows,
        f"Smaller is better. ±: 1.96 standard errors over {calibrator.resamples:,} bootstrap resamples "
        f"of the test items; {calibrator.bins} bins.",
    )  # fmt: skip
    curves = {
        name: (values.max(1), values.argmax(1) == truth) for name, (values, _) in measured.items()
    }
    diagrams = Section(
        "reliability",
        "Reliability",
        "Calibrated probabilities lie on the diagonal: of the items predicted with confidence c, a "
        "share c is right.",
        figures=(
            Figure(
                "Accuracy by confidence",
                _reliability(curves, calibrator.bins),
                "Share of right predictions over the confidence, before and after calibration",
                "Bins of equal mass; the area of a mark grows with its number of items.",
            ),
            Figure(
                "Accuracy by coverage",
                _coverage(curves),
                "Accuracy on the most confident share of the items, before and after calibration",
                "What the model gets right if it abstains from the least confident items.",
            ),
        ),
    )
    facts = (
        Fact("test items", f"{len(truth):,}"),
        Fact("classes", f"{next(iter(measured.values()))[0].shape[1]}"),
        Fact("accuracy", f"{curves['calibrated'][1].mean():.4f}", "with calibrated probabilities"),
    )
    lead = (
        f"{type(calibrator).__name__} fitted on the validation split, measured on the test split."
    )
    sections = (Section("measures", "Measures", tables=(table,)), diagrams)
    return Datasheet(title, lead, facts, (), sections, "Calibration")


def _reliability(curves: Mapping[str, tuple[Any, Any]], bins: int) -> str:
    def draw(axis: Any) -> None:
        axis.plot([0, 1], [0, 1], color=LINE, linewidth=1)
        for name, (confidence, correct) in curves.items():
            found = reliability(confidence, correct, bins, equal_mass=True)
            colour, marker = _LOOKS[name]
            sizes = 12 + 60 * found.count / found.count.max()
            axis.scatter(
                found.confidence, found.accuracy, s=sizes, c=colour, marker=marker, label=name,
                alpha=0.8, linewidths=0,
            )  # fmt: skip
        axis.set_xlim(0, 1.02)
        axis.set_ylim(0, 1.02)
        axis.set_xlabel("confidence")
        axis.set_ylabel("accuracy")
        legend(axis, 2)

    return svg(draw, 2, 2)


def _coverage(curves: Mapping[str, tuple[Any, Any]]) -> str:
    def draw(axis: Any) -> None:
        for name, (confidence, correct) in curves.items():
            colour, marker = _LOOKS[name]
            accuracy = accuracy_by_coverage(confidence, correct, COVERAGES)
            axis.plot(COVERAGES, accuracy, color=colour, marker=marker, markersize=4, label=name)
        axis.set_xlabel("share of items answered")
        axis.set_ylabel("accuracy on them")
        legend(axis, 2)

    return svg(draw, 2, 2)
