"""Causal-LM training: the warm-up of decoders, on documents packed into blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from shortlist.errors import InvalidInput
from shortlist.models import checkpoint
from shortlist.models.likelihood import IGNORED, held_out_loss
from shortlist.models.tokens import tokenize
from shortlist.trainers.base import TrainingModule, seeded

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.core import Corpus
    from shortlist.models.likelihood import HeldOut
    from shortlist.runtime import Runtime


def pack(documents: list[NDArray[np.int64]], block: int, end: int) -> NDArray[np.int64]:
    """Returns the documents joined, an end token after each, and cut into blocks.

    Args:
        documents: token ids without special tokens.
        block: tokens a block.
        end: id of the end token.

    Returns:
        (b, block) token ids; (1, n) of a stream of n tokens that is shorter than a block. What the
        stream lacks to fill the last block is `IGNORED`: read row by row without it, the blocks are
        the stream.
    """
    stream = np.concatenate([np.append(document, end) for document in documents])
    width = min(block, len(stream))
    blocks = np.full((-(-len(stream) // width), width), IGNORED, dtype=np.int64)
    blocks.ravel()[: len(stream)] = stream
    return blocks


def packed(words: Any, end: int, corpus: Corpus, block: int, seed: int) -> NDArray[np.int64]:
    """Returns the blocks of a corpus whose documents are shuffled first; see `pack`."""
    tokens = tokenize(words, corpus.texts, None, None)
    order = torch.randperm(len(tokens), generator=seeded(seed, "packing")).tolist()
    return pack([tokens.ids[row] for row in order], block, end)


class CausalLM(TrainingModule):
    """Next-token prediction on packed documents."""

    objective = "clm"
    place = "warmup"  # where its settings stand
    version = 2  # 1 dropped what did not fill the last block

    def __init__(self, block: int, **settings: Any) -> None:
        """Stores the settings; `block` tokens a training example, the rest as in `TrainingModule`."""
        super().__init__(**settings)
        if block < 2:
            raise InvalidInput(f"{self.place}.block must be at least 2 tokens, found {block}")
        self.block = block

    def training_step(self, inputs: torch.Tensor, batch_idx: int) -> torch.Tensor:
        """Returns the mean cross-entropy of the next token, 0 where no token has one."""
        # What is ignored stands at the end, where no token before it can see it.
        logits = self.model(input_ids=inputs.clamp(min=0)).logits[:, :-1]
        truth = inputs[:, 1:]
        if not (truth != IGNORED).any():  # a block of one token: the mean of nothing is no number
            return logits.sum() * 0.0
        return torch.nn.functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]).float(), truth.reshape(-1), ignore_index=IGNORED
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
        checkpoint.check_length(self.model, self.block, f"{self.place}.block")
        words = checkpoint.tokenizer(start)
        end = checkpoint.end_token_id(words, start)
        blocks = packed(words, end, corpus, self.block, seed)
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
            "documents": len(corpus),
            "tokens": int((blocks != IGNORED).sum()),
            "steps": len(self.losses),
            "first_loss": self.losses[0],
            "last_loss": self.losses[-1],
        }

    def losses_on(self, directory: Path, corpus: Corpus, runtime: Runtime) -> HeldOut:
        """Returns the loss of the model in `directory` on texts it was not trained on."""
        return held_out_loss("clm", directory, corpus, self.max_length, runtime)
