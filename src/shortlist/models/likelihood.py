"""Loss of a language model on texts: which tokens are predicted, and the loss in nats of each.

A loss is summed by document, so that two models can be compared document by document. Batches are
formed by length; a document's loss does not depend on the batch beyond rounding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from shortlist import progress
from shortlist.core import digest
from shortlist.errors import InvalidInput
from shortlist.models import checkpoint
from shortlist.models.tokens import Tokens, batch, by_length, tokenize
from shortlist.stats.sampling import uniform

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.core import Corpus
    from shortlist.progress import Report
    from shortlist.runtime import Runtime

IGNORED = -100  # the label of a token that is not predicted
MASK_SHARE = 0.15
MASK_KEY = 20240502  # arbitrary and fixed: every model predicts the same tokens


def logits_at(model: Any, inputs: dict[str, torch.Tensor], where: torch.Tensor) -> torch.Tensor:
    """Returns (k, vocabulary) logits at the k positions where the (b, t) mask `where` is true.

    The head costs as much as the rest of a small encoder; on 15 % of the positions it costs a
    seventh of that. A model whose head is not one module on hidden states is run as a whole.
    """
    head = checkpoint.lm_head(model)
    if head is None:
        return model(**inputs).logits[where]
    return head(model.base_model(**inputs).last_hidden_state[where])


@dataclass(frozen=True)
class HeldOut:
    """A language model's loss on held-out texts, by document.

    Attributes:
        sums: (n,) loss in nats, summed over a document's predictions.
        counts: (n,) number of its predictions.
        protocol: hash of how it was measured.
        truncated: number of documents that were cut to the maximal length.
    """

    sums: NDArray[np.float64]
    counts: NDArray[np.float64]
    protocol: str
    truncated: int


@dataclass(frozen=True)
class Predictions:
    """Tokenized documents, and the positions whose tokens a model predicts.

    Attributes:
        tokens: the n documents.
        positions: n arrays of positions.
    """

    tokens: Tokens
    positions: list[NDArray[np.int64]]

    @staticmethod
    def of(
        ids: list[NDArray[np.int64]], positions: list[NDArray[np.int64]], truncated: int
    ) -> Predictions:
        """Returns the predictions at `positions` in single texts of these token ids."""
        lengths = np.array([len(row) for row in ids], dtype=np.int64)
        return Predictions(
            Tokens(ids, [np.zeros_like(row) for row in ids], lengths, truncated), positions
        )

    @property
    def counts(self) -> NDArray[np.float64]:
        """(n,) number of predictions."""
        return np.array([len(row) for row in self.positions], dtype=np.float64)


class LanguageModel(ABC):
    """A language model in memory, float32, in evaluation mode.

    Attributes:
        objective: `mlm` or `clm`.
        load: function from a directory to the model with its head.
        rows_of_logits: divisor of the batch size, for the memory of the logits.
    """

    objective: ClassVar[str]
    load: ClassVar[Callable[[Path], Any]]
    rows_of_logits = 1

    def __init__(self, directory: Path, max_length: int, device: torch.device) -> None:
        """Loads the model and the tokenizer in `directory`."""
        self.tokenizer: Any = checkpoint.tokenizer(directory)
        self.model: Any = type(self).load(directory).eval().to(device)
        self.max_length, self.device = max_length, device

    @abstractmethod
    def predictions(self, corpus: Corpus) -> Predictions:
        """Returns the tokens, cut to `max_length`, and the predicted positions, which are a function
        of each document alone.
        """

    @abstractmethod
    def logits(
        self, inputs: dict[str, torch.Tensor], line: torch.Tensor, place: torch.Tensor
    ) -> torch.Tensor:
        """Returns (k, vocabulary) logits of the tokens at (line, place), without the model reading
        them.
        """

    def batches(self, predictions: Predictions, tokens_a_batch: int) -> list[NDArray[np.int64]]:
        """Returns the rows of each batch; documents without a prediction are in none."""
        some = np.flatnonzero(predictions.counts)
        size = tokens_a_batch // self.rows_of_logits
        return [some[rows] for rows in by_length(predictions.tokens.lengths[some], size)]

    def losses(
        self, predictions: Predictions, rows: NDArray[Any]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the (k,) losses in nats of all predictions in these rows, in the order of the
        rows, and the (k,) places within `rows` of the documents that they belong to.
        """
        inputs = batch(predictions.tokens, rows, int(self.tokenizer.pad_token_id), types=False)
        inputs = {name: value.to(self.device) for name, value in inputs.items()}
        positions = [predictions.positions[row] for row in rows]
        counts = [len(row) for row in positions]
        line = torch.from_numpy(np.repeat(np.arange(len(rows)), counts)).to(self.device)
        place = torch.from_numpy(np.concatenate(positions)).to(self.device)
        truth = inputs["input_ids"][line, place]
        logits = self.logits(inputs, line, place)
        return torch.nn.functional.cross_entropy(logits.float(), truth, reduction="none"), line

    @torch.inference_mode()
    def loss_sums(
        self, predictions: Predictions, tokens_a_batch: int, report: Report = lambda done: None
    ) -> NDArray[np.float64]:
        """Returns the (n,) loss in nats of each document, summed over its predictions."""
        sums = np.zeros(len(predictions.tokens))
        for rows in self.batches(predictions, tokens_a_batch):
            losses, line = self.losses(predictions, rows)
            np.add.at(sums, rows[line.cpu().numpy()], losses.double().cpu().numpy())
            report(len(rows))
        report(int((predictions.counts == 0).sum()))
        return sums


