"""Vectors made comparable in all directions: zero mean, unit covariance, unit length."""
# The stubs of torch leave these unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from shortlist.vectors import Array, read_rows

from .neighbours import unit

_ROWS = 8192


def whitening(parts: Sequence[Array], ridge: float) -> tuple[Tensor, Tensor]:
    """Returns (mean (d,), matrix (d, d)), float64, that whiten the rows of all parts together.

    With the covariance C and L L' = C + ridge (trace C / d) I, the matrix is inv(L)'. One reading
    of the parts for the mean and one for the covariance, block by block.

    Args:
        parts: matrices (n_i, d), torch or numpy (memory maps are read block by block).
        ridge: share of the mean variance added to each; keeps directions that hold nothing but
            noise from being blown up.
    """
    count = sum(len(part) for part in parts)
    dimensions = parts[0].shape[1]
    total = torch.zeros(dimensions, dtype=torch.float64)
    for rows in _blocks(parts):
        total += rows.sum(0)
    mean = total / count
    covariance = torch.zeros(dimensions, dimensions, dtype=torch.float64)
    for rows in _blocks(parts):
        apart = rows - mean
        covariance += apart.T @ apart
    covariance /= count
    level = float(covariance.trace()) / dimensions
    covariance.diagonal().add_(ridge * level if level > 0 else 1.0)
    lower = torch.linalg.cholesky(covariance)
    return mean, torch.linalg.solve_triangular(lower, torch.eye(dimensions).double(), upper=False).T


def whiten(part: Array, mean: Tensor, matrix: Tensor) -> Tensor:
    """Returns the rows whitened and at length one, (n, d) float32; as much memory as the rows."""
    out = torch.empty(len(part), len(mean))
    start = 0
    for rows in _blocks([part]):
        out[start : start + len(rows)] = unit((rows - mean) @ matrix).float()
        start += len(rows)
    return out


def _blocks(parts: Sequence[Array]) -> Iterator[Tensor]:
    for part in parts:
        for start in range(0, len(part), _ROWS):
            stop = min(start + _ROWS, len(part))
            yield read_rows(part, start, stop, torch.device("cpu"), torch.float64)
