"""64-bit hash functions, compiled and for arrays: FNV-1a and the finaliser of SplitMix64.

FNV-1a (Fowler, Noll, Vo) reads a string byte by byte; SplitMix64's finaliser (Steele, Lea and Flood
2014, "Fast splittable pseudorandom number generators", figure 16) mixes the bits of one number.
"""
# numba carries no type stubs: the checker does not know what its decorator returns.
# pyright: reportUntypedFunctionDecorator=false, reportUnknownMemberType=false
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit
from numba.core import config

if TYPE_CHECKING:
    from collections.abc import Callable

FNV_BASIS, FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 divided by the golden ratio, made odd
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31, _S32 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)


def _cache_folder() -> bool:
    """Returns whether compiled code can be kept on disk, in a folder for this version of the
    source: numba checks only whether the file of a cached function has changed, not the files of
    the functions that it calls.

    NUMBA_CACHE_DIR names another folder. Where neither can be written to (a read-only checkout),
    every process compiles for itself.
    """
    state, here = hashlib.sha256(), Path(__file__).parent
    for path in sorted(here.glob("*.py")):
        state.update(path.read_bytes())
    settings: Any = config
    if not settings.CACHE_DIR:
        settings.CACHE_DIR = str(here / "__pycache__" / f"numba-{state.hexdigest()[:16]}")
    try:
        Path(settings.CACHE_DIR).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=settings.CACHE_DIR):
            return True
    except OSError:
        return False


_CACHED = _cache_folder()


def compiled(function: Callable[..., Any]) -> Any:
    """Returns `function` compiled: it releases the interpreter's lock and is cached on disk if it
    can be.
    """
    return njit(nogil=True, cache=_CACHED)(function)


def splitmix64(values: Any) -> Any:
    """Returns SplitMix64's finaliser of uint64 `values`: every bit depends on all input bits."""
    values = (values ^ (values >> _S30)) * _FIRST
    values = (values ^ (values >> _S27)) * _SECOND
    return values ^ (values >> _S31)


mix = compiled(splitmix64)  # the same for one number within compiled loops


@compiled
def fnv1a(value: Any, byte: Any) -> Any:
    """Returns the FNV-1a hash of a string and one more byte; `FNV_BASIS` is that of no bytes."""
    return (value ^ np.uint64(byte)) * FNV_PRIME


@compiled
def combine(first: Any, second: Any) -> Any:
    """Returns the hash of a sequence from the hashes of its first part and of the rest."""
    return mix(first * GOLDEN + second)


@compiled
def bucket(value: Any, buckets: Any) -> Any:
    """Returns the bucket of a hash: its upper 32 bits as a fraction of `buckets`."""
    return np.int64(((value >> _S32) * np.uint64(buckets)) >> _S32)
