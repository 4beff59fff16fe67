"""Overlap of a selection with that of its ablation baseline, the method without what it adds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shortlist.core import Selection


@dataclass(frozen=True)
class BaselineOverlap:
    """How many documents of a selection its baseline selects too, at the same budget.

    Attributes:
        differ: number of distinct documents that the baseline does not select.
        of: number of distinct documents of the selection.
        settings: the settings of the baseline.
    """

    differ: int
    of: int
    settings: Mapping[str, Any]

    @property
    def same(self) -> float:
        """Share of the documents that both select."""
        return (self.of - self.differ) / self.of

    def facts(self) -> dict[str, Any]:
        """Returns the overlap as plain data for a record."""
        return {
            "same": self.same,
            "differ": self.differ,
            "of": self.of,
            "settings": dict(self.settings),
        }

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
    """Returns the overlap of a selection with its baseline's.

    Args:
        selection: the selection.
        baseline: the selection of the ablation baseline.
        settings: the settings of the baseline; its `_target_` is left out.
    """
    ids = set(selection.ids)
    plain = {name: value for name, value in settings.items() if name != "_target_"}
    return BaselineOverlap(len(ids - set(baseline.ids)), len(ids), plain)
