"""DSIR against the log-ratio written out, and its draw against the weights."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from shortlist.core import Budget, Features
from shortlist.errors import InvalidInput
from shortlist.selectors.base import Scored, score_pool
from shortlist.selectors.dsir import DSIR

RNG = np.random.default_rng(0)
POOL = RNG.poisson(0.3, (40, 30)).astype(np.float32)
TARGET = RNG.poisson(np.where(np.arange(30) < 10, 1.0, 0.05), (15, 30)).astype(np.float32)


def fitted(smoothing: float = 1.0, temperature: float = 1.0) -> DSIR:
    selector = DSIR(smoothing, temperature)
    selector.fit(Features(csr_array(TARGET), "t", ""), Features(csr_array(POOL), "p", ""))
    return selector


@pytest.mark.parametrize("smoothing", [0.5, 1.0])
def test_a_score_is_the_smoothed_log_ratio_of_the_documents_grams(
    machine: Any, smoothing: float
) -> None:
    p, q = TARGET.sum(0) + smoothing, POOL.sum(0) + smoothing
    expected = POOL.astype(float) @ (np.log(p / p.sum()) - np.log(q / q.sum()))
    found = score_pool(fitted(smoothing), Features(csr_array(POOL), "p", ""), machine)
    # The counts are summed in float32 by one and float64 by the other: 1e-7 of some tens.
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_dense_and_sparse_counts_have_the_same_scores() -> None:
    selector, sparse = fitted(), csr_array(POOL)
    as_sparse = torch.sparse_csr_tensor(
        torch.from_numpy(sparse.indptr.astype(np.int64)),
        torch.from_numpy(sparse.indices.astype(np.int64)),
        torch.from_numpy(sparse.data),
        size=sparse.shape,
        check_invariants=True,
    )
    # A running sum of 400 numbers of size 1 in float64.
    torch.testing.assert_close(
        selector.score(as_sparse), selector.score(torch.from_numpy(POOL)), atol=1e-12, rtol=0
    )


def test_a_document_without_grams_has_score_zero(machine: Any) -> None:
    values = np.zeros((3, 30), dtype=np.float32)
    values[1, 0] = 1
    scores = score_pool(fitted(), Features(csr_array(values), "p", ""), machine)
    assert scores[[0, 2]].tolist() == [0.0, 0.0] and scores[1] != 0.0


def test_temperature_zero_takes_the_largest_weights() -> None:
    scores = Scored(np.arange(20.0), np.arange(20, dtype=np.uint64))
    choice = fitted(temperature=0.0).select(scores, Budget(3), torch.Generator().manual_seed(0))
    assert choice.rows.tolist() == [19, 18, 17]


def test_temperature_one_draws_in_proportion_to_the_weights() -> None:
    weights, draws = np.array([1.0, 2.0, 3.0, 4.0]) / 10, 1000
    scores, selector = Scored(np.log(weights), np.arange(4, dtype=np.uint64)), fitted()
    firsts = [
        selector.select(scores, Budget(1), torch.Generator().manual_seed(seed)).rows[0]
        for seed in range(draws)
    ]
    found = np.bincount(firsts, minlength=4) / draws
    # 4.5 standard errors of a proportion
    assert (np.abs(found - weights) < 4.5 * np.sqrt(weights * (1 - weights) / draws)).all()


def test_smoothing_of_zero_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"selector\.smoothing must be above 0"):
        DSIR(0.0, 1.0)
