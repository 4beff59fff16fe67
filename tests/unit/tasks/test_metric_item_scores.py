"""Item scores of metrics, against leaving items out one by one and against the bootstrap."""

from typing import Any

import numpy as np
import pytest

from shortlist.core import Corpus
from shortlist.data.splits import TaskData
from shortlist.tasks import metrics as formulas
from shortlist.tasks.base import Task

METRICS = ("accuracy", "micro_f1", "macro_f1", "matthews", "f1")


class Toy(Task):
    """A task of which only the metrics are used."""

    def identity(self, source: Any) -> dict[str, str]:
        raise NotImplementedError

    def load(self, source: Any, progress: Any) -> TaskData:
        raise NotImplementedError


def item_scores(
    metrics: tuple[str, ...],
    predictions: np.ndarray,
    items: Corpus,
    labels: tuple[str, ...] | None,
    positive: str | None = None,
) -> dict[str, np.ndarray]:
    kind = "regression" if labels is None else "classification"
    data = TaskData(items, items, items, items.unlabelled(), labels, {})
    return Toy("toy", metrics, metrics[0], kind, positive).item_scores(predictions, data)


def corpus(labels: list[Any]) -> Corpus:
    texts = [f"text number {i}" for i in range(len(labels))]
    return Corpus.build(texts, "toy", labels=labels)


@pytest.fixture(scope="module")
def classified() -> tuple[np.ndarray, Corpus]:
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 3, 240)
    predictions = generator.random((240, 3)) + 1.2 * np.eye(3)[truth] * (truth != 2)[:, None]
    return predictions, corpus([str(label) for label in truth])


def test_they_are_right_and_wrong_for_the_accuracy(classified: Any) -> None:
    predictions, items = classified
    found = item_scores(("accuracy", "micro_f1"), predictions, items, ("0", "1", "2"))
    right = predictions.argmax(1) == np.array(items.labels).astype(int)
    assert (found["accuracy"] == right).all()
    assert (found["micro_f1"] == right).all()


@pytest.mark.parametrize("metric", METRICS)
def test_their_mean_is_the_metric_and_their_error_that_of_the_bootstrap(
    classified: Any, metric: str
) -> None:
    predictions, items = classified
    found = item_scores((metric,), predictions, items, ("0", "1", "2"), "1")[metric]
    truth, predicted = np.array(items.labels).astype(int), predictions.argmax(1)
    draws = np.random.default_rng(1).integers(0, 240, (4000, 240))
    every = np.concatenate([np.arange(240)[None], draws])
    known = {**formulas.CLASSIFICATION, "f1": formulas.f1_of(1)}
    values = known[metric](formulas.confusions(truth, predicted, 3, every))
    assert found.mean() == pytest.approx(values[0], abs=1e-9)
    assert found.std(ddof=1) / np.sqrt(240) == pytest.approx(values[1:].std(ddof=1), rel=0.06)


def test_they_are_what_leaving_items_out_gives(classified: Any) -> None:
    predictions, items = classified
    found = item_scores(("macro_f1",), predictions, items, ("0", "1", "2"))["macro_f1"]
    truth, predicted = np.array(items.labels).astype(int), predictions.argmax(1)

    def value(rows: np.ndarray) -> float:
        return float(formulas.macro_f1(formulas.confusions(truth, predicted, 3, rows[None]))[0])

    every = np.arange(240)
    pseudo = np.array([240 * value(every) - 239 * value(np.delete(every, i)) for i in every])
    assert found == pytest.approx(pseudo - pseudo.mean() + value(every), abs=1e-7)


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
def test_correlations_too(metric: str) -> None:
    generator = np.random.default_rng(2)
    truth = generator.normal(size=300)
    predicted = truth + generator.normal(0, 0.7, 300)
    found = item_scores((metric,), predicted, corpus(truth.tolist()), None)[metric]
    items = corpus(truth.tolist())
    values = np.array(items.labels, dtype=float)
    assert found.mean() == pytest.approx(
        float(formulas.REGRESSION[metric](values, predicted)), abs=1e-9
    )
    draws = np.random.default_rng(3).integers(0, 300, (2000, 300))
    error = formulas.REGRESSION[metric](values[draws], predicted[draws]).std(ddof=1)
    # Ranks are not ranked anew without an item: for Spearman that costs some per cent.
    tolerance = 0.06 if metric == "pearson" else 0.15
    assert found.std(ddof=1) / np.sqrt(300) == pytest.approx(error, rel=tolerance)


def test_a_label_that_no_model_knows_is_an_error_of_its_own() -> None:
    items = corpus(["0", "1", "?", "1"])
    found = item_scores(("accuracy",), np.eye(2)[[0, 1, 1, 1]], items, ("0", "1"))
    assert found["accuracy"].tolist() == [1, 1, 0, 1]
