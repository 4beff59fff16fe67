"""Calibration: measures against their definitions, maps against scikit-learn, and laws of both."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss

from shortlist.errors import InvalidInput
from shortlist.stats.calibration import (
    Calibrator,
    Isotonic,
    Platt,
    Temperature,
    Vector,
    accuracy_by_coverage,
    brier_scores,
    log_losses,
    measure,
    reliability,
)

MAPS = [Temperature(15, 50), Vector(1e-3, 15, 50), Platt(15, 50), Isotonic(15, 50)]


def drawn(n: int, k: int, seed: int, sharpness: float = 3.0) -> tuple[Any, Any]:
    """Returns probabilities that are `sharpness` times too sure, and classes."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, k)) * 1.5
    truth = np.array([rng.choice(k, p=row) for row in softmax(logits, axis=1)])
    return softmax(sharpness * logits, axis=1), truth


class Given(ClassifierMixin, BaseEstimator):
    """A fitted classifier whose decision values are its inputs."""

    def __init__(self, k: int) -> None:
        self.k = k

    def fit(self, x: Any, y: Any) -> Given:
        self.classes_ = np.arange(self.k)
        return self

    def predict(self, x: Any) -> Any:
        return x.argmax(1)

    def decision_function(self, x: Any) -> Any:
        return x[:, 1] if self.k == 2 else x


@pytest.mark.parametrize("k", [2, 4])
def test_log_loss_and_brier_score_are_scikit_learns(k: int) -> None:
    probabilities, truth = drawn(300, k, 0)
    labels = range(k)
    assert log_losses(probabilities, truth).mean() == pytest.approx(
        log_loss(truth, probabilities, labels=labels), rel=1e-12
    )
    halved = brier_score_loss(truth, probabilities, labels=labels, scale_by_half=True)
    assert brier_scores(probabilities, truth).mean() == pytest.approx(halved, rel=1e-12)


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize(
    ("calibrator", "method", "tolerance"),
    [(Temperature(15, 50), "temperature", 1e-4), (Isotonic(15, 50), "isotonic", 1e-6)],
)
def test_maps_are_scikit_learns(
    calibrator: Calibrator, method: str, tolerance: float, k: int
) -> None:
    probabilities, truth = drawn(400, k, 1)
    others, _ = drawn(100, k, 2)
    if (
        method == "temperature" and k == 2
    ):  # scikit-learn's input is the log-odds, hence the other scale
        scores = np.log(probabilities) - np.log(probabilities)[:, ::-1]
        theirs = np.log(others) - np.log(others)[:, ::-1]
    elif method == "temperature":
        scores, theirs = np.log(probabilities), np.log(others)
    else:
        scores, theirs = probabilities, others
    oracle = CalibratedClassifierCV(FrozenEstimator(Given(k).fit(None, None)), method=method)
    oracle.fit(scores, truth)
    found = calibrator.apply(calibrator.fit(probabilities, truth), others)
    np.testing.assert_allclose(found, oracle.predict_proba(theirs), atol=tolerance)


@pytest.mark.parametrize("k", [2, 4])
def test_platts_map_is_scikit_learns(k: int) -> None:
    probabilities, truth = drawn(400, k, 1)
    others, _ = drawn(100, k, 2)
    oracle = CalibratedClassifierCV(FrozenEstimator(Given(k).fit(None, None)), method="sigmoid")
    oracle.fit(logit(probabilities), truth)
    found = MAPS[2].apply(MAPS[2].fit(probabilities, truth), others)
    np.testing.assert_allclose(found, oracle.predict_proba(logit(others)), atol=1e-4)


def test_the_vector_map_of_two_classes_is_scikit_learns_logistic_regression() -> None:
    probabilities, truth = drawn(400, 2, 1)
    others, _ = drawn(100, 2, 2)
    oracle = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000)
    oracle.fit(np.log(probabilities), truth)
    calibrator = Vector(1e-12, 15, 50)
    found = calibrator.apply(calibrator.fit(probabilities, truth), others)
    np.testing.assert_allclose(found, oracle.predict_proba(np.log(others)), atol=1e-3)


def test_no_other_vector_map_of_four_classes_has_a_smaller_loss() -> None:
    probabilities, truth = drawn(400, 4, 1)
    found = MAPS[1].fit(probabilities, truth)
    values = np.array([found["weights"], found["offsets"]])

    def loss(weights: Any, offsets: Any) -> float:
        moved = MAPS[1].apply({"weights": weights, "offsets": offsets}, probabilities)
        penalty = ((weights - 1) ** 2).sum() + (offsets**2).sum()
        return log_loss(truth, moved) + 1e-3 * penalty

    drawn_moves = np.random.default_rng(0).normal(size=(20, *values.shape))
    assert all(loss(*(values + 0.05 * move)) > loss(*values) for move in drawn_moves)


