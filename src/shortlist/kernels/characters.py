"""Hashed n-grams of characters, counted in a compiled loop."""
# numba carries no type stubs: what its decorator returns is unknown to the checker.
# pyright: reportUntypedFunctionDecorator=false, reportUnknownVariableType=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.kernels.ngrams import bucket, merged_by_sorting
from shortlist.kernels.words import compiled, mixed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Fowler-Noll-Vo 1a, 64 bits.
_BASIS, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_SPACE = 32


def count(
    texts: Sequence[str], shortest: int, longest: int, buckets: int
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int64]]:
    """Returns (data, indices, indptr) of the (n, buckets) counts in CSR form, columns sorted.

    A text is put in lower case and cut at white space; a word counts with one space before and one
    behind it, and no n-gram reaches over a space. A character outside ASCII has the length of its
    bytes in UTF-8.

    Args:
        texts: n texts.
        shortest: bytes of the shortest n-gram, at least 2.
        longest: bytes of the longest.
        buckets: n-grams are hashed into so many, at most 2^31 - 1.
    """
    words = [text.lower().split() for text in texts]
    parts = [" ".join(["", *some, ""]).encode() if some else b"" for some in words]
    ends = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    data = np.frombuffer(b"".join(parts), dtype=np.uint8)
    return _count(data, ends, shortest, longest, buckets)


@compiled
def _count(data: Any, offsets: Any, shortest: Any, longest: Any, buckets: Any) -> Any:
    n = len(offsets) - 1
    most = 0
    for row in range(n):
        most = max(most, offsets[row + 1] - offsets[row])
    grams = np.empty(most * (longest - shortest + 1), dtype=np.int32)
    room = max(1024, len(data))
    indices, values = np.empty(room, dtype=np.int32), np.empty(room, dtype=np.float32)
    indptr = np.zeros(n + 1, dtype=np.int64)
    filled = 0
    for row in range(n):
        found = _grams(data, offsets[row], offsets[row + 1], shortest, longest, buckets, grams)
        if filled + found > room:
            room = 2 * (filled + found)
            wider, more = np.empty(room, dtype=np.int32), np.empty(room, dtype=np.float32)
            wider[:filled], more[:filled] = indices[:filled], values[:filled]
            indices, values = wider, more
        filled = merged_by_sorting(grams[:found], indices, values, filled)
        indptr[row + 1] = filled
    return values[:filled].copy(), indices[:filled].copy(), indptr


@compiled
def _grams(
    data: Any, start: Any, stop: Any, shortest: Any, longest: Any, buckets: Any, out: Any
) -> Any:
    """Writes the bucket of each n-gram of one text into `out` and returns their number."""
    found = 0
    for first in range(start, stop):
        value = _BASIS
        for last in range(first, min(first + longest, stop)):
            value = (value ^ np.uint64(data[last])) * _PRIME
            if last - first + 1 >= shortest:
                out[found] = bucket(mixed(value), buckets)
                found += 1
            if data[last] == _SPACE and last > first:
                break
    return found
