"""The probe of a task against scikit-learn fitted by hand, and what its penalty is chosen by."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from shortlist.diagnostics.task_probe import (
    INVERSE_PENALTIES,
    UNCHOSEN,
    fit_classes,
    fit_numbers,
)
from shortlist.stats.uncertainty import log_loss

RNG = np.random.default_rng(0)


def classes(n: int, signal: float) -> tuple[np.ndarray, np.ndarray]:
    truth = np.arange(n) % 3
    return RNG.normal(size=(n, 12)) + signal * np.eye(3, 12)[truth], truth


@pytest.mark.parametrize("signal", [0.2, 3.0])
def test_the_penalty_of_least_validation_loss_is_refitted_and_predicts(signal: float) -> None:
    (train, truth), (validation, known), (test, _) = (classes(60, signal) for _ in range(3))
    scaler = StandardScaler().fit(train)
    losses, predicted = [], []
    for inverse_penalty in INVERSE_PENALTIES:
        model = LogisticRegression(C=inverse_penalty, max_iter=5000).fit(
            scaler.transform(train), truth
        )
        found = model.predict_proba(scaler.transform(validation))
        losses.append(-np.log(found[np.arange(60), known]).mean())
        predicted.append(model.predict_proba(scaler.transform(test)))
    values, chosen = fit_classes(train, truth, validation, known, test, 3)
    best = int(np.argmin(losses))
    assert chosen == INVERSE_PENALTIES[best]
    np.testing.assert_allclose(values, predicted[best], atol=1e-8)
    np.testing.assert_allclose(log_loss(values, np.ones(60, np.int64)), -np.log(values[:, 1]))


def test_without_validation_the_penalty_is_fixed_and_a_class_without_examples_gets_nothing() -> (
    None
):
    train, truth = classes(60, 3.0)
    nothing = np.empty((0, 12)), np.empty(0, dtype=np.int64)
    values, chosen = fit_classes(train, truth, *nothing, train, 5)
    assert chosen == UNCHOSEN and values.shape == (60, 5)
    assert (values[:, 3:] == 0).all() and (values.argmax(1) == truth).mean() > 0.9
    unknown = train[:4], np.full(4, -1)
    assert fit_classes(train, truth, *unknown, train, 5)[1] == UNCHOSEN
    alone, _ = fit_classes(train, np.zeros(60, dtype=np.int64), *nothing, train[:2], 2)
    assert alone.tolist() == [[1.0, 0.0], [1.0, 0.0]]


def test_numbers_are_predicted_by_the_ridge_of_least_validation_error() -> None:
    slope = RNG.normal(size=12)
    parts = [RNG.normal(size=(50, 12)) for _ in range(3)]
    truths = [rows @ slope + RNG.normal(size=50) for rows in parts]
    values, chosen = fit_numbers(parts[0], truths[0], parts[1], truths[1], parts[2])
    scaler = StandardScaler().fit(parts[0])

    def ridge(inverse_penalty: float) -> Ridge:
        return Ridge(alpha=1 / inverse_penalty).fit(scaler.transform(parts[0]), truths[0])

    errors = [
        ((ridge(one).predict(scaler.transform(parts[1])) - truths[1]) ** 2).mean()
        for one in INVERSE_PENALTIES
    ]
    assert chosen == INVERSE_PENALTIES[int(np.argmin(errors))]
    np.testing.assert_allclose(values, ridge(chosen).predict(scaler.transform(parts[2])))
