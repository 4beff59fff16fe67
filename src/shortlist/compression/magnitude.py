"""Magnitude pruning: the smallest weights become zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import torch

from shortlist.compression.base import Compression, Given
from shortlist.models import checkpoint
from shortlist.settings import Range

if TYPE_CHECKING:
    from pathlib import Path


@torch.no_grad()
def zero_smallest(weight: torch.Tensor, share: float) -> int:
    """Returns the number of weights, floor(share * n), that it sets to zero: those of smallest
    absolute value, of equal ones the first.
    """
    count = int(share * weight.numel())
    smallest = weight.abs().flatten().argsort(stable=True)[:count]
    weight.view(-1)[smallest] = 0
    return count


@dataclass(frozen=True)
class Magnitude(Compression):
    """A share of the weights of each matrix of the layers becomes zero (Han et al. 2015), at once
    and without training afterwards.

    Zeros alone make nothing faster and no file smaller: a dense product multiplies by them. What
    they show is how much of a model is needed.

    Attributes:
        share: share of the weights of each matrix.
    """

    share: Annotated[float, Range(0, 1, below=True)]

    def compress(self, start: Path, directory: Path, given: Given) -> dict[str, Any]:
        """Returns facts, after writing the model with zeros; see `Compression.compress`."""
        model: Any = given.head.open(start)
        layers = int(model.config.num_hidden_layers)
        matrices = checkpoint.last_matrices(model, layers, "compress.magnitude")
        zeros = sum(zero_smallest(one.weight, self.share) for one in matrices.values())
        checkpoint.save(directory, model, checkpoint.tokenizer(start))
        return {"zeros": zeros, "matrices": len(matrices)}
