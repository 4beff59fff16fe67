"""Streamed neighbours against all distances at once."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from shortlist.errors import InvalidInput
from shortlist.selectors import neighbours
from shortlist.selectors.neighbours import nearest
from shortlist.vectors import unit_rows

RNG = np.random.default_rng(0)
POOL = RNG.normal(size=(500, 8)).astype(np.float32)
TARGET = RNG.normal(size=(7, 8)).astype(np.float32) + 3  # off the origin: centring must not matter


@pytest.mark.parametrize("measure", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [1, 3, 60, 499, 500, 900])
@pytest.mark.parametrize("block", [16, 64, 10_000])
def test_the_neighbours_are_those_of_scikit_learn(
    monkeypatch: pytest.MonkeyPatch, measure: str, k: int, block: int
) -> None:
    monkeypatch.setattr(neighbours, "rows_per_block", lambda m, device: block)
    found = nearest(POOL, TARGET, k, measure)  # type: ignore[arg-type]
    reference = NearestNeighbors(n_neighbors=min(k, 500), metric=measure).fit(POOL)
    distances, rows = reference.kneighbors(TARGET)
    values = found.values.numpy() if measure == "euclidean" else 1 - found.values.numpy()
    np.testing.assert_allclose(values, distances, atol=2e-5)
    # Rows may differ only where two distances agree to float32.
    differ = found.rows.numpy() != rows
    assert differ.mean() < 0.02


@settings(max_examples=40)
@given(
    st.integers(1, 60), st.integers(1, 5), st.integers(1, 70), st.integers(1, 9), st.integers(0, 99)
)
def test_however_the_pool_is_cut_the_neighbours_are_the_same(
    n: int, m: int, k: int, step: int, seed: int
) -> None:
    values = torch.randint(0, 4, (m, n), generator=torch.Generator().manual_seed(seed)).float()
    best = neighbours._Best(m, min(k, n), torch.device("cpu"))
    for start in range(0, n, step):
        best.add(values[:, start : start + step], start)
    found, rows = best.sorted()
    expected = values.sort(dim=1, descending=True).values[:, : min(k, n)]
    assert torch.equal(found, expected)
    assert torch.equal(values.gather(1, rows), found)
    assert all(len(set(row.tolist())) == min(k, n) for row in rows)
    for value, row in zip(found, rows, strict=True):  # equal values in the order of their rows
        assert ((value[:-1] != value[1:]) | (row[:-1] < row[1:])).all()


def test_a_pool_sorted_towards_the_targets_is_searched_right() -> None:
    # Every block is better than all before it: the buffers overflow as often as they can.
    pool = np.linspace(5, 1, 4000, dtype=np.float32)[:, None] * np.ones((1, 2), np.float32)
    found = nearest(pool, np.zeros((2, 2), np.float32), 300, "euclidean")
    assert found.rows[0].tolist() == list(range(3999, 3699, -1))


def test_a_vector_of_zeros_has_cosine_zero() -> None:
    assert torch.equal(unit_rows(torch.zeros(1, 3)), torch.zeros(1, 3))
    pool = np.array([[0, 0], [1, 0], [-1, 0]], dtype=np.float32)
    found = nearest(pool, np.array([[2, 0]], dtype=np.float32), 3, "cosine")
    assert found.rows.tolist() == [[1, 0, 2]] and found.values.tolist() == [[1, 0, -1]]


def test_a_row_that_is_no_number_is_refused_by_its_number() -> None:
    broken = POOL.copy()
    broken[123, 0] = np.nan
    with pytest.raises(InvalidInput, match="pool row: 123"):
        nearest(broken, TARGET, 2, "cosine")


def test_memory_is_a_block_and_not_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "rows_per_block", lambda m, device: 50)
    made: list[int] = []
    plain = torch.empty
    monkeypatch.setattr(
        torch, "empty", lambda *a, **k: (made.append(int(np.prod(a))), plain(*a, **k))[1]
    )
    nearest(POOL, TARGET, 3, "cosine")
    assert max(made) == 7 * 50
