"""What a method's correction changed: its picks beside those of the method without it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

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
    mine, theirs = (
        set(formats.load_selection(made.path / "selection.parquet").ids)
        for made in (selection, other)
    )
    differ = len(mine - theirs)
    settings = {name: value for name, value in ablation.changed.items() if name != "_target_"}
    cell.selected[f"against_{ablation.name}"] = {
        "same": (len(mine) - differ) / len(mine),
        "differ": differ,
        "of": len(mine),
        "settings": settings,
    }
    log.info(
        "the correction of %s changed %.1f %% of the picks (%s of %s) against %s at %s",
        type(cell.parts.selector).__name__,
        100 * differ / len(mine),
        f"{differ:,}",
        f"{len(mine):,}",
        ablation.name,
        ", ".join(f"{name}={value}" for name, value in settings.items()),
    )
