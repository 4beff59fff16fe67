"""The cascade on its own: predicted vectors, which documents are encoded, the expected overlap."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge

from shortlist.featurizers import cascade as algorithm


def unit(rows: int, columns: int, seed: int) -> Any:
    values = np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def toward(direction: Any) -> algorithm.Fit:
    """A method whose score is the cosine to one vector, whatever the pool."""
    aim = np.append(direction, 0.0).astype(np.float32)
    return lambda pool: lambda values: (values @ aim).astype(np.float64)


class Reading:
    """An encoder that knows the exact vectors and keeps what it was asked for."""

    def __init__(self, exact: Any) -> None:
        self.exact, self.asked = exact, list[int]()

    def __call__(self, rows: NDArray[np.int64]) -> Any:
        self.asked += rows.tolist()
        return self.exact[rows]


def cascaded(
    exact: Any, cheap: Any, encode: Reading, selectable: Any = None, **settings: Any
) -> algorithm.Cascaded:
    target = exact[:20]
    allowed = np.ones(len(exact), dtype=bool) if selectable is None else selectable
    settings = {"budget": 20, "factor": 4, "overlap": 0.95, "sample": 60} | settings
    return algorithm.cascade(
        cheap[20:], cheap[:20], target, allowed[20:], encode, toward(exact[0]), **settings
    )


def test_extended_vectors_have_length_one_and_expected_distances() -> None:
    exact, guess = unit(5, 8, 0), unit(6, 8, 1) * np.linspace(0, 1, 6, dtype=np.float32)[:, None]
    values, aims = algorithm.extended(guess), algorithm.extended(exact)
    assert np.allclose(np.linalg.norm(values, axis=1), 1, atol=1e-6)
    assert np.array_equal(aims[:, :-1], exact) and not aims[:, -1].any()
    # E|x - y|^2 = 1 - 2 E[x] y + 1 for unit vectors x and y.
    squared = ((values[:, None] - aims[None]) ** 2).sum(-1)
    assert np.allclose(squared, 2 - 2 * guess @ exact.T, atol=1e-5)


def test_the_regression_is_scikit_learns_ridge() -> None:
    known, exact, asked = unit(50, 6, 0), unit(50, 9, 1), unit(7, 6, 2)
    expected = Ridge(alpha=algorithm.RIDGE).fit(known, exact).predict(asked)
    assert np.abs(expected).max() < 1 and np.allclose(
        algorithm.regression(known, exact, asked), expected, atol=1e-5
    )


def test_with_exact_predictions_two_rounds_find_the_whole_selection() -> None:
    exact = unit(420, 10, 3)
    encode = Reading(exact[20:])
    found = cascaded(exact, exact @ unit(10, 10, 4), encode)
    best = np.argsort(-(exact[20:] @ exact[0]))[:20]
    assert found.encoded[best].all() and found.rounds <= 2
    assert found.encoded.sum() == len(encode.asked) == len(set(encode.asked)) <= 60 + 20 + 11
    assert found.expected_overlap > 0.95
    assert np.array_equal(found.values[found.encoded, :-1], exact[20:][found.encoded])


def test_useless_predictions_stop_at_the_factor_and_expect_little() -> None:
    exact = unit(820, 10, 5)
    found = cascaded(exact, unit(820, 10, 6), encode := Reading(exact[20:]))
    assert len(encode.asked) == len(set(encode.asked)) == 60 + 4 * 20
    assert found.expected_overlap < 0.4


def test_the_expected_overlap_promises_hardly_more_than_is_measured() -> None:
    exact = unit(4020, 10, 7)
    noisy = exact + 0.15 * np.random.default_rng(8).standard_normal(exact.shape).astype(np.float32)
    found = cascaded(exact, noisy, Reading(exact[20:]), budget=200, factor=2, overlap=1.0)
    best = np.argsort(-(exact[20:] @ exact[0]))[:200]
    measured = found.encoded[best].mean()
    assert measured - 0.15 < found.expected_overlap < measured + 0.05


def test_what_may_not_be_selected_is_not_encoded_for_its_rank() -> None:
    exact = unit(420, 10, 3)
    best = 20 + np.argsort(-(exact[20:] @ exact[0]))[:10]
    selectable = np.ones(420, dtype=bool)
    selectable[best] = False
    found = cascaded(exact, exact, Reading(exact[20:]), selectable)
    chosen = np.flatnonzero(found.encoded)
    assert not np.isin(chosen[chosen >= 60], best - 20).any()


def test_a_pool_that_is_read_whole_has_no_prediction() -> None:
    exact = unit(60, 4, 9)
    found = cascaded(exact, unit(60, 4, 1), Reading(exact[20:]), sample=60, budget=5)
    assert found.encoded.all() and found.expected_overlap == 1.0
    assert not found.values[:, -1].any()
