"""Several scores become one."""

from __future__ import annotations

import numpy as np
import pytest

from shortlist.selectors.multi_target import standardised, weighted_sum


def test_a_weighted_sum_is_what_it_says_and_keeps_what_one_column_excludes() -> None:
    columns = {"a": np.array([1.0, 2.0, -np.inf, 4.0]), "b": np.array([1.0, -np.inf, 0.0, -4.0])}
    found = weighted_sum(columns, {"a": 0.25, "b": -2.0})
    np.testing.assert_array_equal(found, [-1.75, -np.inf, -np.inf, 9.0])


def test_a_column_of_weight_0_excludes_and_adds_nothing() -> None:
    columns = {"a": np.array([1.0, 2.0]), "b": np.array([5.0, -np.inf])}
    np.testing.assert_array_equal(weighted_sum(columns, {"a": 1.0, "b": 0.0}), [1.0, -np.inf])


def test_standardised_scores_have_one_scale_over_what_may_be_chosen() -> None:
    column = np.array([1.0, -np.inf, 3.0, 8.0])
    found = standardised(1000 * column + 7)
    np.testing.assert_allclose(found, standardised(column), atol=1e-12)
    kept = found[[0, 2, 3]]
    assert kept.mean() == pytest.approx(0, abs=1e-12) and kept.std() == pytest.approx(1)
    assert np.isneginf(found[1])


def test_equal_scores_become_0_and_not_a_division_by_it() -> None:
    np.testing.assert_array_equal(standardised(np.array([2.0, 2.0, -np.inf])), [0, 0, -np.inf])
