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
    """

    version = 1

    def identity(self, runtime: Runtime) -> dict[str, str]:
        """Returns what decides the vectors beside the settings: weights, the precision `auto` came
        to.
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
