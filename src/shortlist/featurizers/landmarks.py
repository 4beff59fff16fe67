"""Vectors of all documents, and of a random share of them their influence on the target."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shortlist.core import Corpus
from shortlist.errors import InvalidInput
from shortlist.featurizers.base import Reader, Requirements
from shortlist.featurizers.gradients import GradientReader, Gradients
from shortlist.featurizers.transformer import Encoding, Transformer
from shortlist.models.pretrained import Pretrained
from shortlist.progress import Report
from shortlist.runtime import Runtime
from shortlist.settings import Count, Precision, Seed, Share

_ANCHOR = "anchor.npy"
OWN_COLUMNS = 2  # after those of the vector: influence, and whether it was computed


class Landmarks(Gradients):
    """Mean hidden states, and for landmarks the influence on the target: (n, width + 2).

    A document is a landmark by the hash of its id, whatever the pool around it. The last two
    columns are its influence and 1, of the other documents 0 and 0.

    Formula:
        influence(x) = mean over target texts z of cos(g(x), g(z))

        g is the sketched gradient of the mean loss, as `featurizer=gradients` has it.

    Paper:
        Nikdan et al., NeurIPS 2025 (arXiv 2505.19051): exact influence of landmarks alone.

    Deviations:
        Those of `featurizer=gradients`; gradients count at length one; mean hidden states in place
        of Jacobian-vector products; landmarks are a hashed share of the pool.

    Cost:
        One forward pass a document, a backward pass a landmark and target text.
    """

    version = 1
    passes, predicts = 1, False  # of all documents; gradients are of a share
    doing = "vectors and influence of landmarks"

    def __init__(
        self,
        model: Pretrained,
        max_length: Count,
        layers: Count,
        columns: int,
        seed: Seed,
        share: Share,
        precision: Precision,
    ) -> None:
        """Stores the settings.

        Args:
            model: a causal or masked language model.
            max_length: tokens read of a document; truncated documents are counted.
            layers: how many of the last layers have gradients.
            columns: numbers of a sketched gradient.
            seed: draws the sketch.
            share: of the documents that are landmarks.
            precision: of the hidden states: `32`, `bf16` or `auto`.

        Raises:
            InvalidInput: the share is not above 0, or no number up to 1.
        """
        super().__init__(model, max_length, layers, columns, seed, False, "adamw", None)
        if not 0 < share <= 1:
            raise InvalidInput(f"featurizer.share must lie in (0, 1], found {share}")
        self.share = share
        self.vectors = (max_length, "mean", -1, True, precision, None)

    def requirements(self) -> Requirements:
        """Returns the model with a token head, and the target to learn from."""
        return Requirements(self.model, token_head=True, learns_from="target")

    def identity(self, runtime: Runtime) -> dict[str, str]:
        """Returns the identity of the model, the key of the target's gradients, the precision."""
        learned = {"target": self.learned[1]} if self.learned else {}
        return {**Transformer(self.model, *self.vectors).identity(runtime), **learned}

    def learn(self, corpus: Corpus, directory: Path, runtime: Runtime) -> dict[str, Any]:
        """Returns facts of the target's gradients; their mean is written into `directory`."""
        reader = self.gradients(runtime)
        values, counts = reader.rows(corpus, lambda done: None)
        np.save(directory / _ANCHOR, values.mean(0, dtype=np.float64))
        few = corpus.take(np.arange(min(32, len(corpus))))
        return {**counts, **reader.sketch_error(few)}

    def reader(self, runtime: Runtime) -> Reader:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Returns both open models.

        Raises:
            InvalidInput: the model has no trained head or fewer positions, or the target's
                gradients are missing.
        """
        if self.learned is None:
            raise InvalidInput(
                "the influence of landmarks was asked for before the target's gradients; let the "
                "pipeline run it"
            )
        vectors = Transformer(self.model, *self.vectors).reader(runtime)
        anchor = np.load(self.learned[0] / _ANCHOR)
        return _LandmarkReader(vectors, self.gradients(runtime), anchor, self.share)

    def gradients(self, runtime: Runtime) -> GradientReader:
        """Returns the open model for gradients."""
        return super().reader(runtime)


@dataclass(frozen=True)
class _LandmarkReader:
    """Open models for vectors and gradients, and the mean of the target's gradients."""

    vectors: Encoding
    gradients: GradientReader
    anchor: NDArray[np.float64]
    share: float

    @property
    def columns(self) -> int:
        """Width of the vectors and the two own columns."""
        return self.vectors.columns + OWN_COLUMNS

    def rows(self, documents: Corpus, report: Report) -> tuple[NDArray[np.float32], dict[str, int]]:
        """Returns (n, columns); a document without a gradient is no landmark."""
        values = np.zeros((len(documents), self.columns), dtype=np.float32)
        values[:, :-OWN_COLUMNS], counts = self.vectors.rows(documents, report)
        chosen = np.flatnonzero(documents.id_bits() * 2.0**-64 < self.share)
        if len(chosen):
            found, _ = self.gradients.rows(documents.take(chosen), lambda done: None)
            values[chosen, -2] = found @ self.anchor
            values[chosen, -1] = found.any(1)
        return values, counts | {"landmarks": int(values[:, -1].sum())}
