"""How many documents? A budget with its reasons, and the curve behind it."""

from __future__ import annotations

import csv
import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.diagnostics.budgets import (
    calibrated_gradients,
    mixture_divergences,
    share,
    sign_change,
    spaced,
    stops_falling,
)
from shortlist.pipeline.scoring import aims_of, methods, vectors
from shortlist.pipeline.selection import count_tokens, read_rated, score_keys
from shortlist.progress import quiet
from shortlist.stats.sampling import order
from shortlist.store import formats
from shortlist.store.atomic import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

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
    """Adds the budget that the curve recommends, for a method that looks at targets by vectors.

    `curve.csv` in the run's directory is the curve.

    Two things are looked at along the ranking by score (without draws, floors or a limit of
    tokens): the calibrated gradient of the last document taken, where scores are gradients, and
    the divergence to the target of the pool mixed with the best so many documents, each of which
    counts as `advice.weight` of the pool's (`share`, `mixture_divergences`). While good documents
    are left, more of them bring the mixture nearer; then they bring the pool back. A share that is
    the same for all sizes was tried and left out: it asks which size is composed best, and that
    is a few dozen documents (10 of 3,900 by word embeddings).

    The recommended budget is the smallest at which the divergence has stopped falling, and no
    larger than where the gradient changes its sign. Samples by id stand for pool, targets and large
    selections: `advice` says how large they are.
    """
    settings, selector, aims = cell.parts.advice, cell.parts.selector, aims_of(cell)
    toward = aims.toward
    if settings is None or not selector.target_aware or not toward:
        return
    method = next(iter(methods(cell).values()))
    alone = len(aims.weights) == 1
    seen = {
        name: vectors(cell, method, targets[name], pool, "target" if alone else name)
        for name in toward
    }
    candidates = next(iter(seen.values()))[0]
    apart = len({one.key for one, _ in seen.values()}) > 1
    if apart or not isinstance(formats.load_features(candidates.path).values, np.ndarray):
        log.info(
            "how many: not said, %s",
            "each target has vectors of its own" if apart else "counts have no transport distance",
        )
        return
    budget = cell.parts.budget
    lengths = count_tokens(cell, pool) if budget.unit == "tokens" else None

    def compute(directory: Path) -> dict[str, Any]:
        rated = read_rated(cell, selector, scores, pool, leaked, lengths)
        values = rated.total.values
        ranking = order(values, rated.total.id_words)
        ranking = ranking[np.isfinite(values[ranking])]
        tokens = None if rated.total.costs is None else np.cumsum(rated.total.costs[ranking])
        n = len(ranking)
        own = budget.amount if tokens is None else int(np.searchsorted(tokens, budget.amount)) + 1
        sizes = spaced(n, settings.budgets, own)
        points: Any = formats.load_features(candidates.path).values

        def sample(rows: NDArray[np.int64]) -> NDArray[np.float32]:
            # The pool is in the order of ids, which are hashes: its first rows are a sample.
            return np.asarray(points[np.sort(rows)[: settings.documents]], dtype=np.float32)

        aimed = [_first(seen[name][1], settings.targets) for name in toward]
        masses = [
            np.full(len(one), weight / len(one))
            for one, weight in zip(aimed, toward.values(), strict=True)
        ]
        with quiet("shortlist.ot"):
            start, divergences = mixture_divergences(
                sample(ranking),
                [sample(ranking[:size]) for size in sizes],
                [share(size, n, settings.weight) for size in sizes],
                np.concatenate(aimed),
                np.concatenate(masses),
                relative_epsilon=settings.relative_epsilon,
                cost=settings.cost,  # pyright: ignore[reportArgumentType]
            )
        gradients = calibrated_gradients(values[ranking]) if selector.gradient else None
        curve = [
            {
                "budget": size,
                "share": share(size, n, settings.weight),
                **({} if tokens is None else {"tokens": int(tokens[size - 1])}),
                "gradient": None if gradients is None else float(gradients[size - 1]),
                "divergence": value,
            }
            for size, value in zip(sizes, divergences, strict=True)
        ]
        with (directory / "curve.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(curve[0]))
            writer.writeheader()
            writer.writerows(curve)
        lowest = sizes[stops_falling(divergences, start, settings.slack)]
        turn = None if gradients is None else sign_change(gradients)
        return {
            "budget": lowest if turn is None else max(1, min(lowest, turn)),
            "reason": _reason(lowest, turn, start, dict(zip(sizes, divergences, strict=True))),
            "divergence_stops_falling_at": lowest,
            "gradient_changes_sign_at": turn,
            "pool_divergence": start,
            "curve": curve,
        }

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
    log.info("how many: %s", made.facts["reason"])


def _first(vectors: Artifact, most: int) -> NDArray[np.float32]:
    values: Any = formats.load_features(vectors.path).values
    return np.asarray(values[:most], dtype=np.float32)


def _reason(lowest: int, turn: int | None, start: float, divergences: Mapping[int, float]) -> str:
    """Returns the recommendation and what it rests on, in one sentence."""
    if min(divergences.values()) >= start:
        why = (
            f"{lowest:,} documents: no selection brings the pool nearer to the target, this one "
            f"takes it the least far off (divergence {start:.4g} to {divergences[lowest]:.4g})"
        )
    else:
        why = (
            f"{lowest:,} documents: the divergence between target and pool mixed with the selection "
            f"falls from {start:.4g} to {divergences[lowest]:.4g} there and no further"
        )
    if turn is None:
        return why
    if turn < lowest:
        return (
            f"{max(1, turn):,} documents: the calibrated gradient changes its sign there, although "
            f"the divergence falls up to {lowest:,}"
        )
    return f"{why}; the calibrated gradient stays negative up to {turn:,}"
