"""Fine-tuning on labels of any kind that a head stands for."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from shortlist import progress
from shortlist.errors import InvalidInput
from shortlist.models import checkpoint
from shortlist.models.frozen import FrozenLayers
from shortlist.models.heads.base import Head, Inputs, LossOptions, mean_loss
from shortlist.models.tokens import Buckets
from shortlist.settings import NonNegative, Positive, Range
from shortlist.stats.sampling import seeded
from shortlist.store.cache import unfinished
from shortlist.trainers.base import TrainingModule
from shortlist.trainers.curves import Curve
from shortlist.trainers.practice import balanced_weights, symmetric_divergence
from shortlist.trainers.resuming import STATE, SaveState, State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.core import Corpus
    from shortlist.runtime import Runtime


@dataclass(frozen=True)
class ClassifierOutput:
    """Predictions of a fine-tuned model.

    Attributes:
        values: predictions of `Head.predict`: (n, outputs) class probabilities, (n,) numbers or
            texts.
        truncated: number of documents that were cut to the maximal length.
    """

    values: NDArray[Any]
    truncated: int


class Pruned(Exception):
    """A training that is ended before its last epoch, because others are better."""


@dataclass(frozen=True)
class Validation:
    """Examples by which the epoch is chosen whose weights are kept.

    Attributes:
        corpus: the examples; none of them is trained on.
        metric: a function from predictions (values of `ClassifierOutput`) to a number, larger is
            better.
        watch: called after each epoch with the metric of all epochs so far; ends the training by
            raising `Pruned`.
    """

    corpus: Corpus
    metric: Callable[[NDArray[Any]], float]
    watch: Callable[[Sequence[float]], None] = lambda scores: None


NEEDS = {  # of a task, by setting
    "label_smoothing": "classes",
    "class_weights": "classes, one a text",
    "r_drop": "classes, one a text",
}


class Classifier(TrainingModule):
    """A new head on a model, trained with all layers not frozen.

    States after frozen layers are computed once for all epochs, without dropout.
    """

    version = 2
    setting = "finetune"

    def __init__(
        self,
        keep: str,
        patience: int | None,
        metric: str | None = None,
        min_delta: NonNegative = 0.0,
        classifier_dropout: Annotated[float, Range(0, 1, below=True)] | None = None,
        label_smoothing: Annotated[float, Range(0, 1, below=True)] = 0.0,
        class_weights: Literal["balanced"] | None = None,
        r_drop: Positive | None = None,
        **settings: Any,
    ) -> None:
        """Stores the settings.

        Args:
            keep: `best` keeps the weights of the epoch with the best validation metric, the first
                of equal ones; `last` those of the last epoch, without validation.
            patience: number of epochs without a better one after which training stops; None for
                never.
            metric: name of the task's metric by which epochs are compared; None for the primary
                one.
            min_delta: an epoch is better where its metric exceeds the best one by more than this.
            classifier_dropout: dropout before the head; None for the model's own.
            label_smoothing: share of each target that is spread evenly over all classes.
            class_weights: `balanced` weights classes by n / (classes * examples); None by 1.
            r_drop: weight of the divergence between two passes with other dropout; None for one
                pass.
            settings: those of `TrainingModule`.

        Raises:
            InvalidInput: a setting is out of range.
        """
        super().__init__(**settings)
        if keep not in {"best", "last"}:
            raise InvalidInput(f"finetune.keep must be best or last, found {keep!r}")
        if patience is not None and (keep == "last" or patience < 1):
            raise InvalidInput(
                f"finetune.patience needs finetune.keep=best and 1 epoch or more, found {patience} "
                f"with keep={keep}"
            )
        if keep == "last" and (metric is not None or min_delta):
            raise InvalidInput(
                "finetune.metric and finetune.min_delta compare epochs on validation; set "
                "finetune.keep=best"
            )
        self.keep_epoch, self.patience = keep, patience
        self.metric, self.min_delta = metric, min_delta
        self.dropouts["classifier"] = classifier_dropout
        self.label_smoothing, self.class_weights = label_smoothing, class_weights
        self.r_drop = r_drop
        self.loss_options = LossOptions(label_smoothing)
        self.head: Head | None = None

    def check_head(self, head: Head) -> None:
        """Refuses settings that the task's kind has no meaning for.

        Raises:
            InvalidInput: one is set.
        """
        if self.peft is not None and self.peft.positions and not head.whole_texts:
            raise InvalidInput(
                f"{self.setting}.peft reads vectors before each text, which a task of whole texts allows, "
                f"this one is {head.description}; choose lora, dora or ia3"
            )
        if self.frozen_layers and head.generates:
            raise InvalidInput(
                f"{self.setting}.frozen_layers computes the states of each text once, {head.description} "
                f"need them for each token; set {self.setting}.frozen_layers=0, and "
                f"{self.setting}.freeze=[embeddings,PATTERN] in its place"
            )
        for name, needed in NEEDS.items():
            if getattr(self, name) and name not in head.allows:
                off = 0 if name == "label_smoothing" else "null"
                raise InvalidInput(
                    f"{self.setting}.{name} needs a task with {needed}, this one is {head.description}; set "
                    f"{self.setting}.{name}={off}"
                )

    def prepare(self) -> None:
        """Sets what is trained; refuses R-Drop where nothing differs between its two passes."""
        super().prepare()
        if self.r_drop and self.mixout is None and not checkpoint.has_dropout(self.model):
            raise InvalidInput(
                f"{self.setting}.r_drop compares two passes with other dropout, this model has none; "
                f"set {self.setting}.hidden_dropout or attention_dropout, where it allows them, or "
                f"{self.setting}.r_drop=null"
            )

    def training_step(self, inputs: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """Returns the loss of the task's kind, with R-Drop's term where that is on."""
        assert self.head is not None
        labels, options = inputs.pop("labels"), self.loss_options
        outputs = self.model(**inputs)
        loss = self.head.loss(outputs, labels, options)
        if self.r_drop is None:
            return loss
        other = self.model(**inputs)
        second = self.head.loss(other, labels, options)
        divergence = symmetric_divergence(outputs.logits.float(), other.logits.float())
        return (loss + second) / 2 + self.r_drop * divergence

    def train_on(
        self,
        start: Path,
        train: Corpus,
        validation: Validation | None,
        head: Head,
        directory: Path,
        seed: int,
        runtime: Runtime,
    ) -> dict[str, Any]:
        """Returns facts of the training; the trained model is written into `directory`.

        Args:
            start: directory of the initial model.
            train: labelled documents.
            validation: examples that choose the epoch; unused where the last one is kept.
            head: what the kind of task adds to the model.
            directory: where the model is written.
            seed: seed of the head's initial weights, of order and dropout.
            runtime: the machine.

        Raises:
            InvalidInput: there are no labels, or no validation examples to choose the epoch by.
            Pruned: `validation.watch` ends the training.
        """
        if train.labels is None:
            raise InvalidInput(
                "fine-tuning needs labels, the task has none; set until=warmup or task.label=COLUMN"
            )
        self.loss_options, self.head = LossOptions(self.label_smoothing), head
        self.check_head(head)
        changed, own = checkpoint.dropouts(start, self.dropouts, self.setting)
        pl.seed_everything(seed, verbose=False)
        self.model = head.open(start, **changed)
        before = 0 if self.peft is None else self.peft.positions
        checkpoint.check_length(self.model, self.max_length, "finetune.max_length", before)
        tokenizer = checkpoint.tokenizer(start)
        if self.model.config.pad_token_id is None:  # GPT-2, which else accepts batches of one only
            self.model.config.pad_token_id = tokenizer.pad_token_id
        frozen = None
        if self.frozen_layers:
            frozen = FrozenLayers.of(
                self.model.to(runtime.device), self.frozen_layers, "finetune.frozen_layers"
            )
        self.prepare()
        read = head.read(train, self.model, tokenizer, self.max_length, labelled=True)
        examples, tokens = read.after(frozen, runtime), read.tokens
        if self.class_weights is not None and isinstance(read.labels, torch.Tensor):
            classes = int(self.model.config.num_labels)
            weights = balanced_weights(read.labels, classes)
            self.loss_options = LossOptions(self.label_smoothing, weights)

        def buckets() -> Buckets:
            return Buckets(tokens.lengths, self.batch_size, seeded(seed, "order"))

        def load(order: Buckets) -> DataLoader[Any]:
            rows: Any = range(len(tokens))
            return DataLoader(rows, batch_sampler=order, collate_fn=examples.labelled)

        order = buckets()
        loader = load(order)
        self.tokens = int(tokens.lengths.sum())
        facts: dict[str, Any] = {"documents": len(train), "truncated": tokens.truncated}
        best: _KeepBest | None = None
        if self.keep_epoch == "best":
            if validation is None or len(validation.corpus) == 0:
                raise InvalidInput(
                    "validation examples were expected to choose the epoch by, found none; "
                    "set finetune.keep=last"
                )
            watched = head.read(
                validation.corpus, self.model, tokenizer, self.max_length, labelled=False
            )
            watched = watched.after(frozen, runtime)
            labelled = head.with_labels(validation.corpus, watched, self.model, tokenizer)
            best = _KeepBest(self, watched, labelled, validation, runtime)
        state = unfinished(directory) / STATE
        self.saved = State.read(state)
        self.epochs_done = self.saved.facts.get("epoch", 0)
        if best is not None:
            best.restore(self.saved)
        save = SaveState(
            state, runtime.checkpoint_seconds, order.generator, best.state if best else State
        )
        save.restore(self.saved)
        with frozen.without_frozen_layers() if frozen else nullcontext():
            facts |= self.find_rate(lambda: load(buckets()), directory, runtime)
            try:
                self.run(loader, "fine-tuning", runtime, *([best] if best else []), save)
            except Pruned:
                shutil.rmtree(state.parent, ignore_errors=True)
                raise
            if best is not None:
                self.model.load_state_dict(best.weights)
                facts |= {"validation": best.scores, "epoch": best.epoch}
        facts |= self.finish()
        self.model.config.update(own)
        checkpoint.save(directory, self.model, tokenizer)
        curve = Curve(self.losses, self.steps_an_epoch)
        (best.measured(curve) if best else curve).write(directory)
        shutil.rmtree(state.parent, ignore_errors=True)
        self.model = None
        return facts | {"steps": len(self.losses), "last_loss": self.losses[-1]}

    def predict(
        self, directory: Path, corpus: Corpus, head: Head, runtime: Runtime
    ) -> ClassifierOutput:
        """Returns the predictions of the model in `directory` for each document.

        Args:
            directory: directory of the fine-tuned model.
            corpus: the documents.
            head: what the kind of task adds to the model.
            runtime: the machine.
        """
        tokenizer = checkpoint.tokenizer(directory)
        model: Any = head.open(directory).eval().to(runtime.device)
        inputs = head.read(corpus, model, tokenizer, self.max_length, labelled=False)
        return self.predict_with(model, inputs, head, runtime)

    def predict_with(
        self, model: Any, documents: Inputs, head: Head, runtime: Runtime
    ) -> ClassifierOutput:
        """Returns the predictions of `model`, in evaluation mode; see `predict`."""
        tokens = documents.tokens
        with (
            progress.bar("predictions", len(tokens), "documents", show=runtime.progress) as report,
            torch.inference_mode(),
            self.autocast(runtime),
        ):
            values = head.predict(model, documents, runtime, report)
        return ClassifierOutput(values, tokens.truncated)


class _KeepBest(pl.Callback):
    """Validates after each epoch and keeps a copy of the best weights in memory."""

    def __init__(
        self,
        trainer: Classifier,
        documents: Inputs,
        labelled: Inputs | None,
        validation: Validation,
        runtime: Runtime,
    ) -> None:
        self.classifier, self.documents, self.validation = trainer, documents, validation
        self.labelled, self.runtime = labelled, runtime
        self.scores: list[float] = []
        self.losses: list[float | None] = []
        self.epoch = 0
        self.weights: dict[str, torch.Tensor] = {}

    def restore(self, saved: State) -> None:
        """Continues with the scores and the best weights of a state."""
        self.scores = list(saved.facts.get("scores", ()))
        self.losses = list(saved.facts.get("losses", [None] * len(self.scores)))
        self.epoch = saved.facts.get("best", 0)
        start = "best "
        self.weights = {
            name.removeprefix(start): weight
            for name, weight in saved.tensors.items()
            if name.startswith(start)
        }

    def state(self) -> State:
        """Returns the scores and the best weights."""
        weights = {f"best {name}": weight for name, weight in self.weights.items()}
        facts = {"scores": self.scores, "losses": self.losses, "best": self.epoch}
        return State(weights, facts)

    def measured(self, curve: Curve) -> Curve:
        """Returns the curve with losses and scores by epoch, and the kept epoch."""
        own = {"validation_losses": self.losses, "scores": self.scores, "epoch": self.epoch}
        return replace(curve, **own)

    def _loss(self, head: Head, model: Any, values: NDArray[Any]) -> float | None:
        """Returns the loss on validation, by the predictions where they tell it, else by a pass."""
        if self.labelled is None:
            return head.loss_of(values, self.validation.corpus)
        trainer, runtime = self.classifier, self.runtime
        with torch.inference_mode(), trainer.autocast(runtime):
            return mean_loss(head, model, self.labelled, trainer.batch_size, runtime.device)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.classifier.averages.swap()
        model = self.classifier.model.eval()
        head = self.classifier.head
        assert head is not None
        output = self.classifier.predict_with(model, self.documents, head, self.runtime)
        loss = self._loss(head, model, output.values)
        model.train()
        self.scores.append(self.validation.metric(output.values))
        self.losses.append(loss)
        least = self.classifier.min_delta
        if len(self.scores) == 1 or self.scores[-1] > self.scores[self.epoch - 1] + least:
            self.epoch = len(self.scores)
            self.weights = {
                name: value.detach().cpu().clone() for name, value in model.state_dict().items()
            }
        self.classifier.averages.swap()
        patience = self.classifier.patience
        if patience is not None and len(self.scores) - self.epoch >= patience:
            trainer.should_stop = True
        self.validation.watch(self.scores)
