"""Which vectors can be compared at all."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from shortlist.core import Corpus
from shortlist.errors import InvalidInput
from shortlist.featurizers.base import check_computed
from shortlist.selectors.coverage import farthest_first, herd
from shortlist.vectors import unusable_rows

BAD = [np.nan, np.inf, -np.inf, 1e20]


@pytest.mark.parametrize("kind", [np.float32, np.float64, csr_array])
def test_rows_are_found_that_are_not_finite_or_whose_length_no_float32_holds(kind: type) -> None:
    values = np.random.default_rng(0).normal(size=(20_000, 3))
    rows = [0, 8191, 8192, 19_999]
    values[rows, [0, 1, 2, 0]] = BAD
    values[5] = 0
    values[6] = 1e18  # long, and still short enough
    made = csr_array(values) if kind is csr_array else values.astype(kind)
    assert unusable_rows(made).tolist() == rows


def test_float16_vectors_are_as_long_as_float32_says() -> None:
    values = np.full((2, 4), 60_000, dtype=np.float16)  # squares overflow float16
    values[1, 0] = np.inf
    assert unusable_rows(values).tolist() == [1]


@pytest.mark.parametrize("shape", [(0, 3), (4, 0)])
def test_there_is_nothing_wrong_with_no_numbers(shape: tuple[int, int]) -> None:
    assert unusable_rows(np.zeros(shape, np.float32)).tolist() == []


def test_documents_whose_vectors_are_not_finite_are_named() -> None:
    corpus = Corpus.build(["one", "two", "three"])
    values = np.ones((3, 2), np.float32)
    check_computed(values, corpus, "Toy of the pool")
    values[1, 1] = np.nan
    with pytest.raises(
        InvalidInput, match=rf"from Toy of the pool, found 1 of 3 .*{corpus.ids[1]} \('two'\)"
    ):
        check_computed(values, corpus, "Toy of the pool")


@pytest.mark.parametrize("bad", BAD)
def test_greedy_orders_refuse_what_has_no_distance(bad: float) -> None:
    pool = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    pool[17, 2] = bad
    with pytest.raises(InvalidInput, match=r"drop or repair pool row: 17 \(1 such rows\)"):
        farthest_first(pool, 5)
    with pytest.raises(InvalidInput, match=r"drop or repair pool row: 17 \(1 such rows\)"):
        herd(pool, np.ones(4) / 2, 5)
