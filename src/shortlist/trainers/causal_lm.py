"""Causal-LM training: the warm-up of decoders, on documents packed into blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from shortlist.errors import InvalidInput
from shortlist.models import checkpoint
from shortlist.models.likelihood import causal_losses
from shortlist.models.tokens import tokenize
from shortlist.trainers.base import TrainingModule, seeded

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.core import Corpus
    from shortlist.models.likelihood import HeldOut
    from shortlist.runtime import Runtime


def pack(documents: list[NDArray[np.int64]], block: int, end: int) -> tuple[NDArray[np.int64], int]:
    """Returns (blocks, tail): documents joined with an end token after each and cut into blocks of
    equal length.

    Args:
        documents: token ids without special tokens.
        block: tokens a block.
        end: id of the end token.

    Returns:
        blocks (b, block), and how many tokens at the end did not fill a block. Fewer tokens than
        one block make one block shorter than `block`: nothing is dropped where that would drop
        everything.
    """
    stream = np.concatenate([np.append(document, end) for document in documents])
    full = len(stream) // block
    if full == 0:
        return stream[None, :], 0
    return stream[: full * block].reshape(full, block), len(stream) - full * block


class CausalLM(TrainingModule):
    """Next-token prediction on packed documents."""

    objective = "clm"

    def __init__(self, block: int, **settings: Any) -> None:
        """Stores the settings; `block` tokens a training example, the rest as in `TrainingModule`."""
        super().__init__(**settings)
        if block < 2:
            raise InvalidInput(f"warmup.block must be at least 2 tokens, found {block}")
        self.block = block

    def training_step(self, inputs: torch.Tensor, batch_idx: int) -> torch.Tensor:
        """Returns the mean cross-entropy of the next token."""
        logits = self.model(input_ids=inputs).logits[:, :-1]
        return torch.nn.functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]).float(), inputs[:, 1:].reshape(-1)
        )

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

        Arguments as in `MaskedLM.train_on`.
        """
        pl.seed_everything(seed, verbose=False)
        self.model = checkpoint.causal_lm(start)
        checkpoint.fits(self.model, self.block, "warmup.block")
        words = checkpoint.tokenizer(start)
        tokens = tokenize(words, corpus.texts, None, None)
        order = torch.randperm(len(tokens), generator=seeded(seed, "packing")).tolist()
        blocks, tail = pack([tokens.ids[row] for row in order], self.block, int(words.eos_token_id))
        examples: Any = torch.from_numpy(blocks)
        loader: DataLoader[Any] = DataLoader(
            examples,
            batch_size=self.batch_size,
            shuffle=True,
            generator=seeded(seed, "order"),
        )
        self.run(loader, what, runtime)
        checkpoint.save(directory, self.model, words)
        self.model = None
        return {
            "documents": len(tokens),
            "tokens": int(blocks.size),
            "tail_tokens_dropped": tail,
            "steps": len(self.losses),
            "first_loss": self.losses[0],
            "last_loss": self.losses[-1],
        }

    def losses_on(self, directory: Path, corpus: Corpus, runtime: Runtime) -> HeldOut:
        """Returns the loss of the model in `directory` on texts it was not trained on."""
        return causal_losses(directory, corpus, self.max_length, runtime)
