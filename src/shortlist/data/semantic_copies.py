"""Copies in meaning: documents whose embeddings have nearly the same direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shortlist.errors import InvalidInput

_BLOCK = 1024  # rows whose cosines with others are computed at a time
_ROUNDING = 1e-6  # of a cosine in float32: equal vectors reach a threshold of 1
_SAMPLE = 64  # rows a cluster that k-means is fitted on


@dataclass(frozen=True)
class Clusters:
    """A partition of vectors by direction.

    Attributes:
        centroids: (k, d) unit vectors.
        labels: (n,) cluster of each row: the centroid of largest cosine, the first of equal ones.
        cosines: (n,) that cosine; 0 for a zero vector.
    """

    centroids: NDArray[np.float32]
    labels: NDArray[np.int64]
    cosines: NDArray[np.float32]


def spherical_kmeans(vectors: NDArray[Any], count: int, rounds: int = 10) -> Clusters:
    """Returns the vectors in `count` clusters by spherical k-means (Dhillon & Modha 2001).

    The centroids are fitted on at most 64 rows a cluster, spaced evenly, and start as rows spaced
    evenly among those; nothing is drawn. A centroid to which no row is assigned stays.

    Args:
        vectors: (n, d) rows of any length, read in blocks.
        count: k, from 1 to n.
        rounds: most updates of the centroids; fewer if no row changes its cluster.

    Raises:
        InvalidInput: there are fewer rows than clusters, or `count` is less than 1.
    """
    if not 1 <= count <= len(vectors):
        raise InvalidInput(
            f"expected from 1 to {len(vectors):,} clusters, a cluster per vector, found {count:,}; "
            "set a number in this range"
        )
    sample = unit_rows(vectors[_spaced(len(vectors), min(len(vectors), _SAMPLE * count))])
    centroids = sample[_spaced(len(sample), count)]
    labels = np.full(len(sample), -1, dtype=np.int64)
    for _ in range(rounds):
        before, (labels, _) = labels, nearest(sample, centroids)
        if np.array_equal(before, labels):
            break
        order = np.argsort(labels, kind="stable")
        found, starts = np.unique(labels[order], return_index=True)
        members = np.split(order, starts[1:])
        sums = np.stack([sample[rows].sum(axis=0) for rows in members])
        moved = np.linalg.norm(sums, axis=1) > 0
        centroids[found[moved]] = unit_rows(sums[moved])
    return Clusters(centroids, *nearest(vectors, centroids))


def nearest(
    vectors: NDArray[Any], others: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Returns (n,) the row of `others` of largest cosine with each vector, and (n,) that cosine.

    The first of equal ones; a zero vector has the cosine 0 with every other.

    Args:
        vectors: (n, d), read in blocks.
        others: (m, d), at least one row.
    """
    unit = unit_rows(others)
    rows = np.zeros(len(vectors), dtype=np.int64)
    cosines = np.zeros(len(vectors), dtype=np.float32)
    for start in range(0, len(vectors), _BLOCK):
        block = unit_rows(vectors[start : start + _BLOCK]) @ unit.T
        rows[start : start + len(block)] = block.argmax(axis=1)
        cosines[start : start + len(block)] = block.max(axis=1)
    return rows, cosines


def repeats_an_earlier(
    vectors: NDArray[Any],
    threshold: float,
    labels: NDArray[np.int64] | None = None,
    order: NDArray[np.int64] | None = None,
) -> NDArray[np.bool_]:
    """Returns (n,) whether the cosine of a row with an earlier row is at least `threshold`.

    Args:
        vectors: (n, d), read in blocks or by cluster.
        threshold: least cosine.
        labels: (n,) clusters; rows of different clusters are not compared. None compares all.
        order: (n,) rows from the earliest to the latest; None: as they come.
    """
    found = np.zeros(len(vectors), dtype=bool)
    if labels is None:
        rows = slice(None) if order is None else order
        found[rows] = _repeats(unit_rows(vectors[rows]), threshold)
        return found
    order = np.arange(len(vectors)) if order is None else order
    order = order[np.argsort(labels[order], kind="stable")]
    for rows in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        found[rows] = _repeats(unit_rows(vectors[rows]), threshold)
    return found


def reaches(cosines: NDArray[np.float32], threshold: float) -> NDArray[np.bool_]:
    """Returns whether cosines are at least `threshold`, the rounding of float32 aside."""
    return cosines >= threshold - _ROUNDING


def unit_rows(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Returns a copy of the rows scaled to length 1, in float32; zero vectors stay."""
    values: NDArray[np.float32] = np.array(vectors, dtype=np.float32)
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    values /= np.where(norms > 0, norms, 1.0)
    return values


def _repeats(unit: NDArray[np.float32], threshold: float) -> NDArray[np.bool_]:
    found = np.zeros(len(unit), dtype=bool)
    for start in range(0, len(unit), _BLOCK):
        block = unit[start : start + _BLOCK]
        cosines = block @ unit[: start + len(block)].T
        within = np.triu_indices(len(block))
        cosines[within[0], start + within[1]] = -1.0  # itself and those after it
        found[start : start + len(block)] = reaches(cosines.max(axis=1), threshold)
    return found


def _spaced(of: int, count: int) -> NDArray[np.int64]:
    """Returns `count` different rows of `of`, spaced evenly."""
    return np.arange(count, dtype=np.int64) * of // count
