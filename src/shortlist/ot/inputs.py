"""What may come in: arrays checked by name, masses made to sum to one, rows read a tile at a time."""
# The stubs of torch and POT leave these unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shortlist.errors import InvalidInput
from shortlist.vectors import Array


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
