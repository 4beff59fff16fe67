"""What a featurizer is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from shortlist.core import Corpus
    from shortlist.runtime import Runtime


class Featurizer(ABC):
    """A function from documents to vectors, one document at a time: no vector depends on another
    document.

    What the function itself must learn first, it says here; the stages in `stages/preparing.py`
    see to it before `compute`.

    Attributes:
        version: bumped when the meaning of the vectors changes.
        model: the model it reads with, or None.
        needs_head: whether that model must predict tokens; an encoder without a head then gets the
            one that its settings describe.
        tuning: what trains the model on the target first (its labels, or its texts), or None.
        learns: whether `learn` is to be called.
        learns_target: whether with the target's texts in place of the pool's.
        learned: where the stage that called it left what was learned, and its key.
        inner: the featurizer whose vectors this one changes together, or None.
        scorer: what rates the documents, where the vector is a rating, or None.
    """

    version = 1
    model: Any = None  # a Pretrained, where there is one
    needs_head = False
    tuning: Any = None
    learns = False
    learns_target = False
    learned: tuple[Path, str] | None = None
    inner: Any = None  # a Featurizer, where there is one
    scorer: Any = None  # a Scorer, where there is one

    @property
    def learns_first(self) -> bool:
        """Whether its vectors need something learned: a model or its head, labels, the pool, a
        whitening.
        """
        untrained = getattr(self.model, "requires_training", False)
        headless = self.needs_head and getattr(self.model, "head", None) is not None
        return (
            untrained
            or headless
            or self.tuning is not None
            or self.learns
            or self.inner is not None
        )

    def identity(self, runtime: Runtime) -> dict[str, str]:
        """Returns what decides the vectors beside the settings: weights, the precision `auto` came
        to.
        """
        return {}

    def learn(self, corpus: Corpus, directory: Path, runtime: Runtime) -> dict[str, Any]:
        """Returns facts of what was learned from the pool, or the target; what was learned is
        written into `directory`.
        """
        return {}

    @abstractmethod
    def compute(
        self, corpus: Corpus, directory: Path, runtime: Runtime
    ) -> tuple[NDArray[Any] | csr_array, dict[str, Any]]:
        """Returns the (n, d) vectors in the order of the corpus, and facts worth keeping (what was
        truncated).

        Vectors too many for memory are written through `allocate` instead of being collected.
        """


def allocate(directory: Path, rows: int, columns: int) -> NDArray[np.float32]:
    """Returns a (rows, columns) float32 array that lies in `directory/values.npy`."""
    return np.lib.format.open_memmap(
        directory / "values.npy", mode="w+", dtype=np.float32, shape=(rows, columns)
    )
