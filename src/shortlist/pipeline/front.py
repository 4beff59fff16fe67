"""What more of one target costs in the other: the Pareto front, where there are two."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.diagnostics.frontier import Corner, Front, pareto_front
from shortlist.pipeline.scoring import aims_of
from shortlist.pipeline.selection import read_rated, score_keys
from shortlist.selectors.blending import in_last_place
from shortlist.store import formats
from shortlist.store.atomic import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from shortlist.pipeline.context import Context
    from shortlist.pipeline.scoring import Scores
    from shortlist.store.cache import Artifact

NUMBERS = 2e8  # looked at in all the top-k selections of a front: a few seconds
FEWEST, MOST = 100, 4000  # of these selections, whatever the size of the pool
SHOWN = 33  # points in the record; the file has all


def trace_front(
    cell: Context, scores: Scores, selection: Artifact, pool: Artifact, leaked: Artifact
) -> None:
    """Adds the front between two targets, for selections of as many documents as the one made.

    `pareto.csv` in the run's directory has every corner; the record at most `SHOWN` of them, evenly
    along the list. A target to go away from counts with the opposite sign, so that more is better
    on both axes. The scores are those that the weighted sum adds up; the selection itself is the
    corner of its own weight, unless a floor, a draw or a budget of tokens made it another one.
    """
    aims, selector = aims_of(cell), cell.parts.selector
    if len(aims.weights) != 2:
        return
    names = list(aims.weights)
    sign = [-1.0 if weight < 0 else 1.0 for weight in aims.weights.values()]
    size = selection.facts["unique"]

    def compute(directory: Path) -> dict[str, Any]:
        rated = read_rated(cell, selector, scores, pool, leaked, None)
        first, second = (
            np.where(np.isneginf(one), -np.inf, way * in_last_place(one))
            for way, one in zip(sign, (rated.each[name].values for name in names), strict=True)
        )
        words = rated.documents.id_words()
        most = int(min(MOST, max(FEWEST, NUMBERS / len(words))))
        front = pareto_front(first, second, size, words, most)
        points = [_point(corner, front, size) for corner in front.corners]
        with (directory / "pareto.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(points[0]))
            writer.writeheader()
            writer.writerows(points)
        made = formats.load_selection(selection.path / "selection.parquet")
        row = {key: index for index, key in enumerate(rated.documents.ids)}
        rows = np.array(sorted({row[key] for key in made.ids}))
        shown = np.unique(np.linspace(0, len(points) - 1, min(SHOWN, len(points))).round())
        return {
            "targets": names,
            "away": [name for name, way in zip(names, sign, strict=True) if way < 0],
            "points": [points[int(at)] for at in shown],
            "of": len(points),
            "complete": front.complete,
            "chosen": {
                "lambda": abs(aims.weights[names[1]])
                / sum(abs(weight) for weight in aims.weights.values()),
                "value_a": float(first[rows].mean()),
                "value_b": float(second[rows].mean()),
            },
        }

    settings: Mapping[str, Any] = {
        "sign": sign, "size": size, "solves": [NUMBERS, FEWEST, MOST], "shown": SHOWN,
        "weights": aims.weights,
        "selector": cell.config["selector"], "version": selector.version,
    }  # fmt: skip
    inputs = score_keys(scores) | {"leaks": leaked.key, "selection": selection.key}
    made = cell.stage("pareto", 2, settings, inputs, compute)
    cell.selected["pareto"] = dict(made.facts)
    write_text(
        cell.directory / "pareto.csv", (made.path / "pareto.csv").read_text(encoding="utf-8")
    )


def _point(corner: Corner, front: Front, size: int) -> dict[str, float]:
    """Returns a corner as plain data: weights of the second target, mean scores of its documents,
    and the share of them that the corner of the first target alone does not have.
    """
    new = int((~np.isin(corner.rows, front.corners[0].rows, assume_unique=True)).sum())
    return {
        "lambda": (corner.start + corner.stop) / 2,
        "lambda_from": corner.start,
        "lambda_to": corner.stop,
        "value_a": corner.first / size,
        "value_b": corner.second / size,
        "changed": new / size,
    }
