"""Mean hidden state of an encoder, streamed through Lightning's predict loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import BasePredictionWriter
from torch.utils.data import DataLoader, Dataset

from shortlist import progress
from shortlist.featurizers.base import Featurizer, allocate
from shortlist.models import checkpoint
from shortlist.models.tokens import Tokens, batch, by_length, tokenize

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.core import Corpus
    from shortlist.models.pretrained import Pretrained
    from shortlist.progress import Report
    from shortlist.runtime import Runtime


class Encoder(pl.LightningModule):
    """Batches of token ids to vectors."""

    def __init__(self, model: Any, *, normalise: bool, padding_counts: bool = False) -> None:
        """Stores the encoder, whether vectors are scaled to length 1, and whether padding counts."""
        super().__init__()
        self.model, self.normalise, self.padding_counts = model, normalise, padding_counts

    def predict_step(self, inputs: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """Returns (b, width) float32: the mean of the last hidden states over a document's tokens."""
        hidden = self.model(
            **{name: value for name, value in inputs.items() if name != "rows"}
        ).last_hidden_state.float()
        mask = inputs["attention_mask"][..., None].float()
        mean = hidden.mean(1) if self.padding_counts else (hidden * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(mean, dim=1) if self.normalise else mean


class _Rows(BasePredictionWriter):
    """Puts each batch's vectors into their rows: batches come in the order of length, not of the
    corpus.
    """

    def __init__(self, values: NDArray[np.float32], report: Report) -> None:
        super().__init__(write_interval="batch")
        self.values, self.report = values, report

    def write_on_batch_end(
        self,
        trainer: Any,
        pl_module: Any,
        prediction: Any,
        batch_indices: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        self.values[batch["rows"].cpu().numpy()] = prediction.float().cpu().numpy()
        self.report(len(prediction))


class Transformer(Featurizer):
    """Masked mean of an encoder's last hidden states (padding never counts)."""

    padding_counts = False

    def __init__(self, model: Pretrained, max_length: int, normalise: bool, precision: str) -> None:
        """Stores the settings.

        Args:
            model: the encoder.
            max_length: tokens read of a document; what is cut is counted.
            normalise: scale vectors to length 1.
            precision: `32`, `bf16` (cosine to float32 above 0.999 on MiniLM) or `auto`.
        """
        self.model, self.max_length, self.normalise, self.precision = (
            model,
            max_length,
            normalise,
            precision,
        )

    def identity(self, runtime: Runtime) -> dict[str, str]:
        """Returns the identity of the model and the precision that `auto` comes to here."""
        return {
            **self.model.identity(),
            "precision": checkpoint.precision(self.precision, runtime.device),
        }

    def compute(
        self, corpus: Corpus, directory: Path, runtime: Runtime
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Returns (n, width) float32 vectors and how many documents were truncated."""
        home = self.model.directory()
        model = checkpoint.encoder(home)
        checkpoint.fits(model, self.max_length, "featurizer.max_length")
        if checkpoint.precision(self.precision, runtime.device) == "bf16":
            model = model.to(torch.bfloat16)
        words = checkpoint.tokenizer(home)
        show = runtime.progress
        with progress.bar("tokens", len(corpus), "documents", show=show) as report:
            tokens = tokenize(words, corpus.texts, None, self.max_length, report)
        values = allocate(directory, len(corpus), int(model.config.hidden_size))
        width = self.max_length if self.padding_counts else 0
        batches = _Batches(tokens, int(words.pad_token_id or 0), runtime.inference_tokens, width)
        loader: DataLoader[Any] = DataLoader(batches, batch_size=None)
        with progress.bar("embeddings", len(corpus), "documents", show=show) as report:
            runner = runtime.trainer(callbacks=[_Rows(values, report)], inference_mode=True)
            encoder = Encoder(model, normalise=self.normalise, padding_counts=self.padding_counts)
            runner.predict(encoder, loader, return_predictions=False)
        return values, {"truncated": tokens.truncated}


class AllPositions(Transformer):
    """The released GOT-D code's vectors: the mean over all `max_length` positions, padding included.

    Padded positions are not attended to, but their hidden states enter the mean, so a short text's
    vector is mostly that of padding (released notebooks: `padding="max_length"`, plain mean).
    """

    padding_counts = True


class _Batches(Dataset[Any]):
    """Ready batches: item i is a batch, so that Lightning has no sampler to replace."""

    def __init__(self, tokens: Tokens, pad_id: int, tokens_a_batch: int, width: int) -> None:
        self.tokens, self.pad_id, self.width = tokens, pad_id, width
        self.rows = list(by_length(np.maximum(tokens.lengths, width), tokens_a_batch))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        rows = self.rows[index]
        return {
            **batch(self.tokens, rows, self.pad_id, types=False, width=self.width),
            "rows": torch.from_numpy(rows),
        }
