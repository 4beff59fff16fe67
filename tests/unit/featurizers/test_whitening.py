"""Whitening: the identity as covariance on the span, and nothing off it."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from shortlist.errors import InvalidInput
from shortlist.featurizers import whitening
from shortlist.featurizers.whitening import learn

# The whitened rows are float32: a covariance of 500 products of size 1.
ROUNDING = 1e-5


def cloud(n: int = 500, d: int = 12, rank: int | None = None, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    rank = rank or d
    mixed = generator.normal(size=(n, rank)) * np.geomspace(1, 30, rank)
    return (mixed @ generator.normal(size=(rank, d)) + 7).astype(np.float32)


@pytest.mark.parametrize("kind", whitening.KINDS)
def test_the_covariance_of_the_whitened_pool_is_the_identity(kind: whitening.Kind) -> None:
    values = cloud()
    found = learn(values, kind, 0.0).apply(values).astype(np.float64)
    np.testing.assert_allclose(found.mean(0), 0, atol=ROUNDING)
    np.testing.assert_allclose(np.cov(found.T, bias=True), np.eye(12), atol=ROUNDING)


@pytest.mark.parametrize("kind", whitening.KINDS)
@pytest.mark.parametrize(("n", "d", "rank"), [(500, 12, 5), (8, 12, 7), (2, 12, 1)])
def test_directions_without_variance_stay_without(
    kind: whitening.Kind, n: int, d: int, rank: int
) -> None:
    values = cloud(n, d, min(rank, d) if n > d else None).astype(np.float64)
    made = learn(values, kind, 0.0)
    assert made.rank == rank
    found = made.apply(values).astype(np.float64)
    spectrum = np.linalg.eigvalsh(np.cov(found.T, bias=True).reshape(found.shape[1], -1))[::-1]
    np.testing.assert_allclose(spectrum[:rank], 1, atol=ROUNDING)
    np.testing.assert_allclose(spectrum[rank:], 0, atol=ROUNDING)


def test_pca_whitening_is_that_of_scikit_learn_up_to_signs() -> None:
    values = cloud()
    ours = learn(values, "pca", 0.0).apply(values)
    theirs = PCA(whiten=True, svd_solver="full").fit_transform(values.astype(np.float64))
    theirs *= np.sqrt(500 / 499)  # its covariance has denominator n - 1
    signs = np.sign((ours * theirs).sum(0))
    np.testing.assert_allclose(ours, theirs * signs, atol=1e-4)


def test_zca_is_the_symmetric_root_of_the_inverse_covariance() -> None:
    values = cloud().astype(np.float64)
    made = learn(values, "zca", 0.0)
    np.testing.assert_allclose(made.matrix, made.matrix.T, atol=1e-9)
    inverse = np.linalg.inv(np.cov(values.T, bias=True))
    np.testing.assert_allclose(made.matrix @ made.matrix, inverse, rtol=1e-6, atol=1e-9)


def test_whitened_distances_do_not_depend_on_how_the_vectors_were_mixed() -> None:
    values, mix = cloud(), np.random.default_rng(1).normal(size=(12, 12))
    one, other = (learn(v, "pca", 0.0).apply(v) for v in (values, values @ mix - 3))
    np.testing.assert_allclose(one @ one.T, other @ other.T, atol=1e-3)  # a badly conditioned mix


@pytest.mark.parametrize("shrinkage", [0.1, 0.5, 1.0])
def test_shrinkage_pulls_variances_towards_their_mean(shrinkage: float) -> None:
    values = cloud().astype(np.float64)
    variances = np.linalg.eigvalsh(np.cov(values.T, bias=True))[::-1]
    found = learn(values, "pca", shrinkage).apply(values).astype(np.float64)
    shrunk = (1 - shrinkage) * variances + shrinkage * variances.mean()
    np.testing.assert_allclose(found.var(0), variances / shrunk, rtol=1e-4, atol=ROUNDING)


def test_blocks_give_the_map_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    values = cloud()
    whole = learn(values, "zca", 0.1)
    monkeypatch.setattr(whitening, "_ROWS", 7)
    parts = learn(values, "zca", 0.1)
    np.testing.assert_allclose(parts.matrix, whole.matrix, rtol=1e-9, atol=1e-12)


def test_a_large_mean_costs_no_digits() -> None:
    values = cloud().astype(np.float64)
    near, far = learn(values, "zca", 0.0), learn(values + 1e5, "zca", 0.0)
    np.testing.assert_allclose(far.matrix, near.matrix, rtol=1e-6, atol=1e-8)


def test_what_cannot_be_whitened_is_refused() -> None:
    with pytest.raises(InvalidInput, match="vectors that differ"):
        learn(np.ones((5, 3)), "zca", 0.0)
    with pytest.raises(InvalidInput, match="finite"):
        learn(np.array([[1.0, np.nan], [0.0, 1.0]]), "zca", 0.0)
    with pytest.raises(InvalidInput, match="shrinkage must lie"):
        learn(cloud(), "zca", 1.5)
    with pytest.raises(InvalidInput, match="zca, pca"):
        learn(cloud(), "zac", 0.0)  # pyright: ignore[reportArgumentType]
