"""No vectors, for selectors that look at none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.featurizers.base import Featurizer

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from shortlist.core import Corpus
    from shortlist.runtime import Runtime


class NoFeatures(Featurizer):
    """Every document is the empty vector."""

    def compute(
        self, corpus: Corpus, directory: Path, runtime: Runtime
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Returns an (n, 0) array."""
        return np.zeros((len(corpus), 0), dtype=np.float32), {}