class Masked(LanguageModel):
    """An encoder: 15 % of a document's tokens are masked and predicted from the others.

    Which tokens is a hash of the document's id and the position: the same for every model, batch
    size and order. All of them become the mask token (none a random one, as in training). A document
    in which no token is drawn predicts its first.
    """

    objective = "mlm"
    load = staticmethod(checkpoint.masked_lm)

    def predictions(self, corpus: Corpus) -> Predictions:
        """Returns the tokens and the masked positions."""
        tokens = tokenize(self.tokenizer, corpus.texts, None, self.max_length)
        special = self.tokenizer.all_special_ids
        pairs = zip(tokens.ids, corpus.id_bits(), strict=True)
        return Predictions(
            tokens, [masked_positions(ids, int(bits), special) for ids, bits in pairs]
        )

    def logits(
        self, inputs: dict[str, torch.Tensor], line: torch.Tensor, place: torch.Tensor
    ) -> torch.Tensor:
        """Returns the logits at the positions, with the mask token in their place."""
        ids = inputs["input_ids"].clone()
        ids[line, place] = self.tokenizer.mask_token_id
        where = torch.zeros(ids.shape, dtype=torch.bool, device=ids.device)
        where[line, place] = True
        return logits_at(self.model, {**inputs, "input_ids": ids}, where)


class Causal(LanguageModel):
    """A decoder: every token is predicted from those before it, the first from an end token."""

    objective = "clm"
    load = staticmethod(checkpoint.causal_lm)
    rows_of_logits = 4

    def predictions(self, corpus: Corpus) -> Predictions:
        """Returns the tokens, an end token before each document, and all positions but the first."""
        texts = [f"{self.tokenizer.eos_token}{text}" for text in corpus.texts]
        tokens = tokenize(self.tokenizer, texts, None, self.max_length)
        return Predictions(tokens, [np.arange(1, len(ids), dtype=np.int64) for ids in tokens.ids])

    def logits(
        self, inputs: dict[str, torch.Tensor], line: torch.Tensor, place: torch.Tensor
    ) -> torch.Tensor:
        """Returns the logits one position before."""
        return self.model(**inputs).logits[line, place - 1]


def protocol(objective: str, max_length: int, tokenizer: Any) -> str:
    """Returns the hash of how the loss is measured; losses under different hashes do not compare.

    The tokenizer's vocabulary is part of it: a loss per token depends on the tokens.
    """
    parts = ["held-out loss 2", objective, str(max_length), str(MASK_SHARE), str(MASK_KEY)]
    return digest([*parts, vocabulary(tokenizer)])


def vocabulary(tokenizer: Any) -> str:
    """Returns the hash of the tokenizer's tokens."""
    return digest(sorted(tokenizer.get_vocab()))


def held_out_loss(
    objective: str, directory: Path, corpus: Corpus, max_length: int, runtime: Runtime
) -> HeldOut:
    """Returns the loss of the model in `directory` on each document of the corpus.

    Args:
        objective: `mlm` or `clm`.
        directory: directory of the checkpoint.
        corpus: texts that the model was not trained on.
        max_length: tokens read of a document.
        runtime: the machine.

    Raises:
        InvalidInput: the model has no such head, or fewer than `max_length` positions.
    """
    model = {"mlm": Masked, "clm": Causal}[objective](directory, max_length, runtime.device)
    checkpoint.check_length(model.model, max_length, "warmup.max_length")
    predictions, show = model.predictions(corpus), runtime.progress
    with progress.bar("held-out loss", len(corpus), "documents", show=show) as report:
        sums = model.loss_sums(predictions, runtime.inference_tokens, report)
    hashed = protocol(objective, max_length, model.tokenizer)
    return HeldOut(sums, predictions.counts, hashed, predictions.tokens.truncated)


def causal_model(
    directory: Path, context: int | None, setting: str, device: torch.device
) -> Causal:
    """Returns the causal model in `directory` with `max_length` set to `context`, or to the number of
    its positions where that is None.

    Raises:
        InvalidInput: it is a masked language model, has no end token or no trained head, or has fewer
            positions; the message names `setting`, which sets the context.
    """
    tokenizer = checkpoint.tokenizer(directory)
    if tokenizer.mask_token_id is not None:
        raise InvalidInput(
            f"{setting}: a model that predicts the next token was expected, found a masked one; "
            "choose model=gpt2 for example"
        )
    checkpoint.end_token_id(tokenizer, directory)
    model = Causal(directory, context or 0, device)
    positions = checkpoint.positions_of(model.model)
    if context is None and positions is None:
        raise InvalidInput(
            f"the model's configuration states no number of positions; set {setting}"
        )
    model.max_length = checkpoint.check_length(model.model, context or positions or 0, setting)
    return model


def language_model(
    directory: Path, max_length: int, setting: str, device: torch.device
) -> LanguageModel:
    """Returns the model in `directory`: `Masked` where its tokenizer has a mask token, else `Causal`.

    Raises:
        InvalidInput: its weights have no such head, or it has fewer than `max_length` positions; the
            message names `setting`, which sets that length.
    """
    kind = Causal if checkpoint.tokenizer(directory).mask_token_id is None else Masked
    model = kind(directory, max_length, device)
    checkpoint.check_length(model.model, max_length, setting)
    return model


def masked_positions(ids: NDArray[np.int64], id_bits: int, special: list[int]) -> NDArray[np.int64]:
    """Returns the masked positions of one document, a function of its id alone."""
    positions = np.flatnonzero(~np.isin(ids, special))
    if len(positions) == 0:
        return positions
    with np.errstate(over="ignore"):
        entropy = np.uint64(id_bits) + positions.astype(np.uint64) * np.uint64(0xD1342543DE82EF95)
    drawn = positions[uniform(entropy, MASK_KEY) < MASK_SHARE]
    return drawn if len(drawn) else positions[:1]
