"""Masked-LM training: the warm-up of encoders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from shortlist.errors import InvalidInput
from shortlist.models import checkpoint
from shortlist.models.likelihood import IGNORED, held_out_loss, logits_at
from shortlist.models.tokens import Buckets, Tokens, batch, tokenize
from shortlist.trainers.base import TrainingModule, seeded

if TYPE_CHECKING:
    from pathlib import Path

    from shortlist.core import Corpus
    from shortlist.models.likelihood import HeldOut
    from shortlist.runtime import Runtime


def mask(
    ids: torch.Tensor,
    special: torch.Tensor,
    share: float,
    mask_id: int,
    words: int,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns (inputs, labels) of BERT's masking (Devlin et al. 2019, section 3.1).

    Of the tokens that are not special, each is asked for with probability `share`; of these 80 %
    become the mask token, 10 % a random token, 10 % stay.

    Args:
        ids: (b, t) token ids.
        special: (b, t) True where a token is special or padding.
        share: probability of being asked for.
        mask_id: id of the mask token.
        words: size of the vocabulary.
        generator: source of the draws.
    """
    draw = torch.rand(ids.shape, generator=generator)
    asked = (draw < share) & ~special
    labels = torch.where(asked, ids, IGNORED)
    kind = torch.rand(ids.shape, generator=generator)
    replaced = torch.where(asked & (kind < 0.8), mask_id, ids)
    anything = torch.randint(words, ids.shape, generator=generator)
    return torch.where(asked & (kind >= 0.8) & (kind < 0.9), anything, replaced), labels


class MaskedLM(TrainingModule):
    """Masked language modelling on a corpus."""

    objective = "mlm"

    def __init__(self, mask_share: float, **settings: Any) -> None:
        """Stores the settings; `mask_share` of the tokens are asked for, the rest as in
        `TrainingModule`.
        """
        super().__init__(**settings)
        if not 0 < mask_share < 1:
            raise InvalidInput(f"warmup.mask_share must lie between 0 and 1, found {mask_share}")
        self.mask_share = mask_share

    def training_step(self, inputs: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """Returns the mean cross-entropy over the asked-for tokens, 0 where there is none."""
        labels = inputs.pop("labels")
        asked = labels != IGNORED
        logits = logits_at(self.model, inputs, asked)
        if not asked.any():  # a few words in the last batch: the mean of nothing is not a number
            return logits.sum() * 0.0
        return torch.nn.functional.cross_entropy(logits.float(), labels[asked])

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
            start: directory of the model to start from.
            corpus: the documents, unlabelled.
            directory: where the model is written.
            seed: decides order, masks and dropout.
            runtime: the machine.
            what: name on the progress bar.
        """
        pl.seed_everything(seed, verbose=False)
        self.model = checkpoint.masked_lm(start)
        checkpoint.check_length(self.model, self.max_length, "warmup.max_length")
        words = checkpoint.tokenizer(start)
        tokens = tokenize(words, corpus.texts, None, self.max_length)
        loader = self._loader(tokens, words, seed)
        self.run(loader, what, runtime)
        checkpoint.save(directory, self.model, words)
        self.model = None
        return {
            "documents": len(tokens),
            "tokens": int(tokens.lengths.sum()),
            "truncated": tokens.truncated,
            "steps": len(self.losses),
            "first_loss": self.losses[0],
            "last_loss": self.losses[-1],
        }

    def losses_on(self, directory: Path, corpus: Corpus, runtime: Runtime) -> HeldOut:
        """Returns the loss of the model in `directory` on texts it was not trained on."""
        return held_out_loss("mlm", directory, corpus, self.max_length, runtime)

    def _loader(self, tokens: Tokens, words: Any, seed: int) -> DataLoader[Any]:
        generator = seeded(seed, "masks")
        special = torch.tensor(words.all_special_ids)

        def collate(rows: list[int]) -> dict[str, torch.Tensor]:
            inputs = batch(tokens, rows, words.pad_token_id, types=False)
            ids = inputs["input_ids"]
            inputs["input_ids"], inputs["labels"] = mask(
                ids,
                torch.isin(ids, special),
                self.mask_share,
                words.mask_token_id,
                len(words),
                generator,
            )
            return inputs

        order = Buckets(tokens.lengths, self.batch_size, seeded(seed, "order"))
        rows: Any = range(len(tokens))
        return DataLoader(rows, batch_sampler=order, collate_fn=collate)
