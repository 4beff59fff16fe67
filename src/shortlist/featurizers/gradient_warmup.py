"""Gradient warm-up: a few epochs over a model's last layers, with a checkpoint after each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from shortlist import progress
from shortlist.core import Corpus
from shortlist.errors import InvalidInput
from shortlist.models.checkpoint import gradients_of, is_transposed
from shortlist.models.likelihood import LanguageModel
from shortlist.models.tokens import Buckets
from shortlist.runtime import Runtime
from shortlist.settings import Count, Positive, Seed

BETAS, EPSILON = (0.9, 0.999), 1e-8  # AdamW's own

Step = Literal["adamw", "released"]


@dataclass(frozen=True)
class GradientWarmup:
    """Settings of the warm-up (LESS: four epochs on 5 % of the pool, linear decay).

    Attributes:
        documents: how many documents of the pool, first by id: a uniform sample.
        epochs: passes over them, a checkpoint after each.
        learning_rate: of AdamW, falling to 0 linearly.
        batch_size: documents a step.
        seed: decides the order.
    """

    documents: Count
    epochs: Count
    learning_rate: Positive
    batch_size: Count
    seed: Seed


@dataclass(frozen=True)
class Checkpoint:
    """Weights at the end of an epoch.

    Attributes:
        weights: the trained matrices by module name; empty for a model as it is.
        first: AdamW's running means of the gradient, (out, in) each, without bias correction.
        second: those of its square.
        steps: how many steps AdamW had taken.
        rate: mean learning rate of the epoch.
    """

    weights: dict[str, torch.Tensor]
    first: dict[str, torch.Tensor]
    second: dict[str, torch.Tensor]
    steps: int
    rate: float

    def load_into(self, modules: dict[str, Any]) -> None:
        """Puts the weights into the modules."""
        with torch.no_grad():
            for name, weight in self.weights.items():
                modules[name].weight.copy_(weight)

    def step(self, name: str, gradients: torch.Tensor, kind: Step = "adamw") -> torch.Tensor:
        """Returns the step, over minus the rate, that AdamW would take next on each gradient alone.

        `adamw`: m / (sqrt(v) + eps), m and v the bias-corrected running means after it (LESS,
        section 3.2: Gamma). `released`: m / sqrt(v + eps) of the means as they are, as the released
        code computes it (princeton-nlp/LESS, `obtain_gradients_with_adam`).

        Args:
            name: of the module.
            gradients: (b, out, in) in its weights.
            kind: which of the two.
        """
        mean, square = self.first[name].to(gradients), self.second[name].to(gradients)
        (one, two), steps = BETAS, self.steps + 1
        m, v = torch.lerp(gradients, mean, one), torch.lerp(gradients.square(), square, two)
        if kind == "released":
            return m / (v + EPSILON).sqrt()
        return m / (1 - one**steps) / ((v / (1 - two**steps)).sqrt() + EPSILON)


def train_checkpoints(
    model: LanguageModel,
    modules: dict[str, Any],
    pool: Corpus,
    settings: GradientWarmup,
    directory: Path,
    runtime: Runtime,
) -> dict[str, Any]:
    """Returns facts of the training; a checkpoint an epoch is written into `directory`.

    Only the modules' weights are trained, without dropout. The predicted tokens are the same in
    every epoch (`models.likelihood`).

    Raises:
        InvalidInput: no document of the sample has a token to predict.
    """
    sample = pool.take(np.arange(min(settings.documents, len(pool))))
    predictions = model.predictions(sample)
    some = np.flatnonzero(predictions.counts)
    if len(some) == 0:
        raise InvalidInput(
            f"no token to predict in the {len(sample)} documents of featurizer.warmup; set more "
            "documents"
        )
    generator = torch.Generator().manual_seed(settings.seed)
    order = Buckets(predictions.tokens.lengths[some], settings.batch_size, generator)
    steps, rates, losses = settings.epochs * len(order), [], []
    weights, rate = [module.weight for module in modules.values()], settings.learning_rate
    optimiser = torch.optim.AdamW(weights, lr=rate, betas=BETAS, eps=EPSILON, weight_decay=0.0)
    with (
        gradients_of(model.model, modules),
        progress.bar("warm-up for gradients", steps, "steps", show=runtime.progress) as report,
    ):
        for epoch in range(settings.epochs):
            for step, rows in enumerate(order, start=epoch * len(order)):
                rate = settings.learning_rate * (1 - step / steps)
                for group in optimiser.param_groups:
                    group["lr"] = rate
                loss = model.losses(predictions, some[rows])[0].mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                rates.append(rate)
                losses.append(loss.item())
                report(1)
            _save(directory, epoch, modules, optimiser, float(np.mean(rates[-len(order) :])))
    return {
        "warmup_documents": len(sample),
        "warmup_truncated": predictions.tokens.truncated,
        "first_loss": losses[0],
        "last_loss": losses[-1],
    }


def _save(
    directory: Path, epoch: int, modules: dict[str, Any], optimiser: torch.optim.AdamW, rate: float
) -> None:
    tensors: dict[str, torch.Tensor] = {}
    steps = 0
    for name, module in modules.items():
        state = optimiser.state[module.weight]
        steps = int(state["step"])
        tensors[f"weight {name}"] = module.weight.detach().clone().contiguous()
        for kind, moment in (("first", state["exp_avg"]), ("second", state["exp_avg_sq"])):
            tensors[f"{kind} {name}"] = (moment.T if is_transposed(module) else moment).contiguous()
    tensors["rate and steps"] = torch.tensor([rate, steps], dtype=torch.float64)
    save_file(tensors, directory / f"epoch-{epoch:03d}.safetensors")


def load_checkpoints(directory: Path) -> list[Checkpoint]:
    """Returns the checkpoints in `directory`, first epoch first."""
    checkpoints: list[Checkpoint] = []
    for path in sorted(directory.glob("epoch-*.safetensors")):
        tensors = load_file(path)
        rate, steps = tensors.pop("rate and steps").tolist()
        parts: dict[str, dict[str, torch.Tensor]] = {"weight": {}, "first": {}, "second": {}}
        for key, value in tensors.items():
            kind, name = key.split(" ", 1)
            parts[kind][name] = value
        checkpoints.append(
            Checkpoint(parts["weight"], parts["first"], parts["second"], int(steps), rate)
        )
    return checkpoints
