"""Blocked float32 products over vectors: checked arrays, reading rows, block size and arithmetic.

Vectors may be torch tensors or numpy arrays; a memory map is read one block of rows at a time.
"""
# The stubs of torch leave these unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import platform
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shortlist.errors import InvalidInput

Array = Tensor | NDArray[np.floating]


@dataclass(frozen=True)
class RowSubset:
    """Some rows of an array, read block by block as the array itself is.

    Attributes:
        array: (N, d).
        rows: (K,) row numbers on the CPU, ascending so that a memory map is read in order.
    """

    array: Array
    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)


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


def unusable_rows(values: Any) -> NDArray[np.int64]:
    """Returns the rows of an (n, d) matrix, dense or CSR, whose squared length is no finite float32:
    they hold a number that is not finite, or numbers beyond about 1e19, which no distance survives.
    """
    bad: list[NDArray[np.int64]] = [np.empty(0, dtype=np.int64)]
    blocks = row_slices(int(values.shape[0]))
    if not isinstance(values, np.ndarray) and values.dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):
            length: Any = np.dot(values.data, values.data)
        if length < 1e38:  # of all rows together
            return bad[0]
    for rows in blocks:
        with np.errstate(over="ignore", invalid="ignore"):
            if isinstance(values, np.ndarray):
                block: NDArray[np.float32] = values[rows].astype(np.float32, copy=False)
                squares: NDArray[Any] = np.einsum("ij,ij->i", block, block)
            else:
                squares = np.asarray(values[rows].astype(np.float32).power(2).sum(1)).ravel()
        bad.append(rows.start + np.flatnonzero(~np.isfinite(squares)))
    return np.concatenate(bad)


def check_finite(values: Any, name: str) -> None:
    """Refuses vectors that are not finite.

    Raises:
        InvalidInput: a row is not (`unusable_rows`); it is named by its number.
    """
    if len(bad := unusable_rows(values)):
        raise InvalidInput(
            f"{name} vectors must be finite; drop or repair {name} row: {int(bad[0])} "
            f"({len(bad):,} such rows)"
        )


def check_pair(pool: Array, target: Array) -> tuple[int, int, int]:
    """Returns (N, M, d) of a pool (N, d) and a target (M, d).

    Raises:
        InvalidInput: One of the two is no matrix of floats, or their dimensions differ.
    """
    (n, d), (m, other) = check_vectors(pool, "pool"), check_vectors(target, "target")
    if d != other:
        raise InvalidInput(
            f"pool and target must come from one featurizer: pool has {d} dimensions, target {other}"
        )
    return n, m, d


