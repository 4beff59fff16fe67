"""The metrics are those of scikit-learn and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as reference

from shortlist.tasks import metrics

pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=40)
# Rounding in the last digits: both sides sum the same few dozen terms in another order.
TOLERANCE = 1e-12


def table(rows: list[tuple[int, int]]) -> metrics.Values:
    truth, predicted = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    return metrics.confusions(truth, predicted, 4, np.arange(len(rows))[None])[0]


@settings(deadline=None, max_examples=80)
@given(pairs)
@pytest.mark.filterwarnings("ignore:A single label was found", "ignore:F-score is ill-defined")
def test_classification_metrics_equal_those_of_scikit_learn(rows: list[tuple[int, int]]) -> None:
    truth, predicted = (list(column) for column in zip(*rows, strict=True))
    confusion = table(rows)
    expected = {
        "accuracy": reference.accuracy_score(truth, predicted),
        "micro_f1": reference.f1_score(truth, predicted, average="micro"),
        "macro_f1": reference.f1_score(truth, predicted, average="macro"),
        "matthews": reference.matthews_corrcoef(truth, predicted),
    }
    found = {name: float(formula(confusion)) for name, formula in metrics.CLASSIFICATION.items()}
    assert found == pytest.approx(expected, abs=TOLERANCE)
    f1 = reference.f1_score(truth, predicted, labels=[2], average="macro")
    assert float(metrics.f1_of(2)(confusion)) == pytest.approx(f1, abs=TOLERANCE)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(-40, 40)), min_size=3, max_size=30))
def test_correlations_equal_those_of_scipy(rows: list[tuple[int, int]]) -> None:
    x, y = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert metrics.pearson(x, y) == metrics.spearman(x, y) == 0
        return
    assert float(metrics.pearson(x, y)) == pytest.approx(stats.pearsonr(x, y)[0], abs=1e-9)
    assert float(metrics.spearman(x, y)) == pytest.approx(stats.spearmanr(x, y)[0], abs=1e-9)


def test_a_constant_prediction_that_is_no_binary_fraction_has_no_correlation() -> None:
    truth = np.arange(7.0)
    assert float(metrics.pearson(truth, np.full(7, 0.1))) == 0.0


def test_the_first_draw_is_the_data_and_the_others_resample_it() -> None:
    draws = metrics.bootstrap_rows(50, "0123456789abcdef" * 2)
    assert draws.shape == (1 + metrics.RESAMPLES, 50)
    assert (draws[0] == np.arange(50)).all()
    assert (draws == metrics.bootstrap_rows(50, "0123456789abcdef" * 2)).all()
    assert len(np.unique(draws[1])) < 50


def test_the_standard_error_of_accuracy_is_about_the_closed_form() -> None:
    rows = [(0, 0)] * 300 + [(0, 1)] * 100
    truth, predicted = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    tables = metrics.confusions(truth, predicted, 2, metrics.bootstrap_rows(400, "ab" * 12))
    closed = (0.75 * 0.25 / 400) ** 0.5
    # 200 draws know a standard deviation to about 5 %; four times that.
    assert metrics.accuracy(tables)[1:].std(ddof=1) == pytest.approx(closed, rel=0.2)
