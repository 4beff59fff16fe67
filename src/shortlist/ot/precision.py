"""Which arithmetic a matrix product runs in: float32, or something quicker that is probed first."""

from collections.abc import Generator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, cast

import torch

from shortlist.ot.processor import bfloat16_is_quick


def _switches() -> list[Any]:
    """Returns the objects whose `fp32_precision` decides how float32 products are computed."""
    found: list[Any] = []
    for backend in (torch.backends.mkldnn, torch.backends.cuda):
        matmul = getattr(backend, "matmul", None)
        if matmul is not None and hasattr(matmul, "fp32_precision"):
            found.append(matmul)
    return found


def quick_products_exist(device: torch.device, dtype: torch.dtype) -> bool:
    """Returns whether this machine multiplies float32 faster when torch may use bfloat16 for it.

    True where bfloat16 is quick: with matrix units it is used, on AMD's chips oneDNN's float32 then
    stands in for MKL's. On Intel's without matrix units MKL's is the faster one, and attention
    takes twice as long in oneDNN's. Never on CUDA, where a float32 visit is bound by memory.
    """
    return (
        device.type == "cpu"
        and dtype == torch.float32
        and bool(_switches())
        and bfloat16_is_quick()
    )


@lru_cache(maxsize=64)
def quick_products_exact(rows: int, dimensions: int, targets: int) -> bool:
    """Returns whether quick products of this shape are float32 products all the same.

    Permission to use bfloat16 sends the product to oneDNN, which takes bfloat16 where the chip has
    matrix units for it (AMX) and else its own float32 kernels: as exact as MKL's and, on AMD
    chips, twice as fast. Which of the two happens is found out by comparing with float64.
    """
    generator = torch.Generator().manual_seed(0)  # a probe of the machine: no result depends on it
    left = torch.randn(rows, dimensions, generator=generator)
    right = torch.randn(dimensions, targets, generator=generator)
    bias = torch.zeros(targets)
    truth = left[:64].double() @ right.double()
    errors: list[float] = []
    for quick in (False, True):
        with products(quick=quick):
            found = torch.addmm(bias, left, right)[:64].double()
        errors.append(float((found - truth).abs().max()))
    return errors[1] <= 4 * errors[0]


@contextmanager
def products(*, quick: bool = False) -> Generator[None, None, None]:
    """Yields with TF32 off, and bfloat16 products of float32 inputs allowed only if `quick`.

    The caller's settings come back afterwards: Lightning users often set
    `torch.set_float32_matmul_precision("medium")`, which would silently cost the potentials three
    digits.
    """
    switches = _switches()
    if not switches:  # torch before 2.9 has one switch for everything
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)
        return
    cpu = getattr(torch.backends.mkldnn, "matmul", None)
    saved = [cast(str, switch.fp32_precision) for switch in switches]
    try:
        for switch in switches:
            switch.fp32_precision = "bf16" if quick and switch is cpu else "ieee"
        yield
    finally:
        for switch, value in zip(switches, saved, strict=True):
            switch.fp32_precision = value
