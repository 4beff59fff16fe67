"""Copies in meaning: the cosine law, clusters as a partition by direction, and what they miss."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from shortlist.data.semantic_copies import nearest, repeats_an_earlier, spherical_kmeans, unit_rows
from shortlist.errors import InvalidInput


def directions(centres: int, each: int, spread: float, seed: int = 3) -> NDArray[np.float32]:
    """Rows of any length around `centres` directions of 16 dimensions; the sixth row is zero."""
    rng = np.random.default_rng(seed)
    rows = np.repeat(rng.standard_normal((centres, 16)), each, axis=0)
    rows += spread * rng.standard_normal(rows.shape)
    rows *= rng.uniform(0.1, 10, (len(rows), 1))
    rows = rng.permutation(rows).astype(np.float32)
    rows[5] = 0
    return rows


@pytest.mark.parametrize("clustered", [False, True])
def test_rows_that_repeat_an_earlier_one_are_those_of_the_whole_matrix(clustered: bool) -> None:
    vectors = directions(700, 3, 0.2)  # more than two blocks
    labels = np.random.default_rng(0).integers(0, 3, len(vectors)) if clustered else None
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.maximum(norms, 1e-9)
    cosines = unit @ unit.T
    if labels is not None:
        cosines[labels[:, None] != labels] = -1
    wanted = np.tril(cosines, -1).max(axis=1) >= 0.95
    assert 100 < wanted.sum() < 1500 and not wanted[5]
    np.testing.assert_array_equal(repeats_an_earlier(vectors, 0.95, labels), wanted)


def test_each_row_lies_in_the_cluster_of_the_nearest_centroid_whatever_its_length() -> None:
    vectors = directions(12, 200, 0.3)
    found = spherical_kmeans(vectors, 12)
    np.testing.assert_allclose(np.linalg.norm(found.centroids, axis=1), 1, atol=1e-6)
    cosines = unit_rows(vectors) @ found.centroids.T
    np.testing.assert_array_equal(found.labels, cosines.argmax(axis=1))
    np.testing.assert_allclose(found.cosines, cosines.max(axis=1), atol=1e-6)
    again = spherical_kmeans(vectors * np.float32(4), 12)
    np.testing.assert_array_equal(again.labels, found.labels)


def test_updates_do_not_lower_the_sum_of_cosines() -> None:
    vectors = directions(30, 40, 0.8)
    sums = [spherical_kmeans(vectors, 20, rounds).cosines.sum() for rounds in (0, 1, 2, 4, 10)]
    assert sums == sorted(sums) and sums[-1] > sums[0] + 1


def test_clusters_find_nearly_all_copies_of_tight_groups_and_no_others() -> None:
    vectors = directions(200, 10, 0.05)
    every = repeats_an_earlier(vectors, 0.97)
    within = repeats_an_earlier(vectors, 0.97, spherical_kmeans(vectors, 20).labels)
    assert not np.any(within & ~every)
    assert within.sum() >= 0.98 * every.sum() > 1000


def test_the_nearest_row_is_the_first_of_equal_cosines() -> None:
    others = np.array([[0, 1], [1, 0], [2, 0]], dtype=np.float32)
    rows, cosines = nearest(np.array([[5, 0], [0, 0], [-1, 1e-3]], dtype=np.float32), others)
    assert rows.tolist() == [1, 0, 0]
    np.testing.assert_allclose(cosines, [1, 0, 1e-3], atol=1e-6)


@pytest.mark.parametrize("count", [0, 13])
def test_clusters_without_a_row_each_are_refused(count: int) -> None:
    with pytest.raises(InvalidInput, match=f"from 1 to 12 clusters.*found {count}"):
        spherical_kmeans(directions(3, 4, 0.1), count)
