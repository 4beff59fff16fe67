"""Vectors by a pre-trained model: pooled hidden states, or the mean of its word embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray

from shortlist.core import Corpus
from shortlist.errors import InvalidInput, near
from shortlist.featurizers.base import Requirements, ShardedFeaturizer
from shortlist.models import checkpoint
from shortlist.models.checkpoint import fast_products
from shortlist.models.pretrained import Pretrained
from shortlist.models.tokens import TokenRuns, Tokens, batch, by_length, run_reader, tokenize
from shortlist.progress import Report
from shortlist.runtime import Runtime
from shortlist.settings import Count, Precision

Pooling = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Transformer(ShardedFeaturizer):
    """One vector a document: hidden states of one layer, pooled over the document's tokens.

    Encoder or decoder, streamed through Lightning's predict loop in batches of documents of similar
    length.

    Formula:
        v(x) = pooling of h_1 ... h_L, the hidden states of the document's tokens;
        `mean`: sum_i h_i / L

    Paper:
        The released code of GOT-D (Kang et al., ICLR 2024, arXiv 2405.02774) takes the mean of the
        last layer; RDS+ (Ivison et al. 2025, arXiv 2503.01807) weights by position.

    Deviations:
        Padding never enters a vector, except with `pooling=mean_all`, which repeats the released
        GOT-D code.

    Cost:
        One forward pass a document.
    """

    version = 2
    passes = 1
    model: Pretrained

    def __init__(
        self,
        model: Pretrained,
        max_length: Count,
        pooling: str,
        layer: int,
        normalise: bool,
        precision: Precision,
        tuning: Any,
    ) -> None:
        """Stores the settings.

        Args:
            model: the encoder or decoder.
            max_length: tokens read of a document; truncated documents are counted.
            pooling: a key of `POOLINGS`.
            layer: which hidden states: 0 the embeddings, 1 the first layer, -1 the last one (after
                the final normalisation, where the model has one).
            normalise: scale vectors to length 1.
            precision: `32`, `bf16` (cosine to float32 above 0.999 on MiniLM) or `auto`.
            tuning: the trainer that fine-tunes the model on the target first, or None: a trainer of
                labels (settings as those of `finetune`), or one that predicts tokens, for which an
                encoder without a token head gets one.

        Raises:
            InvalidInput: there is no such pooling.
        """
        if pooling not in POOLINGS:
            raise InvalidInput(
                f"featurizer has no pooling `{pooling}`; {near(pooling, set(POOLINGS))}"
            )
        self.model, self.max_length, self.pooling, self.layer = model, max_length, pooling, layer
        self.normalise, self.precision, self.tuning = normalise, precision, tuning

    def requirements(self) -> Requirements:
        """Returns the model and its tuning; one that predicts tokens needs a token head."""
        token_head = self.tuning is not None and self.tuning.objective is not None
        return Requirements(self.model, token_head, self.tuning)

    def identity(self, runtime: Runtime) -> dict[str, str]:
        """Returns the identity of the model and the precision that `auto` resolves to here."""
        precision = checkpoint.precision(self.precision, runtime.device)
        return {**self.model.identity(), "precision": precision}

    def reader(self, runtime: Runtime) -> Encoding:
        """Returns the open model.

        Raises:
            InvalidInput: the model has fewer positions, or no such layer.
        """
        home = self.model.directory()
        model = checkpoint.encoder(home)
        checkpoint.check_length(model, self.max_length, "featurizer.max_length")
        layers = int(model.config.num_hidden_layers)
        if not -layers - 1 <= self.layer <= layers:
            raise InvalidInput(
                f"featurizer.layer must lie between {-layers - 1} and {layers} in this model of "
                f"{layers} layers, found {self.layer}"
            )
        if getattr(model, "pooler", None) is not None:
            model.pooler = None  # BERT's own vector of the first token, which is not used
        half = checkpoint.precision(self.precision, runtime.device) == "bf16"
        module = Encoder(
            model.to(torch.bfloat16) if half else model,
            pooling=POOLINGS[self.pooling],
            layer=self.layer if self.layer not in (-1, layers) else None,
            normalise=self.normalise,
        )
        width = self.max_length if self.pooling == "mean_all" else 0
        return Encoding(module, checkpoint.tokenizer(home), self.max_length, width, half, runtime)


class Encoder(pl.LightningModule):
    """Batches of token ids to vectors."""

    def __init__(self, model: Any, *, pooling: Pooling, layer: int | None, normalise: bool) -> None:
        """Stores the model, the pooling of positions, the layer (None: the last), and whether
        vectors are scaled to length 1.
        """
        super().__init__()
        self.model, self.pooling, self.layer, self.normalise = model, pooling, layer, normalise

    def predict_step(self, inputs: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """Returns (b, width) float32."""
        if self.layer is None:
            hidden = self.model(**inputs).last_hidden_state
        else:
            hidden = self.model(**inputs, output_hidden_states=True).hidden_states[self.layer]
        pooled = self.pooling(hidden.float(), inputs["attention_mask"])
        return torch.nn.functional.normalize(pooled, dim=1) if self.normalise else pooled


@dataclass(frozen=True)
class Encoding:
    """An open model.

    Attributes:
        module: the model with its pooling.
        tokenizer: its tokenizer.
        max_length: tokens read of a document.
        width: least width of a batch; documents are padded to it.
        half: whether the weights are bfloat16.
        runtime: the machine.
    """

    module: Encoder
    tokenizer: Any
    max_length: int
    width: int
    half: bool
    runtime: Runtime

    @property
    def columns(self) -> int:
        """Width of the model."""
        return int(self.module.model.config.hidden_size)

    def rows(self, documents: Corpus, report: Report) -> tuple[NDArray[np.float32], dict[str, int]]:
        """Returns (n, width) float32; a document without a token is the zero vector, counted."""
        tokens = tokenize(self.tokenizer, documents.texts, None, self.max_length)
        values = np.zeros((len(documents), self.columns), dtype=np.float32)
        some = np.flatnonzero(tokens.lengths)  # attention over no token at all is not a number
        lengths = np.maximum(tokens.lengths[some], self.width)
        batches = [some[rows] for rows in by_length(lengths, self.runtime.inference_tokens)]
        if batches:
            inputs = _Inputs(
                tokens, batches, int(self.tokenizer.pad_token_id or 0), self.width, report
            )
            runner = self.runtime.trainer(inference_mode=True)
            with nullcontext() if self.half else fast_products(self.runtime.device, self.columns):
                vectors: Any = runner.predict(self.module, inputs)
            for rows, block in zip(batches, vectors, strict=True):
                values[rows] = block.float().cpu().numpy()
        empty = int((tokens.lengths == 0).sum())
        report(empty)
        counts = {"truncated": tokens.truncated}
        return values, counts | ({"without_words": empty} if empty else {})


@dataclass(frozen=True)
class _Inputs:
    """Padded batches of token ids; each is reported when the next one is asked for."""

    tokens: Tokens
    batches: list[NDArray[np.int64]]
    pad_id: int
    width: int
    report: Report

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        for rows in self.batches:
            yield batch(self.tokens, rows, self.pad_id, types=False, width=self.width)
            self.report(len(rows))


class Static(ShardedFeaturizer):
    """The mean input embedding of a document's tokens, special tokens left out.

    Formula:
        v(x) = mean over the tokens of x of the model's input embedding

    Paper:
        None: the cheap stand-in for a model's mean hidden state.

    Deviations:
        None.

    Cost:
        No forward pass: some thousand documents a second on one core, with a tokenizer like BERT's
        about ten thousand.
    """

    model: Pretrained
    doing = "static embeddings"

    def __init__(self, model: Pretrained, max_length: Count, normalise: bool) -> None:
        """Stores the settings.

        Args:
            model: the model whose word embeddings are used.
            max_length: tokens read of a document; truncated documents are counted.
            normalise: scale vectors to length 1.
        """
        self.model, self.max_length, self.normalise = model, max_length, normalise

    def reader(self, runtime: Runtime) -> EmbeddingTable:
        """Returns the table of word embeddings."""
        home = self.model.directory()
        embeddings: Any = checkpoint.encoder(home).get_input_embeddings()
        tokenizer = checkpoint.tokenizer(home)
        return EmbeddingTable(
            embeddings.weight.detach().float(),
            run_reader(tokenizer, self.max_length),
            tokenizer.all_special_ids,
            self.normalise,
        )


@dataclass(frozen=True)
class EmbeddingTable:
    """A table of word embeddings.

    Attributes:
        table: (vocabulary, width) float32.
        read: the tokenizer, which cuts texts to what is read of a document.
        special: ids of the tokens that are left out.
        normalise: whether vectors are scaled to length 1.
    """

    table: torch.Tensor
    read: Callable[[Sequence[str]], TokenRuns]
    special: Sequence[int]
    normalise: bool

    @property
    def columns(self) -> int:
        """Width of the table."""
        return int(self.table.shape[1])

    def rows(self, documents: Corpus, report: Report) -> tuple[NDArray[np.float32], dict[str, int]]:
        """Returns (n, width) float32; one without a known word is the zero vector, counted."""
        tokens = self.read(documents.texts)
        ids = tokens.ids
        kept = ~np.isin(ids, self.special)
        ends = np.concatenate([[0], np.cumsum(kept)])[np.cumsum(tokens.lengths)]
        offsets = np.concatenate([[0], ends[:-1]])
        mean = torch.nn.functional.embedding_bag(
            torch.from_numpy(ids[kept]), self.table, torch.from_numpy(offsets), mode="mean"
        )
        if self.normalise:
            mean = torch.nn.functional.normalize(mean, dim=1)
        report(len(documents))
        empty = int((np.diff(ends, prepend=0) == 0).sum())
        return mean.numpy(), {"truncated": tokens.truncated, "without_words": empty}


def mean(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Returns (b, w): the mean over a document's own tokens.

    Args:
        hidden: (b, t, w) hidden states.
        mask: (b, t) 1 at tokens, 0 at padding, which may be on either side.
    """
    return _weighted_mean(hidden, mask.to(hidden.dtype))


def mean_all(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Returns (b, w): the mean over all t positions, padding included.

    The released GOT-D code takes it over 295 positions (notebooks: `padding="max_length"`, plain
    mean): padding is not attended to, but its hidden states enter, so a short text's vector is
    mostly that of padding. The featurizer pads every document to `max_length` for it.
    """
    return hidden.mean(1)


def last_token(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Returns (b, w): the state of the last token, which in a decoder depends on all the others."""
    places = torch.arange(mask.shape[1], device=mask.device)
    last = (mask.bool() * (places + 1)).argmax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), last]


def position_weighted(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Returns (b, w): the mean with weight i at a document's i-th token, i = 1 ... L.

    RDS+ (Ivison et al. 2025, arXiv 2503.01807): later states of a decoder depend on more tokens.
    Positions are counted within the document, so padding, on either side, changes nothing.
    """
    return _weighted_mean(hidden, (mask.cumsum(1) * mask).to(hidden.dtype))


def _weighted_mean(hidden: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    total = weights.sum(1, keepdim=True)
    return torch.bmm((weights / total)[:, None], hidden)[:, 0]


POOLINGS: Mapping[str, Pooling] = {
    each.__name__: each for each in (mean, mean_all, last_token, position_weighted)
}
