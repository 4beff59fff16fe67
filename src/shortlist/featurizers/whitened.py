"""Another featurizer's vectors, whitened by the pool's mean and covariance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.errors import InvalidInput
from shortlist.featurizers import whitening
from shortlist.featurizers.base import Featurizer, Requirements

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from shortlist.core import Corpus
    from shortlist.runtime import Runtime


class Whitened(Featurizer):
    """Vectors of `inner`, centred and scaled so that the pool varies alike in all directions.

    `compute` returns those of `inner`: they are stored once, under the key they have without
    whitening. The stage `whitening` then learns from the pool's and changes the pool's and the
    target's by the same map.
    """

    inner: Featurizer

    def __init__(
        self, inner: Featurizer, kind: whitening.Kind, shrinkage: float, normalise: bool
    ) -> None:
        """Stores the settings.

        Args:
            inner: whose vectors.
            kind: `zca` or `pca`.
            shrinkage: weight of the mean variance, 0 to 1; see `numerics.whitening.learn`.
            normalise: scale whitened vectors to length 1 (TAROT does).

        Raises:
            InvalidInput: the vectors are of two kinds, AdamW's steps and gradients.
        """
        if getattr(inner, "adam", False):
            raise InvalidInput(
                "featurizer.inner gives AdamW's steps and gradients side by side, which one whitening "
                "would mix; set featurizer.inner.adam=false"
            )
        self.inner = inner
        self.kind: whitening.Kind = kind
        self.shrinkage, self.normalise = shrinkage, normalise

    def requirements(self) -> Requirements:
        """Returns the requirements of `inner`; the whitening is learned from its vectors."""
        return self.inner.requirements()

    def identity(self, runtime: Runtime) -> dict[str, str]:
        """Returns the identity of `inner`."""
        return self.inner.identity(runtime)

    def compute(
        self, corpus: Corpus, directory: Path, runtime: Runtime
    ) -> tuple[NDArray[Any] | csr_array, dict[str, Any]]:
        """Returns what `inner` computes."""
        return self.inner.compute(corpus, directory, runtime)

    def whitening(self, pool: NDArray[Any] | csr_array) -> whitening.Whitening:
        """Returns the map learned from the pool's vectors.

        Raises:
            InvalidInput: they are sparse: centred they would no longer be.
        """
        if not isinstance(pool, np.ndarray):
            raise InvalidInput(
                "dense vectors were expected for whitening, found counts; choose another featurizer.inner"
            )
        return whitening.learn(pool, self.kind, self.shrinkage)

    def apply(self, learned: whitening.Whitening, values: NDArray[Any]) -> NDArray[np.float32]:
        """Returns the whitened rows; a row at the mean stays the zero vector."""
        found = learned.apply(values)
        if self.normalise:
            found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
        return found
