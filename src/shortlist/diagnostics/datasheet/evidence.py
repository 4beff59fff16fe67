"""What the page of a selection is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from shortlist.core import Corpus, Selection
    from shortlist.diagnostics.explanations import CoverageSummary
    from shortlist.diagnostics.projection import SelectionMap

Line = Mapping[str, Any]


@dataclass(frozen=True)
class Evidence:
    """One selection, the pool it was chosen from, and the reasons.

    Attributes:
        documents: the pool.
        chosen: the selection.
        rows: (k,) its rows in the pool.
        scores: (n,) the method's scores of the pool, before any draw.
        stochastic: whether a draw decided.
        excluded: ids that could not be chosen.
        labels: (n,) cluster of near copies of each document.
        not_compared: candidate pairs of near copies that were left unconfirmed.
        picks: a line a pick, of `reasons.jsonl`.
        targets: a line a target document, of `targets.jsonl`; of several targets it says whose in
            `of`.
        service: sums over these, by target.
        drawn: the map, where there are vectors.
    """

    documents: Corpus
    chosen: Selection
    rows: NDArray[np.int64]
    scores: NDArray[np.float64]
    stochastic: bool
    excluded: frozenset[str]
    labels: NDArray[np.int64]
    not_compared: int
    picks: Sequence[Line]
    targets: Sequence[Line]
    service: Mapping[str, CoverageSummary]
    drawn: SelectionMap | None
