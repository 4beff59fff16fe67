"""What a training would take: its parameter groups, steps, memory and time, measured on some
batches.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch

from shortlist.models.likelihood import IGNORED
from shortlist.trainers.groups import trained_within

if TYPE_CHECKING:
    from collections.abc import Generator

    from shortlist.runtime import Runtime

BATCHES = 4  # that are run, the first of which is not timed


@dataclass(frozen=True)
class TrainingPlan:
    """A training before it is run.

    Attributes:
        what: its name.
        groups: the groups of its weights in words, and when a gradual unfreezing reaches them.
        parameters: number of parameters of the model.
        trained: number of those that are trained by the last step.
        steps: number of steps.
        rise: number of those of the warm-up of the rate.
        tokens: tokens an epoch.
        epochs: passes.
        seconds: expected time of all steps, without validation.
        state_bytes: weights, and gradients and moments of those that are trained, in float32.
        activation_bytes: largest memory that a step of the measured batches keeps for its
            gradients.
    """

    what: str
    groups: tuple[str, ...]
    parameters: int
    trained: int
    steps: int
    rise: int
    tokens: int
    epochs: int
    seconds: float
    state_bytes: int
    activation_bytes: int

    def lines(self) -> Generator[str]:
        """Yields the plan as text."""
        frozen = 1 - self.trained / self.parameters
        yield f"{self.trained:,} of {self.parameters:,} parameters trained, {frozen:.1%} frozen"
        yield from self.groups
        yield (
            f"{self.tokens:,} tokens an epoch, {self.epochs:,} epochs, {self.steps:,} steps "
            f"({self.rise:,} of warm-up)"
        )
        yield (
            f"memory: {self.state_bytes / 2**20:,.0f} MiB for weights, gradients and moments, "
            f"{self.activation_bytes / 2**20:,.0f} MiB for activations"
        )
        minutes = f"{self.seconds / 60:,.1f} minutes"
        time = f"{self.seconds:.2g} seconds" if self.seconds < 60 else minutes
        yield f"time: {time}, without validation"


class Planned(Exception):
    """Ends a training before its first step; its `plan` says what it would have taken."""

    def __init__(self, plan: TrainingPlan) -> None:
        """Stores the plan."""
        super().__init__(plan.what)
        self.plan = plan


def plan(module: Any, loader: Any, what: str, runtime: Runtime) -> TrainingPlan:
    """Returns the plan of a prepared training, after some steps on its first batches.

    A gradual unfreezing is measured with the weights that it ends with.

    Args:
        module: a `TrainingModule` whose model and groups are prepared.
        loader: batches of `training_step`.
        what: name of the training.
        runtime: the machine.

    Raises:
        InvalidInput: the warm-up is no shorter than the training.
    """
    steps = module.epochs * len(loader)
    rise = module.rise(steps)
    module.to(runtime.device).train()
    if module.unfreezing is not None:
        module.unfreezing.enter(module.unfreezing.epoch_of(steps - 1, module.epochs - 1))
    optimizer = module.optimiser()
    seconds, tokens, most = 0.0, 0, 0
    for number, batch in enumerate(islice(loader, BATCHES)):
        kept: dict[int, int] = {}

        def keep(tensor: torch.Tensor, kept: dict[int, int] = kept) -> torch.Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        own = {weight.untyped_storage().data_ptr() for weight in module.model.parameters()}
        begin = time.perf_counter()
        with (
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
            module.autocast(runtime),
        ):
            loss = module.training_step(
                module.transfer_batch_to_device(batch, runtime.device, 0), number
            )
        loss.backward()
        module.clip_gradient()
        optimizer.step()
        optimizer.zero_grad()
        if runtime.device.type == "cuda":
            torch.cuda.synchronize()
        took = time.perf_counter() - begin
        most = max(most, sum(size for place, size in kept.items() if place not in own))
        if number > 0 or len(loader) == 1:
            seconds, tokens = seconds + took, tokens + _tokens(batch)
    total = module.parameters_in_all
    trained, lines = trained_within(module.groups, module.unfreezing, steps, module.epochs)
    return TrainingPlan(
        what=what,
        groups=tuple(lines),
        parameters=total,
        trained=trained,
        steps=steps,
        rise=rise,
        tokens=module.tokens,
        epochs=module.epochs,
        seconds=seconds / max(tokens, 1) * module.tokens * module.epochs,
        state_bytes=4 * total + 12 * trained,
        activation_bytes=most,
    )


def _tokens(batch: Any) -> int:
    """Returns the number of a batch's tokens, without padding."""
    if isinstance(batch, torch.Tensor):
        return int((batch != IGNORED).sum())
    return int(batch["attention_mask"].sum())
