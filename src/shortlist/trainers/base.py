"""The base of all trainers: optimiser, learning-rate schedule, training loop, seeds."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, cast

import pytorch_lightning as pl
import torch

from shortlist import progress
from shortlist.errors import InvalidInput
from shortlist.models import checkpoint
from shortlist.settings import Count, NaturalNumber, NonNegative, Positive, Precision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.utils.data import DataLoader

    from shortlist.runtime import Runtime


class TrainingModule(pl.LightningModule):
    """A model trained by AdamW with linear warm-up and decay of the learning rate.

    Attributes:
        version: raised when the same settings would train another model.
        steps_done: steps of an earlier, interrupted run that this one continues.
        objective: `mlm` or `clm` of a trainer that learns from texts alone; None of one that learns
            from labels.
    """

    version = 1
    steps_done = 0
    objective: str | None = None

    def __init__(
        self,
        epochs: Count,
        learning_rate: Positive,
        batch_size: Count,
        max_length: int,
        weight_decay: NonNegative,
        warmup_fraction: float,
        clip: Positive,
        precision: Precision,
        betas: Sequence[float],
        eps: Positive,
        frozen_layers: NaturalNumber = 0,
    ) -> None:
        """Stores the settings; the model is loaded by `train_on`.

        Args:
            epochs: passes over the documents.
            learning_rate: peak rate.
            batch_size: documents a step.
            max_length: tokens read of a document; truncated documents are counted.
            weight_decay: decay of the weight matrices (not of biases and layer norms).
            warmup_fraction: share of the steps over which the rate rises from 0; it then falls to 0
                linearly.
            clip: largest norm of the gradient.
            precision: `32`, `bf16` (mixed) or `auto`.
            betas: decay rates of AdamW's two moments.
            eps: added by AdamW to the root of the second moment.
            frozen_layers: number of an encoder's first layers that, with its embeddings, stay as they
                are; 0 trains all.

        Raises:
            InvalidInput: a setting is out of range.
        """
        super().__init__()
        for name, value, low in (
            ("epochs", epochs, 1),
            ("batch_size", batch_size, 1),
            ("max_length", max_length, 3),  # two special tokens and a word
            ("frozen_layers", frozen_layers, 0),
        ):
            if value < low:
                raise InvalidInput(f"a trainer's {name} must be at least {low}, found {value}")
        if learning_rate <= 0 or clip <= 0 or not 0 <= warmup_fraction < 1:
            raise InvalidInput(
                "a trainer needs learning_rate > 0, clip > 0 and 0 <= warmup_fraction < 1, found "
                f"{learning_rate:g}, {clip:g}, {warmup_fraction:g}"
            )
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas) or eps <= 0:
            raise InvalidInput(
                "a trainer needs betas of two numbers from 0 to below 1 and eps > 0, found "
                f"{list(betas)} and {eps:g}"
            )
        self.epochs, self.learning_rate, self.batch_size = epochs, learning_rate, batch_size
        self.max_length, self.weight_decay = max_length, weight_decay
        self.warmup_fraction = warmup_fraction
        self.clip, self.precision_setting = clip, precision
        self.betas, self.eps = cast("tuple[float, float]", tuple(betas)), eps
        self.frozen_layers = frozen_layers
        self.model: Any = None
        self.losses: list[float] = []

    def identity(self, runtime: Runtime) -> dict[str, str]:
        """Returns the resolved precision, which enters the key."""
        return {"precision": checkpoint.precision(self.precision_setting, runtime.device)}

    def configure_optimizers(self) -> Any:
        """Returns the optimiser and its schedule, stepped once a batch."""
        optimizer = self.optimiser()
        steps = self.steps_done + int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: self.rate_factor(self.steps_done + step, steps)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def optimiser(self) -> torch.optim.Optimizer:
        """Returns AdamW over the weights that require gradients."""
        decayed = [p for p in self.model.parameters() if p.requires_grad and p.ndim >= 2]
        plain = [p for p in self.model.parameters() if p.requires_grad and p.ndim < 2]
        return torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": self.weight_decay},
                {"params": plain, "weight_decay": 0.0},
            ],
            lr=self.learning_rate,
            betas=self.betas,
            eps=self.eps,
            fused=True,
        )

    def rate_factor(self, step: int, steps: int) -> float:
        """Returns the share of the peak learning rate at step `step` of `steps`, counted from 0."""
        rise = int(self.warmup_fraction * steps)
        if step < rise:
            return (step + 1) / (rise + 1)
        return max(0.0, (steps - step) / max(1, steps - rise))

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Clips the gradient, which Lightning refuses to do for a fused optimiser (needlessly: no
        gradient scaler is used).
        """
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)

    def run(
        self,
        loader: DataLoader[Any],
        what: str,
        runtime: Runtime,
        *callbacks: pl.Callback,
    ) -> None:
        """Trains `self.model` over the loader's batches, `epochs` times.

        Args:
            loader: batches of `training_step`.
            what: name of the training in the progress bar and in messages.
            runtime: the machine.
            callbacks: further callbacks of Lightning's trainer.

        Raises:
            InvalidInput: the loss is NaN.
        """
        steps = self.epochs * len(loader)
        mixed = checkpoint.precision(self.precision_setting, runtime.device) == "bf16"
        self.losses = []
        with progress.bar(what, steps, "steps", show=runtime.progress) as report:
            trainer = runtime.trainer(
                max_epochs=self.epochs,
                precision="bf16-mixed" if mixed else "32-true",
                callbacks=[_LossMonitor(report, what), *callbacks],
            )
            self.model.train()
            trainer.fit(self, loader)
        self.model.eval()


class _LossMonitor(pl.Callback):
    """Keeps the losses, moves the progress bar and stops at the first loss that is NaN."""

    def __init__(self, report: progress.Report, what: str) -> None:
        self.report, self.what = report, what

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = float(outputs["loss"])
        pl_module.losses.append(loss)
        if loss != loss:
            raise InvalidInput(
                f"{self.what}: the loss is not a number at step {len(pl_module.losses)}; "
                f"lower the learning rate (now {pl_module.learning_rate:g}) or set precision=32"
            )
        self.report(1)


def seeded(seed: int, *names: str) -> torch.Generator:
    """Returns a generator whose stream is a function of the seed and of the names of its use."""
    material = ":".join([str(seed), *names]).encode()
    return torch.Generator().manual_seed(
        int.from_bytes(hashlib.sha256(material).digest()[:8], "little") >> 1
    )
