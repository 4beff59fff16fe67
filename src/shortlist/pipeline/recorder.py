"""From what the stages of a cell noted to the fields of its record."""

from __future__ import annotations

import logging
from typing import Any

from shortlist.pipeline.stage import Notes

log = logging.getLogger(__name__)


def record_fields(notes: Notes, evaluation: Notes | None = None) -> dict[str, Any]:
    """Returns the fields of a finished record that its stages decide.

    A stage that several parts of the cell use is listed once, and equal warnings are kept once.

    Args:
        notes: what the stages of the cell noted, in order.
        evaluation: what the evaluation of the model noted; its metrics stand before the others.
    """
    evaluation = evaluation or Notes()
    whole = notes + evaluation
    stages = whole.distinct_stages
    reused = sum(stage.hit for stage in stages)
    log.info("cell: %d stages computed, %d reused", len(stages) - reused, reused)
    return {
        "status": "done",
        "metrics": evaluation.metrics + notes.metrics,
        "stages": tuple(stage.cost for stage in stages),
        "selection": dict(whole.selection),
        "inputs": dict(whole.inputs),
        "counts": dict(whole.counts),
        "warnings": tuple(dict.fromkeys(whole.warnings)),
        "item_scores": dict(whole.item_scores),
    }
