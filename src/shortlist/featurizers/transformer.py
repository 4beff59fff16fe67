"""Hidden states of an encoder or a decoder, pooled; streamed through Lightning's predict loop."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import BasePredictionWriter
from torch.utils.data import DataLoader, Dataset

from shortlist.errors import InvalidInput, near
from shortlist.featurizers.base import Requirements
from shortlist.featurizers.pooling import POOLINGS
from shortlist.featurizers.shards import Sharded
from shortlist.models import checkpoint
from shortlist.models.checkpoint import fast_products
from shortlist.models.tokens import Tokens, batch, by_length, tokenize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shortlist.core import Corpus
    from shortlist.featurizers.pooling import Pool
    from shortlist.models.pretrained import Pretrained
    from shortlist.progress import Report
    from shortlist.runtime import Runtime


class Transformer(Sharded):
    """One vector a document: hidden states of one layer, pooled over the document's tokens."""

    version = 2
    model: Pretrained

    def __init__(
        self,
        model: Pretrained,
        max_length: int,
        pooling: str,
        layer: int,
        normalise: bool,
        precision: str,
        tuning: Any,
    ) -> None:
        """Stores the settings.

        Args:
            model: the encoder or decoder.
            max_length: tokens read of a document; what is cut is counted.
            pooling: `mean`, `mean_all`, `last_token` or `position_weighted`; see `pooling.py`.
            layer: which hidden states: 0 the embeddings, 1 the first layer, -1 the last one (after
                the final normalisation, where the model has one).
            normalise: scale vectors to length 1.
            precision: `32`, `bf16` (cosine to float32 above 0.999 on MiniLM) or `auto`.
            tuning: what trains the model on the target first, or None; the stage `tuned` does it. A
                trainer of labels (settings as those of `finetune`), or one that predicts tokens, for
                which an encoder without a head gets one.

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
        """Returns the identity of the model and the precision that `auto` comes to here."""
        return {
            **self.model.identity(),
            "precision": checkpoint.precision(self.precision, runtime.device),
        }

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
            model.pooler = None  # BERT's own vector of the first token, which nobody asks for
        half = checkpoint.precision(self.precision, runtime.device) == "bf16"
        module = Encoder(
            model.to(torch.bfloat16) if half else model,
            pool=POOLINGS[self.pooling],
            layer=self.layer if self.layer not in (-1, layers) else None,
            normalise=self.normalise,
        )
        width = self.max_length if self.pooling == "mean_all" else 0
        return Encoding(module, checkpoint.tokenizer(home), self.max_length, width, half, runtime)


class Encoder(pl.LightningModule):
    """Batches of token ids to vectors."""

    def __init__(self, model: Any, *, pool: Pool, layer: int | None, normalise: bool) -> None:
        """Stores the model, how positions are pooled, the layer (None: the last), and whether
        vectors are scaled to length 1.
        """
        super().__init__()
        self.model, self.pool, self.layer, self.normalise = model, pool, layer, normalise

    def predict_step(self, inputs: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """Returns (b, width) float32."""
        given = {name: value for name, value in inputs.items() if name != "rows"}
        if self.layer is None:
            hidden = self.model(**given).last_hidden_state
        else:
            hidden = self.model(**given, output_hidden_states=True).hidden_states[self.layer]
        pooled = self.pool(hidden.float(), inputs["attention_mask"])
        return torch.nn.functional.normalize(pooled, dim=1) if self.normalise else pooled


class Encoding:
    """A model that is open for reading documents."""

    def __init__(
        self,
        module: Encoder,
        words: Any,
        max_length: int,
        width: int,
        half: bool,
        runtime: Runtime,
    ) -> None:
        """Stores the model, its tokenizer, the tokens read of a document, the least width of a
        batch, and whether the weights are bfloat16.
        """
        self.module, self.words, self.max_length, self.width = module, words, max_length, width
        self.half, self.runtime = half, runtime

    @property
    def columns(self) -> int:
        """Width of the model."""
        return int(self.module.model.config.hidden_size)

    def rows(self, documents: Corpus, report: Report) -> tuple[NDArray[np.float32], dict[str, int]]:
        """Returns (n, width) float32; a document without a token is the zero vector, and counted."""
        tokens = tokenize(self.words, documents.texts, None, self.max_length)
        values = np.zeros((len(documents), self.columns), dtype=np.float32)
        pad = int(self.words.pad_token_id or 0)
        batches = _Batches(tokens, pad, self.runtime.inference_tokens, self.width)
        if len(batches):
            loader: DataLoader[Any] = DataLoader(batches, batch_size=None)
            runner = self.runtime.trainer(callbacks=[_Rows(values, report)], inference_mode=True)
            with nullcontext() if self.half else fast_products(self.runtime.device, self.columns):
                runner.predict(self.module, loader, return_predictions=False)
        empty = int((tokens.lengths == 0).sum())
        report(empty)
        counts = {"truncated": tokens.truncated}
        return values, counts | ({"without_words": empty} if empty else {})


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


class _Batches(Dataset[Any]):
    """Ready batches: item i is a batch, so that Lightning has no sampler to replace."""

    def __init__(self, tokens: Tokens, pad_id: int, tokens_a_batch: int, width: int) -> None:
        self.tokens, self.pad_id, self.width = tokens, pad_id, width
        some = np.flatnonzero(tokens.lengths)  # attention over no token at all is not a number
        lengths = np.maximum(tokens.lengths[some], width)
        self.rows = [some[rows] for rows in by_length(lengths, tokens_a_batch)]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        rows = self.rows[index]
        return {
            **batch(self.tokens, rows, self.pad_id, types=False, width=self.width),
            "rows": torch.from_numpy(rows),
        }
