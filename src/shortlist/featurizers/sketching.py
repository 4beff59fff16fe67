"""Matrices of many numbers as a few, such that inner products stay what they were on average."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class Sketch:
    """A random linear map from (o, i) matrices to d numbers: entry (p, q) goes to bucket
    (rows[p] + columns[q]) mod d with the sign of row p times that of column q.

    E<S(A), S(B)> = <A, B> over the draw of the hashes, with a variance of the order of
    |A|^2 |B|^2 / d (TensorSketch of degree two: Pham and Pagh, KDD 2013). The map as a matrix, of
    o * i * d numbers, is never made.

    Attributes:
        rows: (o,) buckets, in [0, d).
        columns: (i,) buckets.
        row_signs: (o,) 1 or -1.
        column_signs: (i,) 1 or -1.
        d: length of the result.
    """

    rows: torch.Tensor
    columns: torch.Tensor
    row_signs: torch.Tensor
    column_signs: torch.Tensor
    d: int

    @staticmethod
    def draw(o: int, i: int, d: int, generator: np.random.Generator) -> Sketch:
        """Returns the map for matrices of o rows and i columns, drawn from the generator."""
        drawn: list[torch.Tensor] = []
        for size in (o, i):
            drawn.append(torch.tensor(generator.integers(0, d, size)))
            signs = 1 - 2 * generator.integers(0, 2, size)
            drawn.append(torch.tensor(signs, dtype=torch.float32))
        return Sketch(drawn[0], drawn[2], drawn[1], drawn[3], d)

    def of_products(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Returns (b, d): the sketches of sum_t left[b, t] (x) right[b, t], which are never made.

        The sketch of an outer product is the circular convolution of the sketches of its factors,
        so the sum over t is taken among their Fourier transforms: O(t (o + i + d log d)).

        Args:
            left: (b, t, o).
            right: (b, t, i).
        """
        fft: Any = torch.fft
        one = fft.rfft(_buckets(left, self.rows, self.row_signs, self.d))
        two = fft.rfft(_buckets(right, self.columns, self.column_signs, self.d))
        return fft.irfft(torch.einsum("btf,btf->bf", one, two), n=self.d)

    def of_matrices(self, matrices: torch.Tensor) -> torch.Tensor:
        """Returns (b, d): the sketches of (b, o, i) matrices, in O(o i)."""
        bucket = (self.rows[:, None] + self.columns) % self.d
        sign = self.row_signs[:, None] * self.column_signs
        return _buckets(matrices.flatten(1), bucket.flatten(), sign.flatten(), self.d)


def _buckets(
    values: torch.Tensor, bucket: torch.Tensor, sign: torch.Tensor, d: int
) -> torch.Tensor:
    """Returns (..., d): signed sums over the last axis, by bucket."""
    found = torch.zeros(*values.shape[:-1], d, dtype=values.dtype, device=values.device)
    return found.index_add_(-1, bucket.to(values.device), values * sign.to(values))
