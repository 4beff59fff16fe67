"""Measures of uncertainty and disagreement against scipy's entropy and their bounds."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from shortlist.stats.uncertainty import (
    entropy,
    log_loss,
    margin,
    mutual_information,
    vote_entropy,
)


@pytest.fixture(scope="module")
def probabilities() -> np.ndarray:
    return np.random.default_rng(0).dirichlet(np.ones(4), size=(3, 50))


def test_entropy_is_scipys_and_certainty_has_none(probabilities: np.ndarray) -> None:
    np.testing.assert_allclose(
        entropy(probabilities[0]), scipy.stats.entropy(probabilities[0], axis=1)
    )
    assert entropy(np.array([[0.0, 1.0], [0.5, 0.5]])) == pytest.approx([0, np.log(2)])


def test_margin_is_one_where_two_classes_are_alike_and_zero_where_one_is_sure() -> None:
    assert margin(np.array([[0.5, 0.5, 0], [0, 1, 0], [0.6, 0.1, 0.3]])) == pytest.approx(
        [1, 0, 0.7]
    )


def test_models_that_agree_have_no_mutual_information(probabilities: np.ndarray) -> None:
    same = np.stack([probabilities[0]] * 3)
    np.testing.assert_allclose(mutual_information(same), 0, atol=1e-12)
    np.testing.assert_allclose(vote_entropy(same), 0, atol=1e-12)
    # It is the mean Kullback-Leibler divergence of a model from the mean of all.
    mean = probabilities.mean(0)
    expected = np.mean([scipy.stats.entropy(p, mean, axis=1) for p in probabilities], axis=0)
    np.testing.assert_allclose(mutual_information(probabilities), expected)
    assert (mutual_information(probabilities) <= entropy(mean)).all()


def test_votes_count_classes_and_not_probabilities() -> None:
    models = np.array([[[0.9, 0.1]], [[0.51, 0.49]], [[0.4, 0.6]]])
    assert vote_entropy(models) == pytest.approx(scipy.stats.entropy([2 / 3, 1 / 3]))


def test_the_loss_is_that_of_the_true_class() -> None:
    values = log_loss(np.array([[0.25, 0.75], [1.0, 0.0]]), np.array([1, 1]))
    assert values == pytest.approx([-np.log(0.75), -np.log(1e-12)])
