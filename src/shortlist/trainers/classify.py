"""Fine-tuning on labels: classification or regression of single texts or pairs."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from shortlist import progress
from shortlist.errors import InvalidInput
from shortlist.models import checkpoint
from shortlist.models.frozen import FrozenLayers, state_batch
from shortlist.models.tokens import Buckets, Tokens, batch, by_length, tokenize
from shortlist.settings import NonNegative, Positive, Range
from shortlist.store.cache import unfinished
from shortlist.trainers.base import TrainingModule, seeded
from shortlist.trainers.practice import (
    balanced_weights,
    classification_loss,
    symmetric_divergence,
)
from shortlist.trainers.resuming import STATE, SaveEpochs, State

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
        values: (n, outputs) class probabilities, or (n,) values of a regression.
        truncated: number of documents that were cut to the maximal length.
    """

    values: NDArray[np.float64]
    truncated: int


@dataclass(frozen=True)
class Validation:
    """Examples by which the epoch is chosen whose weights are kept.

    Attributes:
        corpus: the examples; none of them is trained on.
        metric: a function from predictions (values of `ClassifierOutput`) to a number, larger is
            better.
    """

    corpus: Corpus
    metric: Callable[[NDArray[np.float64]], float]


@dataclass(frozen=True)
class Inputs:
    """Documents as a model reads them: token ids, or their states after its frozen layers.

    Attributes:
        tokens: the documents.
        pad_id: id of the padding.
        pairs: whether segment ids are given.
        states: (t, w) states of each document, or None where token ids are read.
        ids: whether token ids are read beside states.
    """

    tokens: Tokens
    pad_id: int
    pairs: bool
    states: list[torch.Tensor] | None = None
    ids: bool = False

    @classmethod
    def of(cls, corpus: Corpus, model: Any, tokenizer: Any, max_length: int) -> Inputs:
        """Returns the tokenized documents for `model`."""
        tokens = tokenize(tokenizer, corpus.texts, corpus.texts_b, max_length)
        pairs = corpus.texts_b is not None and bool(getattr(model.config, "type_vocab_size", 0))
        return cls(tokens, tokenizer.pad_token_id, pairs)

    def after(self, frozen: FrozenLayers | None, runtime: Runtime) -> Inputs:
        """Returns the documents as their states after the frozen layers, or as they are."""
        if frozen is None:
            return self
        states = frozen.states(self.tokens, self.pad_id, self.pairs, runtime)
        return replace(self, states=states, ids=frozen.decoder)

    def batch(self, rows: list[int] | NDArray[Any]) -> dict[str, torch.Tensor]:
        """Returns the padded batch of these rows."""
        if self.states is not None:
            given = state_batch(self.states, rows)
            if self.ids:
                given["input_ids"] = batch(self.tokens, rows, self.pad_id, types=False)["input_ids"]
            return given
        return batch(self.tokens, rows, self.pad_id, types=self.pairs)


