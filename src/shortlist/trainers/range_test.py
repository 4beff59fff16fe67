"""The learning-rate range test (Smith 2017): a short training at rising rates, undone afterwards."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from shortlist.errors import InvalidInput

STEPS = 100
LOWEST, HIGHEST = 1e-6, 1.0
SMOOTHING = 0.9  # decay of the average of losses
ENDS_AT = 4.0  # times the lowest smoothed loss
SMALLER = 10.0  # the chosen rate is this many times below that of the lowest loss


@dataclass(frozen=True)
class RangeTest:
    """Result of a range test.

    Attributes:
        rates: learning rate of each step.
        losses: smoothed loss of each step.
        chosen: the rate to train with, two significant digits.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    chosen: float


def choose(losses: Sequence[float], setting: str) -> RangeTest:
    """Returns the result for the losses of steps at `rate(step)`.

    Formula:
        smoothed(k) = sum_i 0.9^(k - i) loss(i) / sum_i 0.9^(k - i) over i from 0 to k; the chosen rate
        is that of the lowest smoothed loss divided by 10.

    Raises:
        InvalidInput: no loss is finite, or the first one is never undercut.
    """
    smoothed, total, weight = list[float](), 0.0, 0.0
    for loss in losses:
        total, weight = SMOOTHING * total + loss, SMOOTHING * weight + 1
        smoothed.append(total / weight)
    best = min(range(len(smoothed)), key=smoothed.__getitem__, default=0)
    if best == 0:
        raise InvalidInput(
            f"{setting}=find found no rate from {LOWEST:g} to {HIGHEST:g} at which the loss falls; "
            f"set {setting} to a number"
        )
    chosen = float(f"{rate(best) / SMALLER:.1e}")
    return RangeTest(tuple(map(rate, range(len(smoothed)))), tuple(smoothed), chosen)


def rate(step: int) -> float:
    """Returns the learning rate of a step, counted from 0: geometric from the lowest to the highest."""
    return LOWEST * (HIGHEST / LOWEST) ** (step / (STEPS - 1))


def losses_at_rising_rates(
    batches: Callable[[], Iterable[Any]],
    loss_of: Callable[[Any], torch.Tensor],
    optimizer: torch.optim.Optimizer,
    before_step: Callable[[], None],
) -> list[float]:
    """Returns the losses of at most `STEPS` steps, each at `rate(step)` times the groups' own rates,
    up to one that is not finite (left out) or exceeds 4 times the lowest. Weights and torch's random
    generators are restored.

    Args:
        batches: returns the batches of an epoch; called again where they end.
        loss_of: the loss of a batch.
        optimizer: an optimiser of its own.
        before_step: called between the gradient and the step.
    """
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    own = [group["lr"] for group in optimizer.param_groups]
    kept = [weight.detach().clone() for weight in weights]
    losses: list[float] = []
    with torch.random.fork_rng():
        endless = itertools.chain.from_iterable(iter(batches, None))
        for step, batch in enumerate(itertools.islice(endless, STEPS)):
            for group, scale in zip(optimizer.param_groups, own, strict=True):
                group["lr"] = scale * rate(step)
            optimizer.zero_grad()
            loss = loss_of(batch)
            loss.backward()
            value = float(loss.detach())
            if not math.isfinite(value):
                break
            losses.append(value)
            if value > ENDS_AT * min(losses):
                break
            before_step()
            optimizer.step()
    optimizer.zero_grad()
    with torch.no_grad():
        for weight, start in zip(weights, kept, strict=True):
            weight.copy_(start)
    return losses
