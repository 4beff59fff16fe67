"""Watches the losses of a training: progress, and an end with the reason where it has failed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl

from shortlist import progress
from shortlist.errors import InvalidInput
from shortlist.runtime import BatchShare

WATCHED_STEPS = 20  # whose mean loss is compared with the lowest one before


class LossMonitor(pl.Callback):
    """Keeps the losses, moves the progress bar and stops at the first loss that is not finite, or
    where the losses diverge.
    """

    def __init__(self, report: progress.Report, what: str, losses: Sequence[float]) -> None:
        """Stores the bar and the training's name; `losses` are those of the run that it continues."""
        self.report, self.what, self.share = report, what, BatchShare.of_process()
        ends = range(WATCHED_STEPS, len(losses) + 1)
        self.lowest = min((_mean(losses[:end]) for end in ends), default=math.inf)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Appends the loss of the step.

        Raises:
            InvalidInput: it is not finite, or the losses diverge.
        """
        loss = float(self.share.mean(outputs["loss"]))
        pl_module.losses.append(loss)
        at = f"at step {len(pl_module.losses)}"
        lower = f"lower the learning rate (now {pl_module.learning_rate:g})"
        if not math.isfinite(loss):
            found = "not a number" if loss != loss else "infinite"
            exact = "" if trainer.precision == "32-true" else " or set precision=32"
            raise InvalidInput(f"{self.what}: the loss is {found} {at}; {lower}{exact}")
        if pl_module.divergence is not None and len(pl_module.losses) >= WATCHED_STEPS:
            mean = _mean(pl_module.losses)
            self.lowest = min(self.lowest, mean)
            if mean > pl_module.divergence * self.lowest:
                raise InvalidInput(
                    f"{self.what}: the loss diverges, its mean over {WATCHED_STEPS} steps was "
                    f"{self.lowest:.3g} and is {mean:.3g} {at}, more than divergence="
                    f"{pl_module.divergence:g} times as large; {lower} or set divergence=null"
                )
        self.report(1)


def _mean(losses: Sequence[float]) -> float:
    """Returns the mean of the last `WATCHED_STEPS` losses."""
    return sum(losses[-WATCHED_STEPS:]) / WATCHED_STEPS