class Classifier(TrainingModule):
    """A new classification or regression head on a model, trained with all layers not frozen.

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
            keep: `best` keeps the weights of the epoch with the best validation metric, the first of
                equal ones; `last` those of the last epoch, without validation.
            patience: number of epochs without a better one after which training stops; None for
                never.
            metric: name of the task's metric by which epochs are compared; None for the primary one.
            min_delta: an epoch is better where its metric exceeds the best one by more than this.
            classifier_dropout: dropout before the head; None for the model's own.
            label_smoothing: share of each target that is spread evenly over all classes.
            class_weights: `balanced` weights classes by n / (classes * examples); None by 1.
            r_drop: weight of the divergence between two passes with other dropout; None for one pass.
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
        self.label_smoothing, self.class_weights, self.r_drop = (
            label_smoothing,
            class_weights,
            r_drop,
        )
        self.weights_of_classes: torch.Tensor | None = None

    def check_regression(self) -> None:
        """Refuses settings that need classes.

        Raises:
            InvalidInput: one is set.
        """
        for name in ("label_smoothing", "class_weights", "r_drop"):
            if getattr(self, name):
                off = 0 if name == "label_smoothing" else "null"
                raise InvalidInput(
                    f"{self.setting}.{name} needs a task with classes, this one is a regression; set "
                    f"{self.setting}.{name}={off}"
                )

    def training_step(self, inputs: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """Returns cross-entropy, with R-Drop's term where that is on, or squared error where labels
        are real numbers.
        """
        labels = inputs.pop("labels")
        logits = self.model(**inputs).logits.float()
        if labels.is_floating_point():
            return torch.nn.functional.mse_loss(logits.squeeze(-1), labels)
        weights = self.weights_of_classes
        weights = None if weights is None else weights.to(logits.device)
        loss = classification_loss(logits, labels, self.label_smoothing, weights)
        if self.r_drop is None:
            return loss
        other = self.model(**inputs).logits.float()
        second = classification_loss(other, labels, self.label_smoothing, weights)
        return (loss + second) / 2 + self.r_drop * symmetric_divergence(logits, other)

    def train_on(
        self,
        start: Path,
        train: Corpus,
        validation: Validation | None,
        labels: Sequence[str] | None,
        directory: Path,
        seed: int,
        runtime: Runtime,
    ) -> dict[str, Any]:
        """Returns facts of the training; the trained model is written into `directory`.

        Args:
            start: directory of the initial model.
            train: labelled documents.
            validation: examples that choose the epoch; unused where the last one is kept.
            labels: the classes, in the order of the outputs; None for a regression.
            directory: where the model is written.
            seed: seed of the head's initial weights, of order and dropout.
            runtime: the machine.

        Raises:
            InvalidInput: there are no labels, or no validation examples to choose the epoch by.
        """
        if train.labels is None:
            raise InvalidInput(
                "fine-tuning needs labels, the task has none; set until=warmup or task.label=COLUMN"
            )
        self.weights_of_classes = None
        if labels is None:
            self.check_regression()
        changed, own = checkpoint.dropouts(start, self.dropouts, self.setting)
        pl.seed_everything(seed, verbose=False)
        self.model = checkpoint.classifier(
            start, len(labels) if labels else 1, regression=labels is None, **changed
        )
        before = 0 if self.peft is None else self.peft.positions
        checkpoint.check_length(self.model, self.max_length, "finetune.max_length", before)
        if labels is not None:
            self.model.config.id2label = dict(enumerate(labels))
            self.model.config.label2id = {label: index for index, label in enumerate(labels)}
            truth = torch.tensor([self.model.config.label2id[label] for label in train.labels])
            if self.class_weights is not None:
                self.weights_of_classes = balanced_weights(truth, len(labels))
        else:
            truth = torch.tensor([float(label) for label in train.labels])
        tokenizer = checkpoint.tokenizer(start)
        if self.model.config.pad_token_id is None:  # GPT-2, which else accepts batches of one only
            self.model.config.pad_token_id = tokenizer.pad_token_id
        frozen = None
        if self.frozen_layers:
            frozen = FrozenLayers.of(
                self.model.to(runtime.device), self.frozen_layers, "finetune.frozen_layers"
            )
        self.prepare()
        read = Inputs.of(train, self.model, tokenizer, self.max_length)
        examples, tokens = read.after(frozen, runtime), read.tokens

        def collate(rows: list[int]) -> dict[str, torch.Tensor]:
            return {**examples.batch(rows), "labels": truth[rows]}

        def buckets() -> Buckets:
            return Buckets(tokens.lengths, self.batch_size, seeded(seed, "order"))

        def load(order: Buckets) -> DataLoader[Any]:
            rows: Any = range(len(tokens))
            return DataLoader(rows, batch_sampler=order, collate_fn=collate)

        order = buckets()
        loader = load(order)
        self.tokens = int(tokens.lengths.sum())
        facts: dict[str, Any] = {"documents": len(tokens), "truncated": tokens.truncated}
        best: _KeepBest | None = None
        if self.keep_epoch == "best":
            if validation is None or len(validation.corpus) == 0:
                raise InvalidInput(
                    "validation examples were expected to choose the epoch by, found none; "
                    "set finetune.keep=last"
                )
            watched = Inputs.of(validation.corpus, self.model, tokenizer, self.max_length)
            best = _KeepBest(self, watched.after(frozen, runtime), validation.metric, runtime)
        state = unfinished(directory) / STATE
        self.saved = State.read(state)
        self.epochs_done = self.saved.facts.get("epoch", 0)
        if best is not None:
            best.restore(self.saved)
        if self.saved.tensors:
            order.generator.set_state(self.saved.tensors["order"])
        save = SaveEpochs(
            state, runtime.checkpoint_seconds, order.generator, best.state if best else State
        )
        with frozen.left_out() if frozen else nullcontext():
            facts |= self.find_rate(lambda: load(buckets()), directory, runtime)
            self.run(loader, "fine-tuning", runtime, *([best] if best else []), save)
            if best is not None:
                self.model.load_state_dict(best.weights)
                facts |= {"validation": best.scores, "epoch": best.epoch}
        facts |= self.finish()
        self.model.config.update(own)
        checkpoint.save(directory, self.model, tokenizer)
        shutil.rmtree(state.parent, ignore_errors=True)
        self.model = None
        return facts | {"steps": len(self.losses), "last_loss": self.losses[-1]}

    def predict(
        self, directory: Path, corpus: Corpus, outputs: int, runtime: Runtime
    ) -> ClassifierOutput:
        """Returns the predictions of the model in `directory` for each document.

        Args:
            directory: directory of the fine-tuned model.
            corpus: the documents.
            outputs: number of classes; 1 for a regression.
            runtime: the machine.
        """
        tokenizer = checkpoint.tokenizer(directory)
        model: Any = (
            checkpoint.classifier(directory, outputs, regression=outputs == 1)
            .eval()
            .to(runtime.device)
        )
        inputs = Inputs.of(corpus, model, tokenizer, self.max_length)
        return self.predict_with(model, inputs, outputs, runtime)

    def predict_with(
        self, model: Any, documents: Inputs, outputs: int, runtime: Runtime
    ) -> ClassifierOutput:
        """Returns the predictions of `model`, in evaluation mode; see `predict`."""
        tokens = documents.tokens
        values = np.zeros((len(tokens), outputs))
        mixed = checkpoint.precision(self.precision_setting, runtime.device) == "bf16"
        with (
            progress.bar("predictions", len(tokens), "documents", show=runtime.progress) as report,
            torch.inference_mode(),
            torch.autocast(runtime.device.type, torch.bfloat16, enabled=mixed),
        ):
            for rows in by_length(tokens.lengths, runtime.inference_tokens):
                inputs = documents.batch(rows)
                logits = model(
                    **{name: value.to(runtime.device) for name, value in inputs.items()}
                ).logits.double()
                values[rows] = (logits if outputs == 1 else logits.softmax(-1)).cpu().numpy()
                report(len(rows))
        return ClassifierOutput(values[:, 0] if outputs == 1 else values, tokens.truncated)


class _KeepBest(pl.Callback):
    """Validates after each epoch and keeps a copy of the best weights in memory."""

    def __init__(
        self,
        trainer: Classifier,
        documents: Inputs,
        metric: Callable[[NDArray[np.float64]], float],
        runtime: Runtime,
    ) -> None:
        self.classifier, self.documents, self.metric = trainer, documents, metric
        self.runtime = runtime
        self.scores: list[float] = []
        self.epoch = 0
        self.weights: dict[str, torch.Tensor] = {}

    def restore(self, saved: State) -> None:
        """Continues with the scores and the best weights of a state."""
        self.scores = list(saved.facts.get("scores", ()))
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
        return State(weights, {"scores": self.scores, "best": self.epoch})

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.classifier.swap_averages()
        model = self.classifier.model.eval()
        outputs = int(model.config.num_labels)
        output = self.classifier.predict_with(model, self.documents, outputs, self.runtime)
        model.train()
        self.scores.append(self.metric(output.values))
        least = self.classifier.min_delta
        if len(self.scores) == 1 or self.scores[-1] > self.scores[self.epoch - 1] + least:
            self.epoch = len(self.scores)
            self.weights = {
                name: value.detach().cpu().clone() for name, value in model.state_dict().items()
            }
        self.classifier.swap_averages()
        patience = self.classifier.patience
        if patience is not None and len(self.scores) - self.epoch >= patience:
            trainer.should_stop = True
