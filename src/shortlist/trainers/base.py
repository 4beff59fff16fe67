"""The base of all trainers: optimiser, learning-rate schedule, training loop."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from shortlist import progress
from shortlist.errors import InvalidInput
from shortlist.models import checkpoint
from shortlist.models.frozen import FrozenLayers
from shortlist.runtime import BatchShare
from shortlist.settings import Count, NaturalNumber, NonNegative, Positive, Precision, Range
from shortlist.store.atomic import write_text
from shortlist.trainers import sharding
from shortlist.trainers.adapters import Adapter, memory_saved
from shortlist.trainers.groups import Group, Unfreezing, freeze, groups, trained_within
from shortlist.trainers.loss_monitor import LossMonitor
from shortlist.trainers.planning import Planned, plan
from shortlist.trainers.practice import (
    Averages,
    Schedule,
    add_pull,
    mixing,
    rate_factor,
    trained_matrices,
)
from shortlist.trainers.range_test import choose, losses_at_rising_rates
from shortlist.trainers.resuming import LaterBatches, State

if TYPE_CHECKING:
    from pathlib import Path

    from shortlist.runtime import Runtime

log = logging.getLogger(__name__)

# Facts of a training by a parameter-efficient method.
EFFICIENCY = (
    "parameters", "trained_parameters", "trained_parts_per_million", "memory_saved_bytes",
)  # fmt: skip
KINDS = {  # of transformers, by objective
    "mlm": "AutoModelForMaskedLM",
    "clm": "AutoModelForCausalLM",
    None: "AutoModelForSequenceClassification",
}
RANGE_TEST = "range_test.json"  # rates, smoothed losses and the chosen rate, in a stage's directory
FOUND = ("range_test_steps", "learning_rate_parts_per_billion")  # facts of learning_rate=find


class TrainingModule(pl.LightningModule):
    """A model trained by AdamW with linear warm-up and decay of the learning rate.

    Attributes:
        version: raised when the same settings would train another model.
        saved: state of an earlier, interrupted run that this one continues.
        steps_done: steps of that run.
        epochs_done: epochs of that run.
        batches_done: batches of its last epoch, which was not finished.
        only_plan: whether `run` ends with `Planned` before the first step.
        objective: `mlm` or `clm` of a trainer that learns from texts alone; None of one that learns
            from labels.
        setting: the group of its settings, for messages.
        length: name of the setting that is the length of a training example.
    """

    version = 1
    setting = "trainer"
    length = "max_length"
    saved = State()
    steps_done = 0
    epochs_done = 0
    batches_done = 0
    only_plan = False
    objective: str | None = None

    def __init__(
        self,
        epochs: Count,
        learning_rate: Positive | Literal["find"],
        batch_size: Count,
        max_length: Annotated[int, Range(3)],  # two special tokens and a word
        weight_decay: NonNegative,
        warmup_fraction: Annotated[float, Range(0, 1, below=True)],
        clip: Positive,
        precision: Precision,
        betas: Sequence[float],
        eps: Positive,
        frozen_layers: NaturalNumber = 0,
        freeze: str | Sequence[str] | None = None,
        unfreeze: Count | None = None,
        layer_decay: Annotated[float, Range(0, 1, above=True)] | None = None,
        head_learning_rate: Positive | None = None,
        schedule: Schedule = "linear",
        warmup_steps: NaturalNumber | None = None,
        hidden_dropout: Annotated[float, Range(0, 1, below=True)] | None = None,
        attention_dropout: Annotated[float, Range(0, 1, below=True)] | None = None,
        l2_sp: Positive | None = None,
        ema: Annotated[float, Range(0, 1, below=True)] | None = None,
        divergence: Annotated[float, Range(1, above=True)] | None = None,
        peft: Adapter | None = None,
        unfreeze_steps: Count | None = None,
        swa_epoch: Count | None = None,
        swa_learning_rate: Positive | None = None,
        mixout: Annotated[float, Range(0, 1, above=True, below=True)] | None = None,
    ) -> None:
        """Stores the settings; the model is loaded by `train_on`.

        Args:
            epochs: passes over the documents.
            learning_rate: peak rate; `find` chooses it by a range test (`range_test.py`).
            batch_size: documents a step.
            max_length: tokens read of a document; truncated documents are counted.
            weight_decay: decay of the weight matrices (not of biases and layer norms).
            warmup_fraction: share of the steps over which the rate rises from 0; it then falls to 0
                linearly.
            clip: largest norm of the gradient.
            precision: `32`, `bf16` (mixed) or `auto`.
            betas: decay rates of AdamW's two moments.
            eps: added by AdamW to the root of the second moment.
            frozen_layers: number of a model's first layers that, with its embeddings, stay as they
                are; 0 trains all.
            freeze: weights that are not trained: `embeddings`, `all` (all but the head and a
                pooler), or patterns of names; None trains all. Unlike `frozen_layers` for every
                architecture.
            unfreeze: number of layers by which training grows downwards with every epoch, after a
                first epoch that trains what follows the last layer only, or the highest layers where
                none of that is trained; None trains all at once.
            layer_decay: ratio of the learning rates of a layer and the next one (timm); None for
                one rate.
            head_learning_rate: peak rate of the head; None for `learning_rate`.
            schedule: how the rate falls after the warm-up; see `practice.rate_factor`.
            warmup_steps: steps of the warm-up, in place of `warmup_fraction`, which is 0 then.
            hidden_dropout: dropout of embeddings and layers; None for the model's own.
            attention_dropout: dropout of attention weights; None for the model's own.
            l2_sp: strength of the pull of the base's weights toward those of the start.
            ema: decay of an average of the weights, which takes their place; None for none.
            divergence: training ends with an error where the mean loss of 20 steps exceeds this
                many times its lowest value; None for never.
            peft: trains few weights in place of the model's own; None trains these.
            unfreeze_steps: number of steps after which `unfreeze` adds layers, in place of an
                epoch.
            swa_epoch: first epoch, counted from 1, whose last weights enter an equal average that
                takes their place (Izmailov et al. 2018, as `torch.optim.swa_utils`); None for none.
            swa_learning_rate: rate from that epoch on; None for that of the schedule.
            mixout: probability with which a step reads a weight of the base as it was at the start
                (Lee et al. 2020); None for 0.

        Raises:
            InvalidInput: a setting is out of range.
        """
        super().__init__()
        self.finds_rate = learning_rate == "find"
        # Until a rate is found, rates are multiples of it.
        self.learning_rate = 1.0 if isinstance(learning_rate, str) else learning_rate
        self.epochs, self.batch_size, self.max_length = epochs, batch_size, max_length
        self.weight_decay, self.warmup_fraction = weight_decay, warmup_fraction
        self.clip, self.precision_setting = clip, precision
        self.betas, self.eps = cast("tuple[float, float]", tuple(betas)), eps
        self.frozen_layers = frozen_layers
        self.freeze_names = [freeze] if isinstance(freeze, str) else list(freeze or [])
        self.layers_an_epoch, self.layer_decay = unfreeze, layer_decay
        self.unfreeze_steps = unfreeze_steps
        self.head_learning_rate = head_learning_rate
        self.schedule_name: Schedule = schedule
        self.warmup_steps = warmup_steps
        self.dropouts = {"hidden": hidden_dropout, "attention": attention_dropout}
        self.l2_sp, self.ema, self.divergence = l2_sp, ema, divergence
        self.swa_epoch, self.swa_learning_rate, self.mixout = swa_epoch, swa_learning_rate, mixout
        self.peft = peft
        self._check_settings()
        self._check_peft()
        self.starts: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.averages = Averages(ema, swa_epoch)
        self.tokens = 0
        self.groups: list[Group] = []
        self.unfreezing: Unfreezing | None = None
        self.model: Any = None
        self.losses: list[float] = []
        self.steps_an_epoch, self.steps_in_all = 0, 0
        self.parameters_in_all = 0
        self.efficiency: dict[str, int] = {}

    def _check_settings(self) -> None:
        """Refuses settings that contradict each other, and moments that AdamW does not have."""
        if self.finds_rate and self.head_learning_rate is not None:
            raise InvalidInput(
                f"{self.setting}.head_learning_rate is a rate beside {self.setting}.learning_rate, "
                "which is to be found; set one of both to a number or null"
            )
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas) or self.eps <= 0:
            raise InvalidInput(
                "a trainer needs betas of two numbers from 0 to below 1 and eps > 0, found "
                f"{list(self.betas)} and {self.eps:g}"
            )
        of_layers = {"unfreeze": self.layers_an_epoch, "layer_decay": self.layer_decay}
        for name, value in of_layers.items():
            if value is not None and "all" in self.freeze_names:
                raise InvalidInput(
                    f"{self.setting}.freeze=all trains the head alone, so that {self.setting}.{name}="
                    f"{value:g} has no layers to act on; set one of both to null"
                )
        if self.unfreeze_steps is not None and self.layers_an_epoch is None:
            raise InvalidInput(
                f"{self.setting}.unfreeze_steps={self.unfreeze_steps} needs the number of layers that "
                f"are added, {self.setting}.unfreeze; set it, or {self.setting}.unfreeze_steps=null"
            )
        if self.warmup_steps is not None and self.warmup_fraction > 0:
            raise InvalidInput(
                f"{self.setting}.warmup_steps={self.warmup_steps} and {self.setting}.warmup_fraction="
                f"{self.warmup_fraction:g} both set the warm-up; set one of them, and "
                "warmup_fraction=0 beside warmup_steps"
            )
        if self.schedule_name == "one_cycle" and not self.warmup_fraction and not self.warmup_steps:
            raise InvalidInput(
                f"{self.setting}.schedule=one_cycle needs a rise; set {self.setting}.warmup_fraction=0.3"
            )
        if self.swa_learning_rate is not None and self.swa_epoch is None:
            raise InvalidInput(
                f"{self.setting}.swa_learning_rate is the rate from {self.setting}.swa_epoch on, which "
                f"is null; set it, or {self.setting}.swa_learning_rate=null"
            )
        if self.swa_epoch is not None and (self.swa_epoch > self.epochs or self.ema is not None):
            found = f"{self.epochs} epochs"
            if self.ema is not None:
                found = f"{self.setting}.ema={self.ema:g}"
            raise InvalidInput(
                f"{self.setting}.swa_epoch={self.swa_epoch} must be one of the epochs and the only "
                f"average of the weights, found {found}; set {self.setting}.swa_epoch or ema to null"
            )

    def _check_peft(self) -> None:
        """Refuses settings that a parameter-efficient method leaves nothing to do for."""
        if self.peft is None:
            return
        method, reason = type(self.peft).__name__, "changes no weight of the pretrained base"
        fixed: dict[str, Any] = {"l2_sp": self.l2_sp, "mixout": self.mixout}
        if "all" in self.freeze_names:
            raise InvalidInput(
                f"{self.setting}.freeze=all trains the head alone and leaves nothing to "
                f"{self.setting}.peft ({method}); set one of both to null"
            )
        if not self.peft.mergeable:
            reason = "trains vectors before the input and the head, no layers"
            fixed |= {
                "frozen_layers": self.frozen_layers,
                "freeze": self.freeze_names,
                "unfreeze": self.layers_an_epoch,
                "layer_decay": self.layer_decay,
                "head_learning_rate": self.head_learning_rate,
            }
        for name, value in fixed.items():
            if value:
                off = 0 if name == "frozen_layers" else "null"
                raise InvalidInput(
                    f"{self.setting}.{name} cannot be used with {self.setting}.peft ({method}), which "
                    f"{reason}; set {self.setting}.{name}={off}"
                )

    def identity(self, runtime: Runtime) -> dict[str, str]:
        """Returns the resolved precision, which enters the key, and what `freeze=all` leaves."""
        named = {"precision": checkpoint.precision(self.precision_setting, runtime.device)}
        if "all" in self.freeze_names:
            named["trained"] = "head and pooler"  # once without the pooler
        return named

    def is_mixed(self, runtime: Runtime) -> bool:
        """Returns whether products are computed in bfloat16."""
        return checkpoint.precision(self.precision_setting, runtime.device) == "bf16"

    def autocast(self, runtime: Runtime) -> AbstractContextManager[Any]:
        """Returns the context of a pass of the model in the resolved precision."""
        return torch.autocast(runtime.device.type, torch.bfloat16, enabled=self.is_mixed(runtime))

    def clip_gradient(self) -> None:
        """Limits the norm of the gradient."""
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)

    def configure_model(self) -> None:
        """Cuts the weights over the processes where the strategy asks for it.

        Raises:
            InvalidInput: a setting needs whole weights during the training.
        """
        if self.device_mesh is None:
            return
        needs_whole = {
            "peft": self.peft, "mixout": self.mixout, "l2_sp": self.l2_sp, "ema": self.ema,
            "swa_epoch": self.swa_epoch, "unfreeze": self.layers_an_epoch,
        }  # fmt: skip
        sharding.check(needs_whole, self.setting)
        self.groups = sharding.cut(self.model, self.groups, self.device_mesh["data_parallel"])

    def configure_optimizers(self) -> Any:
        """Returns the optimiser and its schedule, stepped once a batch."""
        optimizer = self.optimiser()
        self.saved.restore_moments(optimizer, self.model)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: self.rate_factor(self.steps_done + step, self.steps_in_all)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def prepare(self) -> None:
        """Sets which weights of `self.model` are trained, and the groups of the optimiser.

        Raises:
            InvalidInput: the model does not have what the settings name, or nothing is left to
                train.
        """
        self.efficiency = {}
        if self.finds_rate:
            self.learning_rate = 1.0
        total = sum(weight.numel() for weight in self.model.parameters())
        if self.peft is not None:
            outlined = next(self.model.parameters()).is_meta
            attach = self.peft.check if outlined else self.peft.attach
            self.model = attach(
                self.model, self.frozen_layers, self.objective is None, f"{self.setting}.peft"
            )
        # before the frozen layers of an encoder are left out
        self.parameters_in_all = sum(weight.numel() for weight in self.model.parameters())
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
                self.model, self.layers_an_epoch, f"{self.setting}.unfreeze", self.unfreeze_steps
            )
        weights = [weight for group in self.groups for weight in group.weights]
        self.starts = []
        if self.l2_sp is not None:
            base = {id(weight) for weight in self.model.base_model.parameters()}
            self.starts = [(w, w.detach().clone()) for w in weights if id(w) in base]
            if not self.starts or "all" in self.freeze_names:
                raise InvalidInput(
                    f"{self.setting}.l2_sp pulls weights of the pretrained base, all of which are "
                    f"frozen; set {self.setting}.l2_sp=null"
                )
        if self.mixout is not None and (
            "all" in self.freeze_names or not trained_matrices(self.model)
        ):
            raise InvalidInput(
                f"{self.setting}.mixout mixes matrices of the pretrained base, all of which are "
                f"frozen; set {self.setting}.mixout=null"
            )
        if self.peft is not None:
            trained = sum(group.parameters for group in self.groups)
            saved = memory_saved(total, trained)
            values = (total, trained, round(1e6 * trained / total), saved)
            self.efficiency = dict(zip(EFFICIENCY, values, strict=True))

    def check_model(self, start: Path, kind: str | None = None) -> None:
        """Refuses, by the configuration of a model alone, settings that it lacks the parts for.

        Args:
            start: directory of the initial model; its weights are not read.
            kind: class of transformers of the model with its head; None for that of the objective.

        Raises:
            InvalidInput: there is one.
        """
        changed, _ = checkpoint.dropouts(start, self.dropouts, self.setting)
        try:
            self.model = checkpoint.outline(start, kind or KINDS[self.objective], **changed)
        except ValueError:  # no such head: said where the model is opened
            return
        taken = 0 if self.peft is None else self.peft.positions
        for name in dict.fromkeys((self.length, "max_length")):  # the latter: of held-out texts
            length = getattr(self, name)
            checkpoint.check_length(self.model, length, f"{self.setting}.{name}", taken)
        if self.frozen_layers:
            FrozenLayers.of(self.model, self.frozen_layers, f"{self.setting}.frozen_layers")
        with torch.device("meta"):
            self.prepare()
        self.model, self.groups, self.unfreezing, self.starts = None, [], None, []

    def find_rate(
        self, batches: Callable[[], DataLoader[Any]], directory: Path, runtime: Runtime
    ) -> dict[str, int]:
        """Sets the rates of the groups by a range test where `learning_rate` is `find`, and returns
        facts about it; the curve is written into `directory`.

        Args:
            batches: returns the batches of an epoch, with generators of their own.
            directory: the stage's directory.
            runtime: the machine.

        Raises:
            InvalidInput: the loss falls at no rate.
        """
        if not self.finds_rate:
            return {}
        self.model.to(runtime.device).train()

        def loss_of(batch: Any) -> torch.Tensor:
            inputs = self.transfer_batch_to_device(batch, runtime.device, 0)
            with self.autocast(runtime):
                return cast("torch.Tensor", self.training_step(inputs, 0))

        found = choose(
            losses_at_rising_rates(batches, loss_of, self.optimiser(), self.clip_gradient),
            f"{self.setting}.learning_rate",
        )
        self.learning_rate = found.chosen
        self.groups = [
            replace(group, learning_rate=group.learning_rate * found.chosen)
            for group in self.groups
        ]
        write_text(directory / RANGE_TEST, json.dumps(asdict(found)))
        log.info("%s.learning_rate=find: %.2g", self.setting, found.chosen)
        values = (len(found.losses), round(found.chosen * 1e9))
        return dict(zip(FOUND, values, strict=True))

    def finish(self) -> dict[str, int]:
        """Makes `self.model` the model to store, and returns facts about what was trained."""
        if self.peft is not None:
            self.model = self.peft.detach(self.model)
        return self.efficiency

    def on_train_start(self) -> None:
        """Puts the start and the average of the weights on the weights' device."""
        self.starts = [(weight, start.to(weight.device)) for weight, start in self.starts]
        named = {
            name: weight
            for group in self.groups
            for name, weight in zip(group.names, group.weights, strict=True)
        }
        self.averages.begin(named, self.saved.averages)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Moves the average of the weights."""
        step = len(self.losses)
        ends = step % self.steps_an_epoch == 0
        self.averages.update(step, self.epoch_of(batch_idx) + 1 if ends else None)

    def log_plan(self, what: str, steps: int) -> None:
        """Logs what is trained, at which rates, for how many steps.

        Raises:
            InvalidInput: the warm-up is no shorter than the training.
        """
        total = self.parameters_in_all
        trained, lines = trained_within(self.groups, self.unfreezing, steps, self.epochs)
        log.info(
            "%s: %s steps (%s of warm-up, then %s), batches of %s%s; %s of %s parameters trained, "
            "%.1f %% frozen",
            what,
            f"{steps:,}",
            f"{self.rise(steps):,}",
            self.schedule_name,
            self.batch_size,
            f", {self.tokens:,} tokens an epoch" if self.tokens else "",
            f"{trained:,}",
            f"{total:,}",
            100 * (1 - trained / total),
        )
        for line in lines:
            log.info("%s: %s", what, line)

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
        return self.epochs_done + self.current_epoch

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Lets the weights of this epoch be trained."""
        if self.unfreezing is not None:
            epoch = self.epoch_of(batch_idx)
            self.unfreezing.enter(self.unfreezing.epoch_of(len(self.losses), epoch))

    def rate_factor(self, step: int, steps: int) -> float:
        """Returns the share of the peak learning rate at step `step` of `steps`, counted from 0."""
        if self.swa_learning_rate is not None and self.swa_epoch is not None:
            first = steps // self.epochs * (self.swa_epoch - 1)
            if step >= first:
                return self.swa_learning_rate / self.learning_rate
        return rate_factor(self.schedule_name, step, steps, self.rise(steps))

    def check_steps(self, examples: int) -> None:
        """Refuses a warm-up that is no shorter than the training on so many examples.

        Raises:
            InvalidInput: it is.
        """
        self.rise(self.epochs * -(-examples // self.batch_size))

    def rise(self, steps: int) -> int:
        """Returns the number of steps of the warm-up, of `steps`.

        Raises:
            InvalidInput: the warm-up is no shorter than the training.
        """
        rise = self.warmup_steps or int(self.warmup_fraction * steps)
        if self.warmup_steps and rise >= steps:
            raise InvalidInput(
                f"{self.setting}.warmup_steps must be below the {steps:,} steps of the training, "
                f"found {rise:,}; lower it or set warmup_fraction in its place"
            )
        return rise

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Adds the pull toward the start, and clips the gradient, which Lightning refuses to do for
        a fused optimiser (needlessly: no gradient scaler is used).
        """
        if self.l2_sp is not None:
            add_pull(*zip(*self.starts, strict=True), strength=self.l2_sp)
        self.clip_gradient()

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
            Planned: only a plan is asked for.
        """
        if self.only_plan:
            raise Planned(plan(self, loader, what, runtime))
        self.steps_an_epoch = len(loader)
        steps = (self.epochs - self.epochs_done) * len(loader) - self.batches_done
        if self.batches_done:
            loader = DataLoader(
                loader.dataset,
                batch_sampler=LaterBatches(loader.batch_sampler, self.batches_done),
                collate_fn=loader.collate_fn,
                generator=loader.generator,
            )
        mixed_weights = trained_matrices(self.model) if self.mixout is not None else []
        self.losses = self.saved.losses
        self.steps_done = len(self.losses)
        self.steps_in_all = self.steps_done + steps
        self.log_plan(what, self.steps_in_all)
        if self.losses:
            at, of = f"{self.steps_done:,}", f"{self.steps_in_all:,}"
            log.info("%s: resuming at step %s of %s", what, at, of)
            self.saved.restore_weights(self.model)
        with progress.bar(what, steps, "steps", show=runtime.progress) as report:
            trainer = runtime.trainer(
                max_epochs=self.epochs - self.epochs_done,
                precision="bf16-mixed" if self.is_mixed(runtime) else "32-true",
                callbacks=[LossMonitor(report, what, self.losses), *callbacks],
            )
            self.model.train()
            share, whole = BatchShare.of_process(), None
            if share.processes > 1 and runtime.strategy == "fsdp":
                whole = copy.deepcopy(self.model)  # that takes the weights which are cut meanwhile
            if share.processes > 1:  # else all would draw the same dropout for different rows
                torch.manual_seed(torch.initial_seed() + share.rank)
            with mixing(mixed_weights, self.mixout or 0.0):
                trainer.fit(self, loader)
            if whole is not None:
                sharding.gather(self.model, whole)
                self.model = whole
        self.averages.swap()
        self.averages = Averages(self.ema, self.swa_epoch)
        self.groups, self.unfreezing, self.starts = [], None, []
        self.saved, self.steps_done, self.epochs_done, self.batches_done = State(), 0, 0, 0
        self.model.eval()
