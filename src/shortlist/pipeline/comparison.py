"""The overlap of a cell's selection with that of its ablation baseline."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from shortlist.diagnostics.ablation import baseline_overlap
from shortlist.pipeline.scoring import ablated, rate
from shortlist.pipeline.selection import choose
from shortlist.store import formats

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shortlist.pipeline.context import Context
    from shortlist.store.cache import Artifact

log = logging.getLogger(__name__)


def compare_picks(
    cell: Context,
    selection: Artifact,
    targets: Mapping[str, Artifact],
    pool: Artifact,
    leaked: Artifact,
) -> None:
    """Adds how many picks the ablation shares at the same budget, for the same targets and floors.

    The ablation is fitted, scored and selected under its own keys: a cell of that method at equal
    settings is the same work.
    """
    ablation = cell.parts.ablation
    if ablation is None:
        return
    scores = rate(cell, targets, pool, ablated(cell))
    other = choose(cell, ablation.selector, ablation.settings, scores, pool, leaked)
    first, second = (
        formats.load_selection(made.path / "selection.parquet") for made in (selection, other)
    )
    overlap = baseline_overlap(first, second, ablation.changed)
    cell.selected[f"against_{ablation.name}"] = overlap.facts()
    log.info("%s", overlap.sentence(type(cell.parts.selector).__name__, ablation.name))