@pytest.mark.parametrize("calibrator", MAPS, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("k", [2, 3])
def test_a_map_gives_probabilities_and_mends_what_is_three_times_too_sure(
    calibrator: Calibrator, k: int
) -> None:
    probabilities, truth = drawn(1500, k, 3)
    others, classes = drawn(1500, k, 4)
    parameters = json.loads(json.dumps(calibrator.fit(probabilities, truth)))
    found = calibrator.apply(parameters, others)
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-12)
    rng = np.random.default_rng(0)
    before, after = (measure(values, classes, 15, 20, rng).values for values in (others, found))
    assert after["ece"] < before["ece"] / 2 and after["brier"] < before["brier"]


def test_temperature_scaling_recovers_the_temperature_and_keeps_the_predictions() -> None:
    probabilities, truth = drawn(20_000, 3, 5)
    parameters = MAPS[0].fit(probabilities, truth)
    assert parameters["temperature"][0] == pytest.approx(3, rel=0.05)
    found = MAPS[0].apply(parameters, probabilities)
    assert (found.argmax(1) == probabilities.argmax(1)).all()


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(2, 40), st.booleans())
def test_the_calibration_error_is_that_of_the_definition(
    seed: int, bins: int, equal_mass: bool
) -> None:
    rng = np.random.default_rng(seed)
    confidence = rng.integers(1, 21, 60) / 20  # with ties, and some of exactly 1
    correct = rng.random(60) < confidence
    found = reliability(confidence, correct, bins, equal_mass)
    assert found.count.sum() == 60
    assert (found.count * found.accuracy).sum() == pytest.approx(correct.sum())
    if not equal_mass:
        cells = np.ceil(confidence * bins - 1e-9)
        gaps = [
            abs(correct[cells == cell].sum() - confidence[cells == cell].sum()) / 60
            for cell in np.unique(cells)
        ]
        assert found.error == pytest.approx(sum(gaps), abs=1e-9)


def test_confidence_of_exactly_one_is_counted() -> None:
    # torchmetrics issue 3510: items in no bin.
    found = reliability(np.array([1.0, 1.0]), np.array([True, False]), 15)
    assert found.error == 0.5 and found.count.tolist() == [2]


def test_bins_of_equal_mass_have_equal_numbers_where_no_two_are_equal() -> None:
    confidence = np.random.default_rng(0).random(150)
    assert (
        reliability(confidence, confidence > 0.5, 15, equal_mass=True).count.tolist() == [10] * 15
    )


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_accuracy_by_coverage_ends_at_the_accuracy_and_does_not_read_the_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    confidence, correct = rng.integers(1, 6, 40) / 5, rng.random(40) < 0.7
    shares = [0.1, 0.5, 1.0]
    found = accuracy_by_coverage(confidence, correct, shares)
    order = rng.permutation(40)
    assert found == pytest.approx(accuracy_by_coverage(confidence[order], correct[order], shares))
    assert found[-1] == pytest.approx(correct.mean())
    top = confidence == confidence.max()
    if top.sum() >= 4:
        assert found[0] == pytest.approx(correct[top].mean())


def test_the_bootstrap_error_of_the_log_loss_is_that_of_a_mean() -> None:
    probabilities, truth = drawn(500, 3, 6)
    found = measure(probabilities, truth, 15, 2000, np.random.default_rng(1))
    losses = log_losses(probabilities, truth)
    assert found.stderrs["log_loss"] == pytest.approx(losses.std() / np.sqrt(500), rel=0.08)


@pytest.mark.parametrize("calibrator", MAPS[1:], ids=lambda one: type(one).__name__)
def test_a_class_without_validation_items_is_refused(calibrator: Calibrator) -> None:
    with pytest.raises(InvalidInput, match="every class, found 4, none of c; give the task more"):
        calibrator.check(["a", "b", "b", "a", "unknown"], ["a", "b", "c"], "task x")
    calibrator.check(["a", "b", "c"], ["a", "b", "c"], "task x")


def test_a_temperature_needs_two_items_of_any_class() -> None:
    MAPS[0].check(["a", "a"], ["a", "b", "c"], "task x")
    with pytest.raises(InvalidInput, match="validation items, found 1, too few"):
        MAPS[0].check(["a", "unknown"], ["a", "b", "c"], "task x")
