"""Base class of featurizers and what they require of the pipeline."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from shortlist.core import Corpus
    from shortlist.models.pretrained import Pretrained
    from shortlist.runtime import Runtime


@dataclass(frozen=True)
class Requirements:
    """What a featurizer needs before it can compute vectors.

    Attributes:
        model: the model that reads the documents, or None.
        token_head: whether that model must predict tokens; an encoder without such a head then gets
            the one that its settings describe, trained on the pool.
        tuning: the trainer that fine-tunes the model on the target first (on its labels, or on its
            texts), or None.
        learns_from: whose documents `learn` reads, or None if it is not called.
    """

    model: Pretrained | None = None
    token_head: bool = False
    tuning: Any = None
    learns_from: Literal["pool", "target"] | None = None

    @property
    def any(self) -> bool:
        """Whether something must be trained or learned first; a model that is there does not count."""
        untrained = self.model is not None and self.model.requires_training
        headless = self.token_head and self.model is not None and self.model.head is not None
        return untrained or headless or self.tuning is not None or self.learns_from is not None


class Featurizer(ABC):
    """A function from documents to vectors, one document at a time: no vector depends on another
    document.

    What must be trained or learned before `compute` is said by `requirements`; the pipeline
    provides it by `with_model` and `with_learned`.

    Attributes:
        version: bumped when the meaning of the vectors changes.
        model: the model it reads with, or None.
        inner: the featurizer whose vectors this one transforms together, or None.
        scorer: the toxicity scorer whose score is the vector, or None.
        learned: directory and key of what `learn` wrote; None before `with_learned`.
    """

    version = 1
    model: Any = None  # Pretrained | None; subclasses narrow it
    inner: Any = None  # Featurizer | None
    scorer: Any = None  # Scorer | None
    learned: tuple[Path, str] | None = None

    def requirements(self) -> Requirements:
        """Returns what must be there before `compute`; of a whitened featurizer, what the inner one
        needs.
        """
        return Requirements(self.model)

    def with_model(self, model: Pretrained) -> Self:
        """Returns a copy that reads with `model`."""
        changed = copy.copy(self)
        changed.model = model
        return changed

    def with_learned(self, directory: Path, key: str) -> Self:
        """Returns a copy that has what `learn` wrote into `directory`, which enters `identity` as
        `key`.
        """
        changed = copy.copy(self)
        changed.learned = (directory, key)
        return changed

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
