"""The masked-LM head of an encoder that comes without one, trained alone.

The encoder is frozen, so its hidden states at the masked positions are computed once and the epochs
cost the head only. The decoder stays tied to the (frozen) word embeddings; what is trained is the
transform before it and the bias, which starts at the log-frequencies of the sample's words: the
head begins at the unigram loss instead of at the logarithm of the vocabulary's size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from shortlist import progress
from shortlist.errors import InvalidInput
from shortlist.models import checkpoint
from shortlist.models.likelihood import IGNORED
from shortlist.models.tokens import Tokens, batch, by_length, tokenize
from shortlist.trainers.base import TrainingModule, seeded
from shortlist.trainers.masked_lm import mask

if TYPE_CHECKING:
    from pathlib import Path

    from shortlist.core import Corpus
    from shortlist.models.pretrained import HeadTraining
    from shortlist.runtime import Runtime

MASK_SHARE = 0.15


class Head(TrainingModule):
    """A masked-LM head on stored hidden states."""

    version = 2

    def __init__(self, settings: HeadTraining, precision: str) -> None:
        """Takes rate, epochs and sizes from `settings`; `precision` as in `TrainingModule`."""
        super().__init__(
            epochs=settings.epochs,
            learning_rate=settings.learning_rate,
            batch_size=settings.batch_size,
            max_length=settings.max_length,
            weight_decay=0.01,
            warmup_fraction=0.0,
            clip=1.0,
            precision=precision,
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
            InvalidInput: the model's head is not a module of its own.
        """
        pl.seed_everything(0, verbose=False)
        whole: Any = checkpoint.masked_lm(start, new_head=True)
        head = checkpoint.lm_head(whole)
        if head is None:
            raise InvalidInput(
                f"a masked-LM head as one module was expected in {type(whole).__name__}; set model.head=null"
            )
        words = checkpoint.tokenizer(start)
        tokens = tokenize(words, corpus.texts, None, self.max_length)
        for parameter in whole.base_model.parameters():
            parameter.requires_grad_(False)
        _start_at_frequencies(whole, tokens)
        hidden, truth = self._states(whole.eval(), tokens, words, runtime)
        if len(truth) == 0:
            raise InvalidInput(
                f"a masked-LM head needs words to predict, found none in {len(tokens)} documents; "
                "give a larger pool"
            )
        self.model = head
        loader: DataLoader[Any] = DataLoader(
            TensorDataset(hidden, truth),
            batch_size=self.batch_size,
            shuffle=True,
            generator=seeded(0, "head"),
        )
        self.run(loader, "masked-LM head", runtime)
        checkpoint.save(directory, whole, words)
        self.model = None
        return {
            "documents": len(tokens),
            "truncated": tokens.truncated,
            "predictions": len(truth),
            "first_loss": self.losses[0],
            "last_loss": self.losses[-1],
        }

    def _states(
        self, model: Any, tokens: Tokens, words: Any, runtime: Runtime
    ) -> tuple[torch.Tensor, torch.Tensor]:
        generator, special = seeded(0, "masks"), torch.tensor(words.all_special_ids)
        model.to(runtime.device)
        mixed = checkpoint.precision(self.wanted_precision, runtime.device) == "bf16"
        hidden, truth = [], []
        with (
            progress.bar(
                "hidden states", len(tokens), "documents", show=runtime.progress
            ) as report,
            torch.no_grad(),
            torch.autocast(runtime.device.type, torch.bfloat16, enabled=mixed),
        ):
            for rows in by_length(tokens.lengths, 8192):
                inputs = batch(tokens, rows, words.pad_token_id, types=False)
                ids = inputs["input_ids"]
                inputs["input_ids"], labels = mask(
                    ids,
                    torch.isin(ids, special),
                    MASK_SHARE,
                    words.mask_token_id,
                    len(words),
                    generator,
                )
                asked = labels != IGNORED
                states = model.base_model(
                    **{k: v.to(runtime.device) for k, v in inputs.items()}
                ).last_hidden_state
                hidden.append(states[asked.to(runtime.device)].float().cpu())
                truth.append(labels[asked])
                report(len(rows))
        return torch.cat(hidden), torch.cat(truth)


def _start_at_frequencies(model: Any, tokens: Tokens) -> None:
    decoder = model.get_output_embeddings()
    if decoder is None or decoder.bias is None:
        return
    counts = (
        torch.bincount(
            torch.from_numpy(np.concatenate(tokens.ids)), minlength=decoder.bias.shape[0]
        ).float()
        + 0.1
    )
    with torch.no_grad():
        decoder.bias.copy_(torch.log(counts / counts.sum()))
