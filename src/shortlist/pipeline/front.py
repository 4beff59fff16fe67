"""The Pareto front of a cell with two targets: the stage `pareto` and `pareto.csv`."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.diagnostics.pareto import (
    MAX_SOLVES,
    MIN_SOLVES,
    READ,
    RECORDED,
    front_between_targets,
)
from shortlist.pipeline.scoring import aims_of
from shortlist.pipeline.selection import read_rated, score_keys
from shortlist.store import formats
from shortlist.store.atomic import write_text

if TYPE_CHECKING:
    from shortlist.pipeline.context import Context
    from shortlist.pipeline.scoring import Scores
    from shortlist.store.cache import Artifact


def trace_front(
    cell: Context, scores: Scores, selection: Artifact, pool: Artifact, leaked: Artifact
) -> None:
    """Adds the front between two targets; `pareto.csv` in the run's directory has every point."""
    aims, selector = aims_of(cell), cell.parts.selector
    if len(aims.weights) != 2:
        return

    def compute(directory: Path) -> dict[str, Any]:
        rated = read_rated(cell, selector, scores, pool, leaked, None)
        made = formats.load_selection(selection.path / "selection.parquet")
        row = {key: index for index, key in enumerate(rated.documents.ids)}
        front = front_between_targets(
            {name: one.values for name, one in rated.each.items()},
            aims.weights,
            np.array([row[key] for key in made.ids]),
            rated.documents.id_bits(),
        )
        with (directory / "pareto.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(front.rows()[0]))
            writer.writeheader()
            writer.writerows(front.rows())
        return front.facts()

    settings = {
        "solves": [READ, MIN_SOLVES, MAX_SOLVES], "shown": RECORDED, "weights": aims.weights,
        "selector": cell.config["selector"], "version": selector.version,
    }  # fmt: skip
    inputs = score_keys(scores) | {"leaks": leaked.key, "selection": selection.key}
    made = cell.stage("pareto", 2, settings, inputs, compute)
    cell.selected["pareto"] = dict(made.facts)
    write_text(
        cell.directory / "pareto.csv", (made.path / "pareto.csv").read_text(encoding="utf-8")
    )
