"""Training on unlabelled texts: masked LM, causal LM, and the masked-LM head of an encoder."""

from __future__ import annotations

import shutil
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from shortlist import progress
from shortlist.errors import InvalidInput
from shortlist.models import checkpoint
from shortlist.models.frozen import FrozenLayers
from shortlist.models.likelihood import IGNORED, MASK_SHARE, held_out_loss, logits_at
from shortlist.models.tokens import Buckets, Tokens, batch, by_length, tokenize
from shortlist.runtime import BatchShare
from shortlist.settings import Precision
from shortlist.stats.sampling import seeded
from shortlist.store.cache import unfinished
from shortlist.trainers.base import TrainingModule
from shortlist.trainers.curves import Curve
from shortlist.trainers.resuming import STATE, SaveState, State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.core import Corpus
    from shortlist.models.likelihood import HeldOut
    from shortlist.models.pretrained import HeadTraining
    from shortlist.runtime import Runtime


@dataclass(frozen=True)
class Batches:
    """The batches of an epoch of texts.

    Attributes:
        loader: the batches.
        facts: facts about the texts (documents, tokens).
        order: generator of their order, which draws at the start of an epoch.
        drawn: generators that draw for each batch, by name.
    """

    loader: DataLoader[Any]
    facts: dict[str, Any]
    order: torch.Generator
    drawn: Mapping[str, torch.Generator]


class LanguageModelTrainer(TrainingModule):
    """Continued pre-training on a corpus: the warm-up.

    Attributes:
        load: function from a directory to the model with its head.
    """

    setting = "warmup"
    load: ClassVar[Callable[..., Any]]

    @abstractmethod
    def batches(self, start: Path, tokenizer: Any, corpus: Corpus, seed: int) -> Batches:
        """Returns the batches of an epoch."""

    def train_on(
        self,
        start: Path,
        corpus: Corpus,
        directory: Path,
        seed: int,
        runtime: Runtime,
        what: str = "warm-up",
    ) -> dict[str, Any]:
        """Returns facts of the training; the trained model is written into `directory`.

        Args:
            start: directory of the initial model.
            corpus: the documents, unlabelled.
            directory: where the model is written.
            seed: seed of order, masks and dropout.
            runtime: the machine.
            what: name of the training in the progress bar and in messages.

        Raises:
            InvalidInput: the model has no such head or too few positions, or the loss is NaN.
        """
        pl.seed_everything(seed, verbose=False)
        changed, own = checkpoint.dropouts(start, self.dropouts, self.setting)
        self.model = type(self).load(start, **changed)
        checkpoint.check_length(
            self.model, getattr(self, self.length), f"{self.setting}.{self.length}"
        )
        if self.frozen_layers:
            FrozenLayers.of(self.model, self.frozen_layers, f"{self.setting}.frozen_layers")
        self.prepare()
        tokenizer = checkpoint.tokenizer(start)
        batches = self.batches(start, tokenizer, corpus, seed)
        facts = {**batches.facts, "dense_parameters": dense_parameters(self.model)}
        self.tokens = facts["tokens"]
        facts |= self.find_rate(
            lambda: self.batches(start, tokenizer, corpus, seed).loader, directory, runtime
        )
        self.run_resumed(batches, what, unfinished(directory) / STATE, runtime)
        facts |= self.finish()
        self.model.config.update(own)
        checkpoint.save(directory, self.model, tokenizer)
        Curve(self.losses, self.steps_an_epoch).write(directory)
        shutil.rmtree(unfinished(directory), ignore_errors=True)
        self.model = None
        losses = {"first_loss": self.losses[0], "last_loss": self.losses[-1]}
        return {**facts, "steps": len(self.losses), **losses}

    def run_resumed(self, batches: Batches, what: str, state: Path, runtime: Runtime) -> None:
        """Trains over the batches, without those of an interrupted run, whose state is in `state`."""
        self.saved = State.read(state)
        self.epochs_done = self.saved.facts.get("epoch", 0)
        self.batches_done = self.saved.facts.get("batch", 0)
        seconds = runtime.checkpoint_seconds
        save = SaveState(state, seconds, batches.order, batches=batches.drawn)
        save.restore(self.saved)
        self.run(batches.loader, what, runtime, save)

    def losses_on(self, directory: Path, corpus: Corpus, runtime: Runtime) -> HeldOut:
        """Returns the loss of the model in `directory` on texts it was not trained on."""
        return held_out_loss(str(self.objective), directory, corpus, self.max_length, runtime)


