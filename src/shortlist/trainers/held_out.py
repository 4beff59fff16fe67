"""How well a language model predicts texts that it was not trained on: the measure of "moved toward
the target".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from shortlist import progress
from shortlist.core import digest
from shortlist.models import checkpoint
from shortlist.models.tokens import Tokens, batch, by_length, tokenize
from shortlist.numerics.sampling import uniform

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.core import Corpus
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


def protocol(objective: str, max_length: int, words: Any) -> str:
    """Returns the hash of how the loss is measured; losses under different hashes do not compare.

    The vocabulary of the tokenizer `words` is part of it: a loss per token is a loss per *its* token.
    """
    vocabulary = digest(sorted(words.get_vocab()))
    parts = ["held-out loss 2", objective, str(max_length), str(MASK_SHARE), str(MASK_KEY)]
    return digest([*parts, vocabulary])


def masked_losses(directory: Path, corpus: Corpus, max_length: int, runtime: Runtime) -> HeldOut:
    """Returns the masked-LM loss of the model in `directory` on each document of the corpus.

    Which tokens are asked for is a hash of the document's id and the position: the same for every
    model, batch size and order. All become the mask token (no random ones: this measures, it does
    not train). A document in which no token is drawn is asked for its first.
    """
    words = checkpoint.tokenizer(directory)
    model = checkpoint.masked_lm(directory).eval().to(runtime.device)
    tokens = tokenize(words, corpus.texts, None, max_length)
    asked = [
        _asked(tokens.ids[i], int(word), words.all_special_ids)
        for i, word in enumerate(corpus.id_words())
    ]
    sums, counts = np.zeros(len(tokens)), np.array([len(row) for row in asked], dtype=np.float64)
    with (
        progress.bar("held-out loss", len(tokens), "documents", show=runtime.progress) as report,
        torch.inference_mode(),
    ):
        for rows in by_length(tokens.lengths, runtime.inference_tokens):
            sums[rows] = _batch_losses(model, tokens, asked, rows, words, runtime)
            report(len(rows))
    return HeldOut(sums, counts, protocol("mlm", max_length, words), tokens.truncated)


def _asked(ids: NDArray[np.int64], id_word: int, special: list[int]) -> NDArray[np.int64]:
    positions = np.flatnonzero(~np.isin(ids, special))
    if len(positions) == 0:
        return positions
    with np.errstate(over="ignore"):
        entropy = np.uint64(id_word) + positions.astype(np.uint64) * np.uint64(0xD1342543DE82EF95)
    drawn = positions[uniform(entropy, MASK_KEY) < MASK_SHARE]
    return drawn if len(drawn) else positions[:1]


def _batch_losses(
    model: Any,
    tokens: Tokens,
    asked: list[NDArray[np.int64]],
    rows: NDArray[Any],
    words: Any,
    runtime: Runtime,
) -> NDArray[np.float64]:
    inputs = batch(tokens, rows, words.pad_token_id, types=False)
    line = torch.from_numpy(np.repeat(np.arange(len(rows)), [len(asked[row]) for row in rows]))
    place = torch.from_numpy(np.concatenate([asked[row] for row in rows]))
    truth = inputs["input_ids"][line, place].to(runtime.device)
    inputs["input_ids"][line, place] = words.mask_token_id
    inputs = {name: value.to(runtime.device) for name, value in inputs.items()}
    at = torch.zeros(inputs["input_ids"].shape, dtype=torch.bool, device=runtime.device)
    at[line, place] = True
    losses = torch.nn.functional.cross_entropy(
        asked_logits(model, inputs, at).float(), truth, reduction="none"
    )
    sums = np.zeros(len(rows))
    np.add.at(sums, line.numpy(), losses.double().cpu().numpy())
    return sums
