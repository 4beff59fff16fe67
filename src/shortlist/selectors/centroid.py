"""Similarity to the mean of the target: what a method with more than one centre has to beat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from shortlist.selectors.base import Selector
from shortlist.selectors.neighbours import unit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shortlist.core import Features


class Centroid(Selector):
    """Cosine of a document with the mean of the target's unit vectors.

    The mean-embedding filter of domain curation (e.g. Aharoni and Goldberg 2020, section 4). It is
    blind to a target of several kinds, whose mean may lie where no text is. A document whose vector
    is zero has cosine 0.
    """

    centre: torch.Tensor

    def fit(self, target: Features, pool: Features) -> Mapping[str, Any]:
        """Keeps `centre` (d,), at length one."""
        vectors = unit(torch.from_numpy(np.array(target.values, dtype=np.float64)))
        self.keep("centre", unit(vectors.mean(0, keepdim=True))[0])
        return {"mean_length": float(vectors.mean(0).norm())}

    def score(self, batch: torch.Tensor) -> torch.Tensor:
        """Returns the cosine of each document with the centre."""
        return unit(batch.double()) @ self.centre