def share_of(
    inputs: dict[str, torch.Tensor], labels: torch.Tensor, predicted: torch.Tensor
) -> tuple[dict[str, torch.Tensor], torch.Tensor, float]:
    """Returns this process's rows of a batch, and what its mean loss counts, so that the mean over
    the processes is that of the batch: its share of the predicted tokens, times the processes.
    """
    share = BatchShare.of_process()
    if share.processes == 1:
        return inputs, labels, 1.0
    in_all = int((predicted != IGNORED).sum())
    own = int((predicted[share.rank :: share.processes] != IGNORED).sum())
    rows = {name: share.rows(tensor) for name, tensor in inputs.items()}
    return rows, share.rows(labels), share.processes * own / max(in_all, 1)


class MaskedLM(LanguageModelTrainer):
    """Masked language modelling (Devlin et al. 2019): the warm-up of encoders."""

    objective = "mlm"
    load = staticmethod(checkpoint.masked_lm)

    def __init__(self, mask_share: float, **settings: Any) -> None:
        """Stores the settings.

        Args:
            mask_share: share of the tokens that are predicted.
            settings: those of `TrainingModule`.

        Raises:
            InvalidInput: a setting is out of range.
        """
        super().__init__(**settings)
        if not 0 < mask_share < 1:
            raise InvalidInput(f"warmup.mask_share must lie between 0 and 1, found {mask_share}")
        self.mask_share = mask_share

    def training_step(self, inputs: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """Returns the mean cross-entropy over the predicted tokens, 0 where there are none."""
        labels = inputs.pop("labels")
        inputs, labels, scale = share_of(inputs, labels, labels)
        predicted = labels != IGNORED
        # Weights that are cut are gathered by a pass of the model as a whole.
        if self.device_mesh is not None:
            logits = self.model(**inputs).logits[predicted]
        else:
            logits = logits_at(self.model, inputs, predicted)
        if not predicted.any():  # few tokens in the last batch: the mean of no loss is NaN
            return logits.sum() * 0.0
        return torch.nn.functional.cross_entropy(logits.float(), labels[predicted]) * scale

    def batches(self, start: Path, tokenizer: Any, corpus: Corpus, seed: int) -> Batches:
        """Returns shuffled batches of documents of similar length, masked anew in every epoch."""
        tokens = tokenize(tokenizer, corpus.texts, None, self.max_length)
        generator = seeded(seed, "masks")

        def collate(rows: list[int]) -> dict[str, torch.Tensor]:
            return masked_batch(tokens, rows, tokenizer, self.mask_share, generator)

        order = seeded(seed, "order")
        sampler = Buckets(tokens.lengths, self.batch_size, order)
        rows: Any = range(len(tokens))
        facts = {
            "documents": len(tokens),
            "tokens": int(tokens.lengths.sum()),
            "truncated": tokens.truncated,
        }
        loader: DataLoader[Any] = DataLoader(rows, batch_sampler=sampler, collate_fn=collate)
        return Batches(loader, facts, order, {"masks": generator})


class CausalLM(LanguageModelTrainer):
    """Next-token prediction on documents packed into blocks: the warm-up of decoders."""

    objective = "clm"
    load = staticmethod(checkpoint.causal_lm)
    length = "block"
    version = 2  # 1 dropped the tokens that did not fill the last block

    def __init__(self, block: int, **settings: Any) -> None:
        """Stores the settings.

        Args:
            block: tokens a training example.
            settings: those of `TrainingModule`; `max_length` is that of held-out texts.

        Raises:
            InvalidInput: a setting is out of range.
        """
        super().__init__(**settings)
        if block < 2:
            raise InvalidInput(f"{self.setting}.block must be at least 2 tokens, found {block}")
        self.block = block

    def training_step(self, inputs: torch.Tensor, batch_idx: int) -> torch.Tensor:
        """Returns the mean cross-entropy of the next token, 0 where there is none."""
        # Ignored places are at the end of a row, where no token before them attends to them.
        given, inputs, scale = share_of({}, inputs, inputs[:, 1:])
        logits = self.model(input_ids=inputs.clamp(min=0), **given).logits[:, :-1]
        truth = inputs[:, 1:]
        if not (truth != IGNORED).any():  # a block of one token: the mean of no loss is NaN
            return logits.sum() * 0.0
        loss = torch.nn.functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]).float(), truth.reshape(-1), ignore_index=IGNORED
        )
        return loss * scale

    def batches(self, start: Path, tokenizer: Any, corpus: Corpus, seed: int) -> Batches:
        """Returns shuffled batches of blocks."""
        end = checkpoint.end_token_id(tokenizer, start)
        blocks = pack_shuffled(tokenizer, end, corpus, self.block, seed)
        examples: Any = torch.from_numpy(blocks)
        order = seeded(seed, "order")
        loader: DataLoader[Any] = DataLoader(
            examples, batch_size=self.batch_size, shuffle=True, generator=order
        )
        facts = {"documents": len(corpus), "tokens": int((blocks != IGNORED).sum())}
        return Batches(loader, facts, order, {})


