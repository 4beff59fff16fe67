"""The overlap of a selection with its baseline's."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from shortlist.core import Budget, Selection
from shortlist.diagnostics.ablation import baseline_overlap


def selection(*ids: str) -> Selection:
    return Selection(ids, np.zeros(len(ids)), "pool", Budget(len(ids)), "")


def test_the_overlap_counts_distinct_documents_that_the_baseline_does_not_select() -> None:
    changed = {"_target_": "module.Class", "cost": "cosine"}
    made = baseline_overlap(selection("a", "b", "c", "d"), selection("d", "e", "b", "f"), changed)
    assert asdict(made) == {"same": 0.5, "differ": 2, "of": 4, "settings": {"cost": "cosine"}}
    assert baseline_overlap(selection("a", "a", "b"), selection("a"), {}).same == 0.5
    assert "50.0 % of the picks (2 of 4) against soft_knn at cost=cosine" in made.sentence(
        "GOTD", "soft_knn"
    )
