"""Mean of a model's word embeddings: no forward pass, some thousand documents a second on one core."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from shortlist.featurizers.shards import Sharded
from shortlist.models import checkpoint
from shortlist.models.tokens import tokenize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shortlist.core import Corpus
    from shortlist.models.pretrained import Pretrained
    from shortlist.progress import Report
    from shortlist.runtime import Runtime


class Static(Sharded):
    """The mean input embedding of a document's tokens, special tokens left out, scaled to length 1
    if asked for.
    """

    model: Pretrained
    doing = "static embeddings"

    def __init__(self, model: Pretrained, max_length: int, normalise: bool) -> None:
        """Stores the model whose word embeddings are taken, the tokens read, and whether to scale
        to length 1.
        """
        self.model, self.max_length, self.normalise = model, max_length, normalise

    def identity(self, runtime: Runtime) -> dict[str, str]:
        """Returns the identity of the model."""
        return self.model.identity()

    def reader(self, runtime: Runtime) -> Lookup:
        """Returns the table of word embeddings."""
        home = self.model.directory()
        embeddings: Any = checkpoint.encoder(home).get_input_embeddings()
        table = embeddings.weight.detach().float()
        return Lookup(table, checkpoint.tokenizer(home), self.max_length, self.normalise)


@dataclass(frozen=True)
class Lookup:
    """A table of word embeddings.

    Attributes:
        table: (vocabulary, width) float32.
        words: the tokenizer.
        max_length: tokens read of a document.
        normalise: whether vectors are scaled to length 1.
    """

    table: torch.Tensor
    words: Any
    max_length: int
    normalise: bool

    @property
    def columns(self) -> int:
        """Width of the table."""
        return int(self.table.shape[1])

    def rows(self, documents: Corpus, report: Report) -> tuple[NDArray[np.float32], dict[str, int]]:
        """Returns (n, width) float32; a document without a known word is the zero vector, and
        counted.
        """
        tokens = tokenize(self.words, documents.texts, None, self.max_length)
        ids = np.concatenate(tokens.ids)
        kept = ~np.isin(ids, self.words.all_special_ids)
        ends = np.concatenate([[0], np.cumsum(kept)])[np.cumsum(tokens.lengths)]
        offsets = np.concatenate([[0], ends[:-1]])
        mean = torch.nn.functional.embedding_bag(
            torch.from_numpy(ids[kept]), self.table, torch.from_numpy(offsets), mode="mean"
        )
        if self.normalise:
            mean = torch.nn.functional.normalize(mean, dim=1)
        report(len(documents))
        empty = int((np.diff(ends, prepend=0) == 0).sum())
        return mean.numpy(), {"truncated": tokens.truncated, "without_words": empty}
