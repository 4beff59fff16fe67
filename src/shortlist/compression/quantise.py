"""Quantisation: weights of eight bits, products of whole numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from shortlist.compression.base import Compression, Given
from shortlist.errors import InvalidInput
from shortlist.models import checkpoint
from shortlist.models.int8 import matrices, write_int8

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Quantise(Compression):
    """Dynamic quantisation to eight bits, without training: `models.int8`.

    Matrices and tables of embeddings have a scale for each row; with one scale for a whole matrix
    MiniLM's vectors are further from the exact ones (cosine 0.970 against 0.982). For the CPU.
    """

    last: ClassVar[bool] = True

    def outline(self, model: Any) -> Any:
        """Returns the model; see `Compression.outline`."""
        _check(model)
        return model

    def compress(self, start: Path, directory: Path, given: Given) -> dict[str, Any]:
        """Returns facts, after writing the weights of eight bits; see `Compression.compress`.

        Raises:
            InvalidInput: the model has adapters beside it, or matrices that are no linear modules.
        """
        model: Any = given.head.open(start)
        _check(model)
        checkpoint.tokenizer(start).save_pretrained(str(directory))
        model.config.save_pretrained(str(directory))
        return {
            "rounded": write_int8(model, directory / checkpoint.INT8),
            "matrices": len(matrices(model)),
        }


def _check(model: Any) -> None:
    """Raises InvalidInput where a model multiplies by something else than linear modules."""
    layers = int(model.config.num_hidden_layers)
    inside = checkpoint.last_matrices(model, layers, "compress.quantise")
    others = [type(one).__name__ for name, one in inside.items() if name not in matrices(model)]
    if hasattr(model, "prompt_encoder"):
        others.append("vectors before the input")
    if others:
        raise InvalidInput(
            f"compress.quantise rounds linear modules, this {model.config.model_type} model has "
            f"{others[0]}; leave it out and use the int8 file of shortlist export"
        )
