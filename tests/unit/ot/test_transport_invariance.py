"""Invariance of a solve to shifts, order, shards, storage, batches and the drawn sample."""

import numpy as np
import pytest
import torch
from clouds import LARGE_POOL, LARGE_TARGET, POOL, STREAMED, TARGET, c_transform, cloud
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist import ot as transport
from shortlist.errors import InvalidInput
from shortlist.ot import overlap, solve


@settings(max_examples=10, deadline=None)
@given(st.floats(-50, 50), st.integers(0, 15))
def test_moving_both_sides_alike_changes_nothing(shift: float, dimension: int) -> None:
    moved = torch.zeros(16)
    moved[dimension] = shift
    here = solve(POOL, TARGET, epsilon=0.05)
    there = solve(POOL + moved, TARGET + moved, epsilon=0.05)
    # float32 inputs of size 50 carry 4e-6; squared costs of size 20 and the tolerance do the rest
    assert torch.allclose(here.g, there.g, atol=5e-3)


@pytest.mark.parametrize("stored_bytes", [2**29, STREAMED])
def test_the_order_of_the_pool_and_its_shards_changes_nothing(stored_bytes: int) -> None:
    order = torch.randperm(6000, generator=torch.Generator().manual_seed(0))
    shards = [LARGE_POOL[order[s : s + 1500]] for s in (4500, 0, 3000, 1500)]
    rows = torch.cat([order[s : s + 1500] for s in (4500, 0, 3000, 1500)])
    one = solve(LARGE_POOL, LARGE_TARGET, epsilon=0.02, tolerance=1e-5, stored_bytes=stored_bytes)
    two = solve(
        torch.cat(shards), LARGE_TARGET, epsilon=0.02, tolerance=1e-5, stored_bytes=stored_bytes
    )
    assert torch.allclose(one.g[rows], two.g, atol=1e-3 * one.mean_cost)
    assert overlap(one.score[rows], two.score, 0.05) >= 0.99


def test_a_half_precision_store_ranks_as_float32_does() -> None:
    full = solve(LARGE_POOL, LARGE_TARGET, epsilon=0.02, tolerance=1e-3)
    half = solve(
        LARGE_POOL.half().numpy(), LARGE_TARGET.half().numpy(), epsilon=0.02, tolerance=1e-3
    )
    assert overlap(full.score, half.score, 0.05) >= 0.98
    assert half.dual == pytest.approx(full.dual, rel=1e-3)


def test_a_memory_map_gives_what_the_array_gives(tmp_path) -> None:
    np.save(tmp_path / "pool.npy", LARGE_POOL.numpy())
    mapped = np.load(tmp_path / "pool.npy", mmap_mode="r")
    one = solve(mapped, LARGE_TARGET, epsilon=0.02, stored_bytes=STREAMED)
    two = solve(LARGE_POOL, LARGE_TARGET, epsilon=0.02, stored_bytes=STREAMED)
    assert torch.equal(one.g, two.g)


@pytest.mark.parametrize("cost", transport.COSTS)
@pytest.mark.parametrize("epsilon", [0.0, 0.02])
def test_candidates_score_the_same_alone_in_batches_and_in_the_fit(
    cost: transport.Cost, epsilon: float
) -> None:
    found = solve(POOL, TARGET, epsilon=epsilon, cost=cost)
    how = {"epsilon": found.epsilon, "cost": cost, "dtype": found.dtype}
    at_once = c_transform(POOL, TARGET, found.f, **how)
    batches = torch.cat([c_transform(part, TARGET, found.f, **how) for part in POOL.split(7)])
    # Another batch size is another order of summation in the product, and nothing else; the square
    # root makes more of it where a candidate lies on a target.
    assert torch.allclose(at_once, batches, atol=1e-5 * found.mean_cost)
    assert torch.allclose(at_once, found.g, atol=1e-5 * found.mean_cost)


