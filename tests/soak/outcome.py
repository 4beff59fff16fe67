"""What an attack found, as counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """The counts of one attack.

    Attributes:
        name: the attack.
        tried: inputs, kills, damages or configurations that were tried.
        located: of these, refused by one line that names the input and what to do.
        quarantined: rows or artifacts that were set aside or computed again, and counted.
        lost: results that are wrong, missing or left behind without a word; must be 0.
        tracebacks: tries that ended in a raw exception or by a signal; must be 0.
        notes: one line each on what was lost, where, and how to repeat it; or why it was skipped.
    """

    name: str
    tried: int
    located: int = 0
    quarantined: int = 0
    lost: int = 0
    tracebacks: int = 0
    notes: tuple[str, ...] = ()

    @property
    def held(self) -> bool:
        """Whether nothing was lost and nothing ended in a traceback."""
        return not (self.lost or self.tracebacks)
