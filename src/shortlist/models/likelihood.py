"""How well a language model predicts texts: which tokens it is asked for, and the loss at each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from shortlist import progress
from shortlist.core import digest
from shortlist.errors import InvalidInput
from shortlist.models import checkpoint
from shortlist.models.tokens import Tokens, batch, by_length, tokenize
from shortlist.stats.sampling import uniform

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.core import Corpus
    from shortlist.progress import Report
    from shortlist.runtime import Runtime

IGNORED = -100  # the label of a token whose prediction is not asked for
MASK_SHARE = 0.15
MASK_KEY = 20240502  # arbitrary and fixed: every model is asked for the same tokens


def head_of(model: Any) -> Any:
    """Returns the module that turns hidden states into logits (BERT's `cls`, RoBERTa's `lm_head`),
    or None.
    """
    return getattr(model, "cls", None) or getattr(model, "lm_head", None)


def asked_logits(model: Any, inputs: dict[str, torch.Tensor], asked: torch.Tensor) -> torch.Tensor:
    """Returns (k, vocabulary) logits at the k asked-for positions only.

    The decoder costs as much as the rest of a small encoder; on 15 % of the positions it costs a
    seventh of that. A model whose head is not one module called on hidden states is run whole.
    """
    head = head_of(model)
    if head is None:
        return model(**inputs).logits[asked]
    return head(model.base_model(**inputs).last_hidden_state[asked])


@dataclass(frozen=True)
class HeldOut:
    """A language-model loss, kept by document so that two models can be compared document by
    document.

    Attributes:
        sums: (n,) loss in nats, summed over a document's predictions.
        counts: (n,) number of its predictions.
        protocol: hash of how it was measured.
        truncated: documents that were cut to the maximal length.
    """

    sums: NDArray[np.float64]
    counts: NDArray[np.float64]
    protocol: str
    truncated: int


@dataclass(frozen=True)
class Asked:
    """Documents as tokens, and the positions at which a model has to predict them.

    Attributes:
        tokens: the documents.
        places: n arrays of positions.
    """

    tokens: Tokens
    places: list[NDArray[np.int64]]

    @property
    def counts(self) -> NDArray[np.float64]:
        """(n,) number of predictions."""
        return np.array([len(row) for row in self.places], dtype=np.float64)


class LanguageModel(ABC):
    """A model that is open for predicting, float32, in evaluation mode.

    Attributes:
        objective: short name of what is predicted.
        rows_of_logits: how much smaller batches are made because of the logits.
    """

    objective: str
    rows_of_logits = 1

    def __init__(self, directory: Path, max_length: int, device: torch.device) -> None:
        """Opens the model and the tokenizer in `directory`."""
        self.words: Any = checkpoint.tokenizer(directory)
        self.model: Any = self.opened(directory).eval().to(device)
        self.max_length, self.device = max_length, device

    @abstractmethod
    def opened(self, directory: Path) -> Any:
        """Returns the model with its head."""

    @abstractmethod
    def ask(self, corpus: Corpus) -> Asked:
        """Returns the tokens, cut to `max_length`, and what is asked for: a function of each
        document alone.
        """

    @abstractmethod
    def logits(
        self, inputs: dict[str, torch.Tensor], line: torch.Tensor, place: torch.Tensor
    ) -> torch.Tensor:
        """Returns (k, vocabulary) logits that predict the tokens at (line, place), unseen."""

    def batches(self, asked: Asked, tokens_a_batch: int) -> list[NDArray[np.int64]]:
        """Returns the rows of each batch; documents that are asked for nothing are in none."""
        some = np.flatnonzero(asked.counts)
        size = tokens_a_batch // self.rows_of_logits
        return [some[rows] for rows in by_length(asked.tokens.lengths[some], size)]

    def losses(self, asked: Asked, rows: NDArray[Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the (k,) losses in nats of all predictions in these rows, in the order of the
        rows, and (k,) the number of the row among `rows` that each belongs to.
        """
        inputs = batch(asked.tokens, rows, int(self.words.pad_token_id), types=False)
        inputs = {name: value.to(self.device) for name, value in inputs.items()}
        counts = [len(asked.places[row]) for row in rows]
        line = torch.from_numpy(np.repeat(np.arange(len(rows)), counts)).to(self.device)
        place = torch.from_numpy(np.concatenate([asked.places[row] for row in rows]))
        place = place.to(self.device)
        truth = inputs["input_ids"][line, place]
        logits = self.logits(inputs, line, place)
        return torch.nn.functional.cross_entropy(logits.float(), truth, reduction="none"), line

    @torch.inference_mode()
    def sums(
        self, asked: Asked, tokens_a_batch: int, report: Report = lambda done: None
    ) -> NDArray[np.float64]:
        """Returns the (n,) loss in nats of each document, summed over its predictions."""
        found = np.zeros(len(asked.tokens))
        for rows in self.batches(asked, tokens_a_batch):
            losses, line = self.losses(asked, rows)
            np.add.at(found, rows[line.cpu().numpy()], losses.double().cpu().numpy())
            report(len(rows))
        report(int((asked.counts == 0).sum()))
        return found

    def held_out(self, corpus: Corpus, runtime: Runtime) -> HeldOut:
        """Returns the loss of each document of the corpus, with the protocol it was measured by."""
        asked = self.ask(corpus)
        show = runtime.progress
        with progress.bar("held-out loss", len(corpus), "documents", show=show) as report:
            sums = self.sums(asked, runtime.inference_tokens, report)
        hashed = protocol(self.objective, self.max_length, self.words)
        return HeldOut(sums, asked.counts, hashed, asked.tokens.truncated)


