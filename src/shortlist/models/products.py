"""Float32 products of a model's layers through the quickest library that is exact."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from shortlist.ot.precision import (
    products,
    quick_products_exact,
    quick_products_exist,
)

if TYPE_CHECKING:
    import torch

_ROWS = 2048  # tokens a batch, about


def quick_products(device: torch.device, width: int) -> AbstractContextManager[Any]:
    """Returns a context in which float32 products of width x width go through oneDNN, where a probe
    against float64 finds its kernel as exact as the default one; elsewhere one that changes nothing.

    See DESIGN, decision 21: on an AMD chip without matrix units it is some 1.7 times as fast.
    """
    import torch

    if quick_products_exist(device, torch.float32) and quick_products_exact(_ROWS, width, width):
        return products(quick=True)
    return nullcontext()
