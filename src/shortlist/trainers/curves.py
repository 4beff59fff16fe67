"""Losses of a training by step and epoch, kept beside the model that it wrote."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from shortlist.store.atomic import write_text

CURVE = "curve.json"  # in a stage's directory
DIGITS = 6  # significant ones of each number


@dataclass(frozen=True)
class Curve:
    """Losses of a training, and what was measured on validation after each epoch.

    Attributes:
        losses: training loss of each step.
        steps_an_epoch: number of steps of an epoch.
        validation_losses: loss on the validation split after each epoch; None where nothing
            of it is known to the model. Empty without validation.
        scores: validation metric after each epoch, larger is better.
        epoch: the epoch whose weights were kept, from 1; None for the last one.
    """

    losses: Sequence[float]
    steps_an_epoch: int
    validation_losses: Sequence[float | None] = ()
    scores: Sequence[float] = ()
    epoch: int | None = None

    def write(self, directory: Path) -> None:
        """Writes the curve into a stage's directory."""
        rounded = {
            name: [None if one is None else float(f"{one:.{DIGITS}g}") for one in value]
            if isinstance(value, list | tuple)
            else value
            for name, value in asdict(self).items()
        }
        write_text(directory / CURVE, json.dumps(rounded) + "\n")

    @classmethod
    def read(cls, directory: Path) -> Curve | None:
        """Returns the curve in a stage's directory; None where an earlier version wrote none."""
        path = directory / CURVE
        return cls(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None

    def means(self, points: int) -> list[tuple[float, float]]:
        """Returns (last step, mean training loss) of at most `points` equal stretches of the steps."""
        width = max(1, math.ceil(len(self.losses) / points))
        return [
            (min(start + width, len(self.losses)), sum(part) / len(part))
            for start in range(0, len(self.losses), width)
            if (part := self.losses[start : start + width])
        ]

    @property
    def epochs(self) -> list[int]:
        """The last step of each validated epoch."""
        return [self.steps_an_epoch * (place + 1) for place in range(len(self.scores))]