def test_a_transform_prepared_once_scores_batch_after_batch() -> None:
    found = solve(POOL, TARGET, epsilon=0.05)
    score = transport.CTransform(TARGET, found.f, epsilon=found.epsilon)
    once = c_transform(POOL, TARGET, found.f, epsilon=found.epsilon)
    assert torch.equal(score(POOL), once)
    with pytest.raises(InvalidInput, match="one featurizer"):
        score(POOL[:, :8])


def test_a_sample_whose_costs_are_not_kept_gives_the_same_answer() -> None:
    kept = solve(LARGE_POOL, LARGE_TARGET, epsilon=0.02, tolerance=1e-4)
    made = solve(
        LARGE_POOL, LARGE_TARGET, epsilon=0.02, tolerance=1e-4, stored_bytes=1, regime="streamed"
    )
    assert made.converged and overlap(kept.score, made.score, 0.05) >= 0.99


def test_the_callers_matmul_precision_comes_back_and_does_not_matter() -> None:
    before = torch.backends.mkldnn.matmul.fp32_precision
    plain = solve(POOL, TARGET, epsilon=0.05)
    try:
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"
        again = solve(POOL, TARGET, epsilon=0.05)
        assert torch.backends.mkldnn.matmul.fp32_precision == "bf16"
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = before
    assert torch.equal(plain.g, again.g)


def test_a_generator_draws_the_sample_and_the_answer_stays() -> None:
    how = {"epsilon": 0.02, "tolerance": 1e-4, "stored_bytes": STREAMED}
    middle = solve(LARGE_POOL, LARGE_TARGET, **how)
    drawn = solve(LARGE_POOL, LARGE_TARGET, generator=torch.Generator().manual_seed(5), **how)
    assert overlap(middle.score, drawn.score, 0.05) >= 0.99


@pytest.mark.parametrize("cost", ["sqeuclidean", "cosine"])
def test_the_mean_cost_of_a_large_pool_does_not_depend_on_its_order(cost: transport.Cost) -> None:
    pool = cloud(20000, 21)  # more rows than the Euclidean cost would be sampled over
    by_cluster = pool[pool[:, 0].argsort()]  # the worst order for a sample by position
    one = transport.mean_cost(pool, TARGET, cost=cost)
    two = transport.mean_cost(by_cluster, TARGET, cost=cost)
    assert one == pytest.approx(two, rel=1e-12)  # sums of 20,000 numbers in float64
    squares = torch.cdist(pool.double(), TARGET.double()) ** 2
    if cost == "cosine":
        unit = torch.nn.functional.normalize
        squares = 1 - unit(pool.double()) @ unit(TARGET.double()).T
    assert one == pytest.approx(float(squares.mean()), rel=1e-6)  # rows are float32


@pytest.mark.parametrize("cost", transport.COSTS)
def test_the_mean_cost_of_two_corpora_is_that_of_their_solve(cost: transport.Cost) -> None:
    pool = cloud(17000, 22)
    generator = torch.Generator().manual_seed(1)
    found = solve(pool, TARGET, epsilon=0.1, cost=cost, stored_bytes=STREAMED, generator=generator)
    assert found.regime == "streamed"
    assert transport.mean_cost(pool, TARGET, cost=cost) == found.mean_cost


def test_the_top_of_a_streamed_pool_does_not_depend_on_its_order() -> None:
    # The sample of the solve is taken by position, so another order is another sample: at the
    # default tolerance of 5e-3 potentials differ by about 5e-3 epsilon, which moves only documents
    # at the very edge of the top.
    pool, target = cloud(20000, 23), cloud(80, 24, clusters=3)
    how = {"epsilon": 0.02, "stored_bytes": STREAMED}
    one = solve(pool, target, **how)
    for order in (
        torch.randperm(20000, generator=torch.Generator().manual_seed(2)),
        pool[:, 0].argsort(),
    ):
        two = solve(pool[order], target, **how)
        assert one.regime == two.regime == "streamed"
        assert one.epsilon == pytest.approx(two.epsilon, rel=1e-12)
        assert overlap(one.score[order], two.score, 0.05) >= 0.99
