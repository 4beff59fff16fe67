"""The two-dimensional map, against scikit-learn's principal components."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csr_array

from shortlist.diagnostics.projection import PICKS, TARGET, principal_plane, project_selection

RNG = np.random.default_rng(0)


def test_the_plane_is_that_of_scikit_learn_up_to_sign() -> None:
    from sklearn.decomposition import PCA

    values = RNG.normal(size=(60, 8)) * np.arange(1, 9)
    places, explained = principal_plane(values, 50)
    reference = PCA(2, svd_solver="full").fit(values[:50])
    np.testing.assert_allclose(np.abs(places), np.abs(reference.transform(values)), atol=1e-9)
    np.testing.assert_allclose(explained, reference.explained_variance_ratio_)


def test_the_plane_of_sparse_vectors_tells_apart_what_shares_no_words() -> None:
    counts: Any = RNG.poisson(1.0, size=(40, 30)).astype(np.float32)
    counts[:20, 15:] = 0
    counts[20:, :15] = 0
    counts[20:] *= 9  # longer documents of the same words are not farther away
    places = principal_plane(csr_array(counts), 40)[0]
    assert (
        places[:20, 0].max() < places[20:, 0].min() or places[20:, 0].max() < places[:20, 0].min()
    )


def test_one_dimension_and_equal_vectors_have_a_plane_too() -> None:
    assert principal_plane(np.ones((5, 1)), 5)[0].shape == (5, 2)
    assert principal_plane(np.ones((5, 3)), 5)[1].tolist() == [0.0, 0.0]


def test_a_map_shows_samples_of_all_three_and_counts_what_there_is() -> None:
    pool, targets = RNG.normal(size=(800, 4)), [RNG.normal(size=(n, 4)) for n in (300, 500)]
    picks = RNG.permutation(800)[:700]
    made = project_selection(pool, targets, picks)
    assert list(made.sizes) == [800, TARGET, PICKS] and list(made.totals) == [800, 800, 700]
    assert made.places.shape == (800 + TARGET + PICKS, 2) and made.places.dtype == np.float32
    # The first and the last pick are shown, and each lies where the pool's document does.
    shown = made.places[-PICKS:]
    np.testing.assert_allclose(shown[[0, -1]], made.places[picks[[0, -1]]], atol=1e-6)


def test_a_map_of_sparse_vectors_is_that_of_one_matrix() -> None:
    counts: Any = RNG.poisson(1.0, size=(60, 12)).astype(np.float32)
    made = project_selection(csr_array(counts[:50]), [csr_array(counts[50:])], np.arange(5))
    places, explained = principal_plane(csr_array(np.concatenate([counts, counts[:5]])), 60)
    np.testing.assert_allclose(made.places, places, atol=1e-5)
    np.testing.assert_allclose(made.explained, explained)
