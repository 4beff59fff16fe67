"""Practices of training: schedules, losses, pulls toward the base, averages of weights."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch.nn import functional

from shortlist.models.checkpoint import is_transposed, multiplies

Schedule: TypeAlias = Literal["linear", "constant", "cosine", "one_cycle"]


def rate_factor(schedule: Schedule, step: int, steps: int, rise: int) -> float:
    """Returns the share of the peak learning rate at step `step` of `steps`, counted from 0.

    Formula:
        warm-up (step < rise): (step + 1) / (rise + 1); after it, with t from 0 to 1 over the rest:
        linear 1 - t, cosine (1 + cos(pi t)) / 2, constant 1. `one_cycle` is torch's `OneCycleLR`
        (cosine from 1/25 of the peak to the peak within `rise` steps, then down to 1e-4 of where it
        began), without its cycle of the moments' decay.

    Args:
        schedule: name of the schedule.
        step: the step.
        steps: number of steps.
        rise: number of steps of the warm-up.
    """
    if schedule == "one_cycle":
        first, last = 1 / 25, 1 / 25 / 1e4
        peak = max(rise - 1, 1)
        if step <= peak:
            return 1 + (first - 1) * (1 + math.cos(math.pi * step / peak)) / 2
        t = min(1.0, (step - peak) / max(1, steps - 1 - peak))
        return last + (1 - last) * (1 + math.cos(math.pi * t)) / 2
    if step < rise:
        return (step + 1) / (rise + 1)
    left = max(0.0, (steps - step) / max(1, steps - rise))
    if schedule == "constant":
        return 1.0
    return left if schedule == "linear" else (1 - math.cos(math.pi * left)) / 2


def balanced_weights(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Returns (classes,) weights n / (classes * count), 0 for a class without examples
    (scikit-learn's `balanced`).
    """
    counts = torch.bincount(labels, minlength=classes).double()
    return torch.where(counts > 0, len(labels) / (classes * counts.clamp_min(1)), 0.0).float()


def symmetric_divergence(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Returns the mean over a batch of half the KL divergences of two (b, c) logits both ways, in
    nats: R-Drop's term (Liang et al. 2021, equation 2).
    """
    p, q = first.log_softmax(-1), second.log_softmax(-1)
    return ((p.exp() - q.exp()) * (p - q)).sum(-1).mean() / 2


@torch.no_grad()
def add_pull(
    weights: Sequence[torch.Tensor], starts: Sequence[torch.Tensor], strength: float
) -> None:
    """Adds to the gradients that of L2-SP (Li et al. 2018): strength / 2 * |w - start|^2. Weights
    without gradient are passed over.
    """
    for weight, start in zip(weights, starts, strict=True):
        if weight.grad is not None:
            weight.grad.add_(weight - start, alpha=strength)


@torch.no_grad()
def update_average(
    averages: Sequence[torch.Tensor], weights: Sequence[torch.Tensor], decay: float, step: int
) -> None:
    """Moves averages toward the weights after step `step`, counted from 1.

    Formula:
        average = d * average + (1 - d) * weight with d = min(decay, (1 + step) / (10 + step))
    """
    own = min(decay, (1 + step) / (10 + step))
    for average, weight in zip(averages, weights, strict=True):
        average.lerp_(weight, 1 - own)


@torch.no_grad()
def add_to_average(
    averages: Sequence[torch.Tensor], weights: Sequence[torch.Tensor], count: int
) -> None:
    """Adds weights to equal averages over `count` earlier ones (`torch.optim.swa_utils`).

    Formula:
        average = average + (weight - average) / (count + 1)
    """
    for average, weight in zip(averages, weights, strict=True):
        average.add_((weight - average) / (count + 1))


class Averages:
    """Averages of trained weights, which take their place at the end: an exponential one, an equal
    one of the weights after some epochs, or none.
    """

    def __init__(self, ema: float | None = None, swa_epoch: int | None = None) -> None:
        """Stores the settings, as in `TrainingModule`; at most one is set."""
        self.ema, self.swa_epoch = ema, swa_epoch
        self.weights: dict[str, torch.Tensor] = {}
        self.values: dict[str, torch.Tensor] = {}

    def begin(self, weights: Mapping[str, torch.Tensor], saved: Mapping[str, torch.Tensor]) -> None:
        """Begins with the averages of an interrupted training; an exponential one without these
        with the weights.

        Args:
            weights: the trained weights by name.
            saved: the averages by name; empty at the start of a training.
        """
        self.weights = dict(weights)
        first = weights if self.ema is not None and not saved else saved
        self.values = {
            name: first[name].detach().to(weight.device, copy=True)
            for name, weight in weights.items()
            if first
        }

    def update(self, step: int, ended: int | None) -> None:
        """Moves the averages after a step.

        Args:
            step: the step, counted from 1.
            ended: the epoch, counted from 1, whose last step this is; None in the midst of one.
        """
        averages = list(self.values.values())
        weights = [self.weights[name].detach() for name in self.values]
        if self.ema is not None:
            update_average(averages, weights, self.ema, step)
        elif self.swa_epoch is not None and ended is not None:
            if ended == self.swa_epoch:
                self.values = {name: one.detach().clone() for name, one in self.weights.items()}
            elif ended > self.swa_epoch:
                add_to_average(averages, weights, ended - self.swa_epoch)

    def swap(self) -> None:
        """Exchanges the weights and their averages, where there are some."""
        for name, average in self.values.items():
            weight = self.weights[name]
            weight.data, average.data = average.data, weight.data


def mixout(weight: torch.Tensor, start: torch.Tensor, share: float) -> torch.Tensor:
    """Returns a weight with random entries of `start` in place of its own (Lee et al. 2020).

    Formula (their equation 5, with m = 1 with probability `share`, else 0):
        (m * start + (1 - m) * weight - share * start) / (1 - share), whose mean is the weight

    Args:
        weight: the weight.
        start: the weight at the start, of the same shape.
        share: probability of an entry of `start`; below 1. torch's global generator draws.
    """
    drawn = torch.empty_like(weight).bernoulli_(share).bool()
    return (torch.where(drawn, start, weight) - share * start) / (1 - share)


def trained_matrices(model: Any) -> list[tuple[Any, torch.Tensor]]:
    """Returns the modules of a model's base that multiply by a matrix and are trained, each with a
    copy of its weight.
    """
    return [
        (module, module.weight.detach().clone())
        for module in model.base_model.modules()
        if multiplies(module) and module.weight.requires_grad
    ]


@contextlib.contextmanager
def mixing(modules: Sequence[tuple[Any, torch.Tensor]], share: float) -> Generator[None]:
    """Returns a context in which modules in training mode multiply by `mixout` of their weight.

    Args:
        modules: modules and their weights at the start.
        share: as in `mixout`.
    """

    def mixed(module: Any, start: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        plain = module.forward

        def forward(inputs: torch.Tensor) -> torch.Tensor:
            if not module.training:
                return plain(inputs)
            weight = mixout(module.weight, start.to(module.weight.device), share)
            return functional.linear(
                inputs, weight.T if is_transposed(module) else weight, module.bias
            )

        return forward

    for module, start in modules:
        module.forward = mixed(module, start)
    try:
        yield
    finally:
        for module, _ in modules:
            del module.forward
