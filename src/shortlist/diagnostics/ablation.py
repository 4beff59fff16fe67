"""Overlap of a selection with that of its ablation baseline, the method without what it adds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shortlist.core import Selection


@dataclass(frozen=True)
class BaselineOverlap:
    """Overlap of two selections of the same budget, under the names that records use.

    Attributes:
        same: share of the documents that the baseline selects too.
        differ: number of documents that it does not select.
        of: number of distinct documents of the selection.
        settings: the settings of the baseline.
    """

    same: float
    differ: int
    of: int
    settings: Mapping[str, Any]

    def sentence(self, method: str, baseline: str) -> str:
        """Returns the overlap in words, for a log."""
        settings = ", ".join(f"{name}={value}" for name, value in self.settings.items())
        return (
            f"the correction of {method} changed {100 * self.differ / self.of:.1f} % of the picks "
            f"({self.differ:,} of {self.of:,}) against {baseline} at {settings}"
        )


def baseline_overlap(
    selection: Selection, baseline: Selection, settings: Mapping[str, Any]
) -> BaselineOverlap:
    """Returns the overlap of a selection with its baseline's, whose `settings` they are (without
    `_target_`).
    """
    ids = set(selection.ids)
    differ, of = len(ids - set(baseline.ids)), len(ids)
    shown = {name: value for name, value in settings.items() if name != "_target_"}
    return BaselineOverlap((of - differ) / of, differ, of, shown)