class Masked(LanguageModel):
    """An encoder: 15 % of a document's tokens are hidden and predicted from the others.

    Which is a hash of the document's id and the position: the same for every model, batch size and
    order. All become the mask token (no random ones: this measures, it does not train). A document in
    which no token is drawn is asked for its first.
    """

    objective = "mlm"

    def opened(self, directory: Path) -> Any:
        """Returns the model with its masked-LM head."""
        return checkpoint.masked_lm(directory)

    def ask(self, corpus: Corpus) -> Asked:
        """Returns the tokens and the positions that are hidden."""
        tokens = tokenize(self.words, corpus.texts, None, self.max_length)
        special = self.words.all_special_ids
        words = zip(tokens.ids, corpus.id_words(), strict=True)
        return Asked(tokens, [_asked(ids, int(word), special) for ids, word in words])

    def logits(
        self, inputs: dict[str, torch.Tensor], line: torch.Tensor, place: torch.Tensor
    ) -> torch.Tensor:
        """Returns the logits at the positions, the mask token in their place."""
        ids = inputs["input_ids"].clone()
        ids[line, place] = self.words.mask_token_id
        at = torch.zeros(ids.shape, dtype=torch.bool, device=ids.device)
        at[line, place] = True
        return asked_logits(self.model, {**inputs, "input_ids": ids}, at)


class Causal(LanguageModel):
    """A decoder: every token is predicted from those before it, the first from an end token."""

    objective = "clm"
    rows_of_logits = 4

    def opened(self, directory: Path) -> Any:
        """Returns the model with its causal-LM head."""
        return checkpoint.causal_lm(directory)

    def ask(self, corpus: Corpus) -> Asked:
        """Returns the tokens, an end token before each document, and all positions but the first."""
        texts = [f"{self.words.eos_token}{text}" for text in corpus.texts]
        tokens = tokenize(self.words, texts, None, self.max_length)
        return Asked(tokens, [np.arange(1, len(ids), dtype=np.int64) for ids in tokens.ids])

    def logits(
        self, inputs: dict[str, torch.Tensor], line: torch.Tensor, place: torch.Tensor
    ) -> torch.Tensor:
        """Returns the logits one position before."""
        return self.model(**inputs).logits[line, place - 1]


def protocol(objective: str, max_length: int, words: Any) -> str:
    """Returns the hash of how the loss is measured; losses under different hashes do not compare.

    The vocabulary of the tokenizer `words` is part of it: a loss per token is a loss per *its* token.
    """
    parts = ["held-out loss 2", objective, str(max_length), str(MASK_SHARE), str(MASK_KEY)]
    return digest([*parts, vocabulary(words)])


def vocabulary(words: Any) -> str:
    """Returns the hash of the tokens that the tokenizer `words` knows."""
    return digest(sorted(words.get_vocab()))


def masked_losses(directory: Path, corpus: Corpus, max_length: int, runtime: Runtime) -> HeldOut:
    """Returns the masked-LM loss of the model in `directory` on each document of the corpus."""
    return Masked(directory, max_length, runtime.device).held_out(corpus, runtime)


def causal_losses(directory: Path, corpus: Corpus, max_length: int, runtime: Runtime) -> HeldOut:
    """Returns the next-token loss of the model in `directory` on each document of the corpus.

    Raises:
        InvalidInput: the model has fewer than `max_length` positions.
    """
    model = Causal(directory, max_length, runtime.device)
    checkpoint.fits(model.model, max_length, "warmup.max_length")
    return model.held_out(corpus, runtime)


def causal_model(
    directory: Path, context: int | None, setting: str, device: torch.device
) -> Causal:
    """Returns the causal model in `directory`, its `max_length` the context; None: all it has.

    Raises:
        InvalidInput: it is no causal model, has no end token or no head in its weights, or it has
            fewer positions; the message names `setting`, which chose the context.
    """
    words = checkpoint.tokenizer(directory)
    if words.mask_token_id is not None:
        raise InvalidInput(
            f"{setting}: a model that predicts the next token was expected, found a masked one; "
            "choose model=gpt2, say"
        )
    checkpoint.end_of(words, directory)
    made = Causal(directory, context or 0, device)
    there = checkpoint.positions_of(made.model)
    if context is None and there is None:
        raise InvalidInput(f"the model does not say how many positions it has; set {setting}")
    made.max_length = checkpoint.fits(made.model, context or there or 0, setting)
    return made


def language_model(
    directory: Path, max_length: int, setting: str, device: torch.device
) -> LanguageModel:
    """Returns the model in `directory`: `Masked` where its tokenizer has a mask token, else `Causal`.

    Raises:
        InvalidInput: its weights have no such head, or it has fewer than `max_length` positions; the
            message names `setting`, which chose that.
    """
    kind = Causal if checkpoint.tokenizer(directory).mask_token_id is None else Masked
    made = kind(directory, max_length, device)
    checkpoint.fits(made.model, max_length, setting)
    return made


def _asked(ids: NDArray[np.int64], id_word: int, special: list[int]) -> NDArray[np.int64]:
    positions = np.flatnonzero(~np.isin(ids, special))
    if len(positions) == 0:
        return positions
    with np.errstate(over="ignore"):
        entropy = np.uint64(id_word) + positions.astype(np.uint64) * np.uint64(0xD1342543DE82EF95)
    drawn = positions[uniform(entropy, MASK_KEY) < MASK_SHARE]
    return drawn if len(drawn) else positions[:1]
