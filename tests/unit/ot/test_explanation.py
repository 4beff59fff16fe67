"""Who serves whom, against plain formulas and POT."""

from __future__ import annotations

from typing import Any

import numpy as np
import ot
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.metrics.pairwise import cosine_similarity

from shortlist.diagnostics.projection import plane
from shortlist.ot import calibrate, solve
from shortlist.ot.explanation import (
    Plan,
    cosine_plan,
    left_without,
    trace,
    transport_plan,
)

RNG = np.random.default_rng(0)


def cloud(centres: list[list[float]], each: int, spread: float = 0.3) -> np.ndarray:
    rows = [np.array(centre) + spread * RNG.normal(size=(each, len(centre))) for centre in centres]
    return np.concatenate(rows).astype(np.float32)


def costs(pool: np.ndarray, target: np.ndarray) -> np.ndarray:
    return ot.dist(pool.astype(float), target.astype(float))


def tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(array) for array in arrays]


def test_the_plan_is_that_of_sinkhorn() -> None:
    pool, target = cloud([[0, 0, 0], [2, 0, 0]], 20), cloud([[0, 1, 0]], 9)
    matrix = costs(pool, target)
    epsilon = 0.1 * matrix.mean()
    expected = ot.sinkhorn(ot.unif(40), ot.unif(9), matrix, epsilon, stopThr=1e-12)
    found = solve(pool, target, epsilon=epsilon, relative=False, tolerance=1e-8)
    plan = transport_plan(*tensors(pool, target), found.f, epsilon=epsilon, cost="sqeuclidean")
    np.testing.assert_allclose(plan.shares / 40, expected, atol=1e-6)
    np.testing.assert_allclose(plan.costs, matrix, atol=1e-5)


def test_a_target_of_twice_the_mass_is_two_targets_in_one_place() -> None:
    pool, target = cloud([[0, 0]], 8), cloud([[0, 0]], 3)
    f = torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64)
    masses = torch.tensor([0.5, 0.25, 0.25])
    found = transport_plan(*tensors(pool, target), f, epsilon=0.3, cost="sqeuclidean", a=masses)
    twice = [0, 0, 1, 2]
    apart = transport_plan(
        *tensors(pool, target[twice]), f[twice], epsilon=0.3, cost="sqeuclidean"
    ).shares
    expected = torch.stack([apart[:, 0] + apart[:, 1], apart[:, 2], apart[:, 3]], 1)
    torch.testing.assert_close(found.shares, expected)


def test_an_exact_plan_sends_all_of_a_document_to_one_target() -> None:
    pool, target = cloud([[0, 0]], 12), cloud([[0, 0]], 5)
    found = solve(pool, target, epsilon=0)
    plan = transport_plan(*tensors(pool, target), found.f, epsilon=0, cost="sqeuclidean")
    assert set(plan.shares.unique().tolist()) == {0.0, 1.0}
    # A document that the linear program splits has two equally good targets.
    slack = costs(pool, target) - found.f.numpy() - found.g.numpy()[:, None]
    assert np.abs(slack[plan.shares.numpy() == 1]).max() < 1e-5 < np.median(slack)


