"""DATE-LM's selection and form: against the formula, its distribution, and the form's fields."""

from __future__ import annotations

import numpy as np
import pytest

from shortlist.core import Axes, Record
from shortlist.deploy.date_lm import RESULTS, gumbel_top_k, metadata
from shortlist.errors import InvalidInput


def test_the_selection_is_the_largest_of_standardised_scores_and_noise() -> None:
    metrics = np.random.default_rng(1).normal(3, 7, size=500)
    noise = np.random.default_rng(42).gumbel(size=500)
    total = (metrics - np.mean(metrics)) / np.std(metrics) / 0.5 + noise
    expected = set(sorted(range(500), key=lambda row: total[row])[-50:])
    found = gumbel_top_k(metrics, 50, 0.5, 42)
    assert set(found.tolist()) == expected and (np.diff(found) > 0).all()
    assert np.array_equal(gumbel_top_k(5 * metrics - 2, 50, 0.5, 42), found)  # affine changes


def test_probabilities_are_those_of_gumbel_and_equal_scores_are_uniform() -> None:
    metrics = np.array([0.0, 0.0, 1.0])
    weights = np.exp((metrics - metrics.mean()) / metrics.std() / 0.5)
    draws = [gumbel_top_k(metrics, 1, 0.5, seed)[0] for seed in range(2000)]
    shares = np.bincount(draws, minlength=3) / 2000
    np.testing.assert_allclose(shares, weights / weights.sum(), atol=0.03)  # 4 standard errors
    draws = [gumbel_top_k(np.full(4, 2.0), 1, 0.5, seed)[0] for seed in range(2000)]
    np.testing.assert_allclose(np.bincount(draws, minlength=4) / 2000, 0.25, atol=0.04)
    assert gumbel_top_k(metrics, 3, 0.5, 0).tolist() == [0, 1, 2]
    with pytest.raises(InvalidInput, match="expected 4 candidates or more, found 3"):
        gumbel_top_k(metrics, 4, 0.5, 0)


def test_the_form_has_the_fields_of_the_board_and_no_invented_result() -> None:
    axes = Axes("own", "files", "gotd", "minilm", "minilm", 10, "documents", 0)
    form = metadata(Record("k", "done", axes, started="now"), "s", "board", "Similarity", "link")
    assert form["Method"] == "gotd" and form["Metadata Path"] == "submissions/s/metadata.json"
    assert all(form[name] is None for name in RESULTS) and len(form) == 8 + len(RESULTS)