def read_rows(
    array: Array | RowSubset, rows: slice, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Returns a slice of rows on `device` in `dtype`, (rows of the slice, d)."""
    if isinstance(array, RowSubset):
        return gather_rows(array.array, array.rows[rows], device, dtype)
    if isinstance(array, Tensor):
        return array[rows].to(device=device, dtype=dtype)
    block = array[rows]
    if not block.flags.writeable or not block.flags.c_contiguous or isinstance(block, np.memmap):
        block = np.array(block)
    return torch.from_numpy(block).to(device=device, dtype=dtype)


def gather_rows(array: Array, rows: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Returns the given rows (ascending, so that a memory map is read in order), (K, d)."""
    if isinstance(array, Tensor):
        return array[rows.to(array.device)].to(device=device, dtype=dtype)
    return torch.from_numpy(np.array(array[rows.cpu().numpy()])).to(device=device, dtype=dtype)


def row_slices(rows: int, size: int = 8192) -> Iterator[slice]:
    """Yields consecutive slices of `size` rows, the last one shorter, that cover `rows` rows."""
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def unit_rows(vectors: Tensor) -> Tensor:
    """Returns the rows scaled to length one, (n, d); a zero row stays zero: its cosine to any is 0."""
    return vectors / vectors.norm(dim=1, keepdim=True).clamp_min(1e-30)


def device_of(array: Array, device: torch.device | str | None = None) -> torch.device:
    """Returns `device` if one is given, else the device that holds `array` (the CPU for numpy)."""
    if device is not None:
        return torch.device(device)
    return array.device if isinstance(array, Tensor) else torch.device("cpu")


def rows_per_block(columns: int, device: torch.device) -> int:
    """Returns how many rows of a product with `columns` columns make one block.

    8 MB of float32 on a CPU (its cache), 512 MB on CUDA; from 64 to 65,536 rows.
    """
    entries = 2**21 if device.type == "cpu" else 2**27
    return max(64, min(entries // max(columns, 1), 2**16))


@contextmanager
def float32_products(*, fast: bool = False) -> Generator[None, None, None]:
    """Yields with TF32 off, and bfloat16 products of float32 inputs allowed only if `fast`.

    The caller's settings are restored afterwards: Lightning users often set
    `torch.set_float32_matmul_precision("medium")`, which would silently cost the results three
    digits.
    """
    backends = _matmul_backends()
    if not backends:  # torch before 2.9 has one setting for all backends
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)
        return
    cpu = getattr(torch.backends.mkldnn, "matmul", None)
    saved = [cast(str, backend.fp32_precision) for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "bf16" if fast and backend is cpu else "ieee"
        yield
    finally:
        for backend, value in zip(backends, saved, strict=True):
            backend.fp32_precision = value


def fast_products_exist(device: torch.device, dtype: torch.dtype) -> bool:
    """Returns whether float32 products are faster here when torch may use bfloat16 for them.

    True on CPUs that multiply bfloat16 fast: those with matrix units use it; on AMD chips without
    them oneDNN's float32 kernel replaces MKL's. On Intel chips without matrix units MKL's kernel is
    the faster one, and attention takes twice as long in oneDNN's. Never on CUDA, where a float32
    pass over a pool is bound by memory.
    """
    return (
        device.type == "cpu"
        and dtype == torch.float32
        and bool(_matmul_backends())
        and bfloat16_is_fast()
    )


@lru_cache(maxsize=64)
def fast_products_exact(rows: int, inner: int, columns: int) -> bool:
    """Returns whether fast products (rows, inner) x (inner, columns) are as exact as float32 ones.

    Permission to use bfloat16 sends the product to oneDNN, which uses bfloat16 where the chip has
    matrix units for it (AMX) and otherwise its own float32 kernels: as exact as MKL's and, on AMD
    chips, twice as fast. A product of fixed random matrices is compared with float64.
    """
    generator = torch.Generator().manual_seed(0)  # a probe of the machine: no result depends on it
    left = torch.randn(rows, inner, generator=generator)
    right = torch.randn(inner, columns, generator=generator)
    bias = torch.zeros(columns)
    truth = left[:64].double() @ right.double()
    errors: list[float] = []
    for fast in (False, True):
        with float32_products(fast=fast):
            product = torch.addmm(bias, left, right)[:64].double()
        errors.append(float((product - truth).abs().max()))
    return errors[1] <= 4 * errors[0]


def bfloat16_is_fast() -> bool:
    """Returns whether this CPU multiplies bfloat16 faster than float32.

    True with matrix units (AMX), or with AVX-512 BF16 on an AMD chip. Intel's AVX-512 BF16 alone
    does half as much as its float32 (a Xeon of 2023: 84 against 155 GFLOP/s per core), and where
    there is neither, bfloat16 is emulated. False where `ATEN_CPU_CAPABILITY` keeps torch from
    AVX-512.
    """

    def has(probe: str) -> bool:
        return bool(getattr(torch.cpu, probe, bool)())  # private, so its absence means no

    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    amd = "AuthenticAMD" in _cpu_description()
    return has("_is_amx_tile_supported") or (amd and has("_is_avx512_bf16_supported"))


@cache
def _cpu_description() -> str:
    """Returns a text that names the maker of the CPU."""
    info = Path("/proc/cpuinfo")
    return info.read_text(encoding="utf-8") if info.exists() else platform.processor()


def _matmul_backends() -> list[Any]:
    """Returns the objects whose `fp32_precision` decides how float32 products are computed."""
    backends = (torch.backends.mkldnn, torch.backends.cuda)
    matmuls = (getattr(backend, "matmul", None) for backend in backends)
    return [one for one in matmuls if one is not None and hasattr(one, "fp32_precision")]