@pytest.mark.parametrize("seed", range(4))
def test_leaving_one_out_of_an_exact_problem_agrees_in_sign_with_its_gradient(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pool = np.concatenate([rng.normal(size=(7, 3)), 3 + rng.normal(size=(7, 3))])
    target = rng.normal(size=(5, 3))
    matrix = costs(pool, target)
    gradient = calibrate(solve(pool, target, epsilon=0, dtype=torch.float64).g).numpy()

    def cost(rows: list[int]) -> float:
        return float(ot.emd2(ot.unif(len(rows)), ot.unif(5), matrix[rows]))

    everything = list(range(14))
    for row in everything:
        change = cost([one for one in everything if one != row]) - cost(everything)
        assert np.sign(change) == -np.sign(gradient[row]), (row, change, gradient[row])
    assert (gradient < 0).any() and (gradient > 0).any()


def test_nearest_targets_by_cosine_are_those_of_scikit_learn_dense_or_sparse() -> None:
    documents = (RNG.poisson(0.5, size=(15, 30))).astype(np.float32)
    targets = (RNG.poisson(0.5, size=(6, 30))).astype(np.float32)
    documents[3] = 0
    dense = cosine_plan(documents, targets, epsilon=0.05)
    sparse = cosine_plan(csr_array(documents), csr_array(targets), epsilon=0.05)
    expected = 1 - cosine_similarity(documents, targets)
    np.testing.assert_allclose(dense.costs, expected, atol=1e-6)
    np.testing.assert_allclose(sparse.costs, expected, atol=1e-6)
    weights = np.exp(-expected / 0.05)
    np.testing.assert_allclose(dense.shares, weights / weights.sum(1, keepdims=True), atol=1e-5)


def random_plan(k: int, m: int) -> Plan:
    shares = torch.from_numpy(RNG.dirichlet(np.full(m, 0.3), size=k))
    return Plan(shares, torch.from_numpy(RNG.uniform(size=(k, m))))


@pytest.mark.parametrize("batch", [1, 7, 40])
def test_a_trace_is_that_of_the_whole_plan_whatever_the_batch(batch: int) -> None:
    plan, weights = random_plan(40, 11), RNG.uniform(0.5, 2, size=40)
    pieces = (
        Plan(plan.shares[at : at + batch], plan.costs[at : at + batch])
        for at in range(0, 40, batch)
    )
    found = trace(pieces, weights, top=3)
    shares, costs_ = plan.shares.numpy(), plan.costs.numpy()
    mass = weights @ shares
    np.testing.assert_allclose(found.mass, mass / mass.mean())
    np.testing.assert_array_equal(found.targets, np.argsort(-shares, axis=1)[:, :3])
    given = weights[:, None] * shares
    np.testing.assert_array_equal(found.servers, np.argsort(-given, axis=0)[:3].T)
    np.testing.assert_allclose(found.brought, np.sort(given / mass, axis=0)[::-1][:3].T)
    np.testing.assert_array_equal(found.nearest, costs_.argmin(0))
    np.testing.assert_allclose(found.distance, costs_.min(0))
    np.testing.assert_allclose(found.least, costs_.min(1))


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_the_targets_of_a_domain_that_the_pool_lacks_are_left_without(gone: int) -> None:
    centres = (4 * np.eye(6)).tolist()
    target = cloud(centres[:3], 10)  # three domains of the target ...
    kept = [centre for index, centre in enumerate(centres) if index != gone]

    def left(pool: np.ndarray) -> np.ndarray:
        found = solve(pool, target, epsilon=0.02)
        picks = np.argsort(found.g.numpy())[:150]
        plans = [
            transport_plan(
                *tensors(rows, target), found.f, epsilon=found.epsilon, cost="sqeuclidean"
            )
            for rows in (pool[picks], pool)
        ]
        traced = trace(plans[:1], np.ones(150), 3)
        return np.flatnonzero(left_without(traced, float(plans[1].costs.mean()))[0])

    assert left(cloud(centres, 60)).tolist() == []  # ... all of them, and others, in the pool
    assert left(cloud(kept, 60)).tolist() == list(range(10 * gone, 10 * gone + 10))


def test_the_plane_is_that_of_scikit_learn_up_to_sign() -> None:
    from sklearn.decomposition import PCA

    values = RNG.normal(size=(60, 8)) * np.arange(1, 9)
    found = plane(values, 50)
    reference = PCA(2, svd_solver="full").fit(values[:50])
    np.testing.assert_allclose(np.abs(found.places), np.abs(reference.transform(values)), atol=1e-9)
    np.testing.assert_allclose(found.explained, reference.explained_variance_ratio_)


def test_the_plane_of_sparse_vectors_tells_apart_what_shares_no_words() -> None:
    counts: Any = RNG.poisson(1.0, size=(40, 30)).astype(np.float32)
    counts[:20, 15:] = 0
    counts[20:, :15] = 0
    counts[20:] *= 9  # longer documents of the same words are not farther away
    places = plane(csr_array(counts), 40).places
    assert (
        places[:20, 0].max() < places[20:, 0].min() or places[20:, 0].max() < places[:20, 0].min()
    )


def test_one_dimension_and_equal_vectors_have_a_plane_too() -> None:
    assert plane(np.ones((5, 1)), 5).places.shape == (5, 2)
    assert plane(np.ones((5, 3)), 5).explained.tolist() == [0.0, 0.0]