def dense_parameters(model: Any) -> int:
    """Returns the number of weights outside embedding tables, which every token is multiplied with:
    N of Kaplan et al. 2020.
    """
    tables = {
        id(weight)
        for module in model.modules()
        if isinstance(module, torch.nn.Embedding)
        for weight in module.parameters(recurse=False)
    }
    return sum(weight.numel() for weight in model.parameters() if id(weight) not in tables)


class MaskedLMHead(TrainingModule):
    """The masked-LM head of an encoder that comes without one, trained alone.

    The encoder is frozen, so that its hidden states at the masked positions are computed once and
    the epochs cost the head only. The decoder stays tied to the (frozen) word embeddings; the
    transform before it and the bias are trained. The bias starts at the log-frequencies of the
    sample's tokens: the first loss is the unigram entropy and not the logarithm of the vocabulary's
    size.
    """

    version = 2

    def __init__(self, settings: HeadTraining, precision: Precision) -> None:
        """Stores rate, epochs and sizes of `settings`; `precision` as in `TrainingModule`."""
        super().__init__(
            epochs=settings.epochs,
            learning_rate=settings.learning_rate,
            batch_size=settings.batch_size,
            max_length=settings.max_length,
            weight_decay=0.01,
            warmup_fraction=0.0,
            clip=1.0,
            precision=precision,
            betas=(0.9, 0.999),
            eps=1e-8,
        )

    def training_step(self, states: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        """Returns the mean cross-entropy at the masked positions."""
        hidden, truth = states
        return torch.nn.functional.cross_entropy(self.model(hidden).float(), truth)

    def train_on(
        self, start: Path, corpus: Corpus, directory: Path, runtime: Runtime
    ) -> dict[str, Any]:
        """Returns facts of the training; the model with its head is written into `directory`.

        Args:
            start: directory of the encoder.
            corpus: a general sample, unlabelled.
            directory: where the model is written.
            runtime: the machine.

        Raises:
            InvalidInput: the model's head is not a module of its own, or no token can be predicted.
        """
        pl.seed_everything(0, verbose=False)
        model: Any = checkpoint.masked_lm(start, new_head=True)
        head = checkpoint.lm_head(model)
        if head is None:
            raise InvalidInput(
                "a masked-LM head as one module was expected in "
                f"{type(model).__name__}; set model.head=null"
            )
        tokenizer = checkpoint.tokenizer(start)
        tokens = tokenize(tokenizer, corpus.texts, None, self.max_length)
        for parameter in model.base_model.parameters():
            parameter.requires_grad_(False)
        _set_bias_to_frequencies(model, tokens)
        hidden, truth = self._states(model.eval(), tokens, tokenizer, runtime)
        if len(truth) == 0:
            raise InvalidInput(
                f"a masked-LM head needs tokens to predict, found none in {len(tokens)} documents; "
                "give a larger pool"
            )
        self.model = head
        self.prepare()
        loader: DataLoader[Any] = DataLoader(
            TensorDataset(hidden, truth),
            batch_size=self.batch_size,
            shuffle=True,
            generator=seeded(0, "head"),
        )
        self.run(loader, "masked-LM head", runtime)
        checkpoint.save(directory, model, tokenizer)
        self.model = None
        return {
            "documents": len(tokens),
            "truncated": tokens.truncated,
            "predictions": len(truth),
            "first_loss": self.losses[0],
            "last_loss": self.losses[-1],
        }

    def _states(
        self, model: Any, tokens: Tokens, tokenizer: Any, runtime: Runtime
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the (k, width) hidden states at the masked positions and their (k,) tokens."""
        generator = seeded(0, "masks")
        model.to(runtime.device)
        mixed = checkpoint.precision(self.precision_setting, runtime.device) == "bf16"
        hidden, truth = [], []
        show = runtime.progress
        with (
            progress.bar("hidden states", len(tokens), "documents", show=show) as report,
            torch.no_grad(),
            torch.autocast(runtime.device.type, torch.bfloat16, enabled=mixed),
        ):
            for rows in by_length(tokens.lengths, 8192):
                inputs = masked_batch(tokens, rows, tokenizer, MASK_SHARE, generator)
                labels = inputs.pop("labels")
                predicted = labels != IGNORED
                states = model.base_model(
                    **{name: value.to(runtime.device) for name, value in inputs.items()}
                ).last_hidden_state
                hidden.append(states[predicted.to(runtime.device)].float().cpu())
                truth.append(labels[predicted])
                report(len(rows))
        return torch.cat(hidden), torch.cat(truth)


def _set_bias_to_frequencies(model: Any, tokens: Tokens) -> None:
    """Sets the head's bias to the log-frequencies of the tokens, each counted 0.1 times more."""
    decoder = model.get_output_embeddings()
    if decoder is None or decoder.bias is None:
        return
    ids = torch.from_numpy(np.concatenate(tokens.ids))
    counts = torch.bincount(ids, minlength=decoder.bias.shape[0]).float() + 0.1
    with torch.no_grad():
        decoder.bias.copy_(torch.log(counts / counts.sum()))


def mask(
    ids: torch.Tensor,
    special: torch.Tensor,
    share: float,
    mask_id: int,
    vocabulary: int,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns (inputs, labels) of BERT's masking (Devlin et al. 2019, section 3.1), (b, t) each.

    Of the tokens that are not special, each is predicted with probability `share`; of these 80 %
    become the mask token, 10 % a random token, 10 % stay. The labels of the others are `IGNORED`.

    Args:
        ids: (b, t) token ids.
        special: (b, t) whether a token is special or padding.
        share: probability of being predicted.
        mask_id: id of the mask token.
        vocabulary: number of tokens.
        generator: source of the draws.
    """
    draw = torch.rand(ids.shape, generator=generator)
    predicted = (draw < share) & ~special
    labels = torch.where(predicted, ids, IGNORED)
    kind = torch.rand(ids.shape, generator=generator)
    masked = torch.where(predicted & (kind < 0.8), mask_id, ids)
    random = torch.randint(vocabulary, ids.shape, generator=generator)
    return torch.where(predicted & (kind >= 0.8) & (kind < 0.9), random, masked), labels


def masked_batch(
    tokens: Tokens,
    rows: Sequence[int] | NDArray[Any],
    tokenizer: Any,
    share: float,
    generator: torch.Generator,
) -> dict[str, torch.Tensor]:
    """Returns a batch of `tokens.batch` with masked `input_ids` and, in addition, their `labels`."""
    inputs = batch(tokens, rows, tokenizer.pad_token_id, types=False)
    ids = inputs["input_ids"]
    special = torch.isin(ids, torch.tensor(tokenizer.all_special_ids))
    inputs["input_ids"], inputs["labels"] = mask(
        ids, special, share, tokenizer.mask_token_id, len(tokenizer), generator
    )
    return inputs


def pack(documents: list[NDArray[np.int64]], block: int, end: int) -> NDArray[np.int64]:
    """Returns the documents concatenated, an end token after each, and cut into blocks.

    Args:
        documents: token ids without special tokens.
        block: tokens a block.
        end: id of the end token.

    Returns:
        (b, block) token ids; (1, n) of a stream of n tokens that is shorter than a block. The
        places that the stream does not fill, at the end of the last block, are `IGNORED`.
    """
    stream = np.concatenate([np.append(document, end) for document in documents])
    width = min(block, len(stream))
    blocks = np.full((-(-len(stream) // width), width), IGNORED, dtype=np.int64)
    blocks.ravel()[: len(stream)] = stream
    return blocks


def pack_shuffled(
    tokenizer: Any, end: int, corpus: Corpus, block: int, seed: int
) -> NDArray[np.int64]:
    """Returns the blocks of a corpus whose documents are shuffled first; see `pack`."""
    tokens = tokenize(tokenizer, corpus.texts, None, None)
    order = torch.randperm(len(tokens), generator=seeded(seed, "packing")).tolist()
    return pack([tokens.ids[row] for row in order], block, end)
