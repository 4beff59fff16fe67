"""The budget recommendation of a cell: the stage `advice` and `curve.csv`."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.diagnostics.budget import recommend_budget
from shortlist.pipeline.scoring import aims_of, methods, vectors
from shortlist.pipeline.selection import count_tokens, read_rated, score_keys
from shortlist.store import formats
from shortlist.store.atomic import write_text

if TYPE_CHECKING:
    from shortlist.pipeline.context import Context
    from shortlist.pipeline.scoring import Scores
    from shortlist.store.cache import Artifact

log = logging.getLogger(__name__)


def advise(
    cell: Context,
    scores: Scores,
    targets: Mapping[str, Artifact],
    pool: Artifact,
    leaked: Artifact,
) -> None:
    """Adds the recommended budget, for a method that compares dense vectors with a target."""
    settings, selector, aims = cell.parts.advice, cell.parts.selector, aims_of(cell)
    toward = aims.toward
    if settings is None or not selector.traits.target_aware or not toward:
        return
    method = next(iter(methods(cell).values()))
    alone = len(aims.weights) == 1
    seen = {
        name: vectors(cell, method, targets[name], pool, "target" if alone else name)
        for name in toward
    }
    candidates = next(iter(seen.values()))[0]
    apart = len({one.key for one, _ in seen.values()}) > 1
    points: Any = formats.load_features(candidates.path).values
    if apart or not isinstance(points, np.ndarray):
        log.info(
            "budget recommendation: none, %s",
            "each target has vectors of its own" if apart else "counts have no transport distance",
        )
        return
    budget = cell.parts.budget
    lengths = count_tokens(cell, pool) if budget.unit == "tokens" else None

    def compute(directory: Path) -> dict[str, Any]:
        rated = read_rated(cell, selector, scores, pool, leaked, lengths)
        made = recommend_budget(
            rated.total.values,
            rated.total.id_bits,
            points,
            [np.asarray(formats.load_features(seen[name][1].path).values) for name in toward],
            list(toward.values()),
            budget=budget.amount,
            tokens=rated.total.costs,
            potentials=selector.traits.potential,
            settings=settings,
        )
        with (directory / "curve.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(made.rows()[0]))
            writer.writeheader()
            writer.writerows(made.rows())
        return made.facts()

    decide = {
        **asdict(settings), "budget": budget.amount, "unit": budget.unit, "weights": aims.weights,
        "selector": cell.config["selector"], "version": selector.version,
    }  # fmt: skip
    inputs = score_keys(scores) | {"leaks": leaked.key, "pool": candidates.key}
    inputs |= {f"target.{name}": made[1].key for name, made in seen.items()}
    inputs |= {"tokens": lengths.key} if lengths else {}
    made = cell.stage("advice", 2, decide, inputs, compute)
    cell.selected["recommended"] = {**made.facts, "settings": asdict(settings)}
    write_text(cell.directory / "curve.csv", (made.path / "curve.csv").read_text(encoding="utf-8"))
    log.info("budget recommendation: %s", made.facts["reason"])
