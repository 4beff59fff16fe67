"""The base of all trainers: optimiser, learning-rate schedule, training loop, seeds."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, cast

import pytorch_lightning as pl
import torch

from shortlist import progress
from shortlist.errors import InvalidInput
from shortlist.models import checkpoint
from shortlist.settings import Count, NaturalNumber, NonNegative, Positive, Precision, Range
from shortlist.trainers.groups import Group, Unfreezing, freeze, groups

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from shortlist.runtime import Runtime

log = logging.getLogger(__name__)


class TrainingModule(pl.LightningModule):
    """A model trained by AdamW with linear warm-up and decay of the learning rate.

    Attributes:
        version: raised when the same settings would train another model.
        steps_done: steps of an earlier, interrupted run that this one continues.
        objective: `mlm` or `clm` of a trainer that learns from texts alone; None of one that learns
            from labels.
        setting: the group of its settings, for messages.
    """

    version = 1
    setting = "trainer"
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
        freeze: str | Sequence[str] | None = None,
        unfreeze: Count | None = None,
        layer_decay: Annotated[float, Range(0, 1, above=True)] | None = None,
        head_learning_rate: Positive | None = None,
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
            freeze: weights that are not trained: `embeddings`, `all` (all but the head), or patterns
                of names; None trains all. Unlike `frozen_layers` for every architecture.
            unfreeze: number of layers by which training grows downwards with every epoch, after a
                first epoch that trains what follows the last layer only; None trains all at once.
            layer_decay: ratio of the learning rates of a layer and the next one (timm); None for one
                rate.
            head_learning_rate: peak rate of the head; None for `learning_rate`.

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
        self.freeze_names = [freeze] if isinstance(freeze, str) else list(freeze or [])
        if unfreeze is not None and "all" in self.freeze_names:
            raise InvalidInput(
                f"{self.setting}.freeze=all trains the head alone, so that {self.setting}.unfreeze="
                f"{unfreeze} has no layers to add; set one of both to null"
            )
        self.layers_an_epoch, self.layer_decay = unfreeze, layer_decay
        self.head_learning_rate = head_learning_rate
        self.groups: list[Group] = []
        self.unfreezing: Unfreezing | None = None
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

    def prepare(self) -> None:
        """Sets which weights of `self.model` are trained, and the groups of the optimiser.

        Raises:
            InvalidInput: the model does not have what the settings name, or nothing is left to train.
        """
        freeze(self.model, self.freeze_names, f"{self.setting}.freeze")
        self.groups = groups(
            self.model,
            self.learning_rate,
            self.weight_decay,
            self.layer_decay,
            self.head_learning_rate,
            self.setting,
        )
        self.unfreezing = None
        if self.layers_an_epoch is not None:
            self.unfreezing = Unfreezing.plan(
                self.model, self.layers_an_epoch, f"{self.setting}.unfreeze"
            )

    def optimiser(self) -> torch.optim.Optimizer:
        """Returns AdamW over the groups."""
        return torch.optim.AdamW(
            [
                {
                    "params": list(group.weights),
                    "lr": group.learning_rate,
                    "weight_decay": group.weight_decay,
                }
                for group in self.groups
            ],
            betas=self.betas,
            eps=self.eps,
            fused=True,
        )

    def epoch_of(self, batch_idx: int) -> int:
        """Returns the epoch of a batch, counted from 0."""
        return self.current_epoch

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Lets the weights of this epoch be trained."""
        if self.unfreezing is not None:
            self.unfreezing.enter(self.epoch_of(batch_idx))

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
