"""The words that a masked language model expects at masked places of a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from shortlist.errors import InvalidInput
from shortlist.models import checkpoint
from shortlist.models.likelihood import logits_at
from shortlist.models.tokens import batch, by_length, tokenize

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.runtime import Runtime

_BATCH = 8192  # tokens
_BEGINS = ("\u0120", "\u2581")  # of a token that begins a word, in byte-level BPE and SentencePiece

# The most probable words of a place, and their probabilities among all whole words, descending.
Expected = tuple[list[str], "NDArray[np.float64]"]


class MaskedWords:
    """A masked LM and the tokens of its vocabulary that are whole words.

    Attributes:
        mask: the text that stands for a masked word.
    """

    def __init__(self, directory: Path, max_length: int, runtime: Runtime) -> None:
        """Opens the model in `directory`, which reads `max_length` tokens of a text.

        Raises:
            InvalidInput: it has no masked-LM head, no mask token or no whole words.
        """
        self.model = checkpoint.masked_lm(directory).to(runtime.device).eval()
        self.tokenizer: Any = checkpoint.tokenizer(directory)
        self.max_length, self.device = max_length, runtime.device
        checkpoint.check_length(self.model, max_length, "task.augment.max_length")
        if self.tokenizer.mask_token is None:
            raise InvalidInput(
                f"augment.model: expected a tokenizer with a mask token, {directory} has none; choose "
                "a masked language model"
            )
        self.mask: str = self.tokenizer.mask_token
        self.words = _whole_words(self.tokenizer)
        if not self.words:
            raise InvalidInput(
                f"augment.model: expected whole words among the tokens of {directory}, found none; "
                "choose another masked language model"
            )
        self.ids = torch.tensor(list(self.words), device=self.device)

    def expected(self, texts: Sequence[str], k: int) -> list[list[Expected]]:
        """Returns, for each text, the `k` most probable whole words of each `mask` in it, in order;
        places beyond `max_length` tokens are missing at the end.

        The masks of a text are filled independently of each other. Probabilities are those among
        all whole words, float64 of a float32 model.
        """
        if not texts:
            return []
        tokens = tokenize(self.tokenizer, texts, None, self.max_length)
        found: list[list[Expected]] = [[] for _ in texts]
        names = list(self.words.values())
        k = min(k, len(names))
        with torch.no_grad():
            for rows in by_length(tokens.lengths, _BATCH):
                inputs = batch(tokens, rows, self.tokenizer.pad_token_id, types=False)
                inputs = {name: value.to(self.device) for name, value in inputs.items()}
                where = inputs["input_ids"] == self.tokenizer.mask_token_id
                logits = logits_at(self.model, inputs, where)[:, self.ids].double()
                best = logits.softmax(dim=1).topk(k, dim=1)
                owners = rows[where.nonzero()[:, 0].cpu().numpy()]
                chances, places = best.values.cpu().numpy(), best.indices.cpu().tolist()
                for row, of_it, at in zip(owners.tolist(), chances, places, strict=True):
                    found[row].append(([names[place] for place in at], of_it))
        return found


def _whole_words(tokenizer: Any) -> dict[int, str]:
    """Returns the words of two letters and more by token id; parts of words are none."""
    tokens: list[str] = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    marks = [mark for mark in _BEGINS if any(token.startswith(mark) for token in tokens)]
    special = set(tokenizer.all_special_ids)
    words: dict[int, str] = {}
    for number, token in enumerate(tokens):
        if number in special or not (token.startswith(marks[0]) if marks else token.isalpha()):
            continue
        word = tokenizer.convert_tokens_to_string([token]).strip() if marks else token
        if len(word) > 1 and word.isalpha():
            words[number] = word
    return words
