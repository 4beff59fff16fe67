"""What may come in: arrays checked by name, masses made to sum to one, rows read a tile at a time."""
# The stubs of torch and POT leave these unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shortlist.errors import InvalidInput

Array = Tensor | NDArray[np.floating]


@dataclass(frozen=True)
class Rows:
    """Some rows of an array, read a tile at a time as the array itself would be.

    Attributes:
        array: (N, d).
        numbers: Row numbers, ascending so that a memory map is read in order, on the CPU.
    """

    array: Array
    numbers: Tensor

    def __len__(self) -> int:
        return len(self.numbers)


def check_vectors(array: Array, name: str) -> tuple[int, int]:
    """Returns (rows, dimensions) of a matrix of vectors.

    Raises:
        InvalidInput: Not a matrix, no rows, no columns, or not floating point.
    """
    shape = tuple(array.shape)
    if len(shape) != 2 or 0 in shape:
        raise InvalidInput(f"{name} must be a matrix (rows, dimensions) that is not empty: {shape}")
    kind = array.dtype.is_floating_point if isinstance(array, Tensor) else array.dtype.kind == "f"
    if not kind:
        raise InvalidInput(f"{name} must hold floats; convert it to float32: {array.dtype}")
    return int(shape[0]), int(shape[1])


def check_pair(pool: Array, target: Array) -> tuple[int, int, int]:
    """Returns (N, M, d).

    Raises:
        InvalidInput: One of the two is no matrix of floats, or their dimensions differ.
    """
    (n, d), (m, other) = check_vectors(pool, "pool"), check_vectors(target, "target")
    if d != other:
        raise InvalidInput(
            f"pool and target must come from one featurizer: pool has {d} dimensions, target {other}"
        )
    return n, m, d


def read(
    array: Array | Rows, start: int, stop: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Returns rows start..stop on `device` in `dtype`; a memory map is read that far, not further."""
    if isinstance(array, Rows):
        return gather(array.array, array.numbers[start:stop], device, dtype)
    if isinstance(array, Tensor):
        return array[start:stop].to(device=device, dtype=dtype)
    piece = array[start:stop]
    if not piece.flags.writeable or not piece.flags.c_contiguous or isinstance(piece, np.memmap):
        piece = np.array(piece)
    return torch.from_numpy(piece).to(device=device, dtype=dtype)


def gather(array: Array, rows: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Returns the named rows (ascending, so that a memory map is read in order)."""
    if isinstance(array, Tensor):
        return array[rows.to(array.device)].to(device=device, dtype=dtype)
    return torch.from_numpy(np.array(array[rows.cpu().numpy()])).to(device=device, dtype=dtype)


def masses(given: Array | None, count: int, name: str, device: torch.device) -> Tensor:
    """Returns float64 masses that sum to one, (count,); uniform if none are given.

    Raises:
        InvalidInput: Wrong length, negative, not finite, or all zero.
    """
    if given is None:
        return torch.full((count,), 1 / count, dtype=torch.float64, device=device)
    found = torch.as_tensor(given).to(device=device, dtype=torch.float64)
    if found.shape != (count,):
        raise InvalidInput(f"{name} must hold one mass a row, {count}: {tuple(found.shape)}")
    total = float(found.sum())
    if not math.isfinite(total) or total <= 0 or bool((found < 0).any()):
        raise InvalidInput(f"{name} must be finite, not negative, and not all zero; sum: {total:g}")
    return found / total


def cluster_masses(labels: Tensor | NDArray[np.integer]) -> Tensor:
    """Returns pool masses by which a cluster of near copies counts as one document, (n,), float64.

    b_j = 1 / (K |cluster of j|) for K clusters: they sum to one, and each cluster has mass 1 / K,
    shared evenly. Any numbers serve as labels; a document without copies has one of its own.

    Args:
        labels: (n,) integers, equal for documents of one cluster.

    Raises:
        InvalidInput: Not a vector of integers, empty, or negative (-1 is noise in many clusterings,
            which would make one cluster of all lone documents).
    """
    found = torch.as_tensor(labels)
    if found.ndim != 1 or not len(found) or found.is_floating_point() or found.is_complex():
        raise InvalidInput(
            f"labels must be a vector of integers that is not empty: {tuple(found.shape)}, "
            f"{found.dtype}"
        )
    if int(found.min()) < 0:
        raise InvalidInput(
            "labels must not be negative; give each document without copies a label of its own: "
            f"{int(found.min())}"
        )
    clusters, member, sizes = torch.unique(found, return_inverse=True, return_counts=True)
    return 1 / (len(clusters) * sizes[member].double())


def strata(b: Tensor, count: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Returns (rows ascending, their masses) of a stratified sample of `count` draws of b.

    The pool is cut, in its order, into `count` strata of equal mass; one row is drawn from each: at
    a uniform place if a generator is given, else at the middle. A row drawn k times counts k times.
    """
    if count >= len(b):
        return torch.arange(len(b)), b
    places = torch.full((count,), 0.5, dtype=torch.float64)
    if generator is not None:
        places = torch.rand(count, dtype=torch.float64, generator=generator)
    places = (torch.arange(count, dtype=torch.float64) + places) / count
    edges = b.cpu().cumsum(0)
    drawn = torch.searchsorted(edges, places * float(edges[-1])).clamp_(max=len(b) - 1)
    rows, counts = torch.unique_consecutive(drawn, return_counts=True)
    return rows, (counts.double() / count).to(b.device)
