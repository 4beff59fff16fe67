"""How predictions are judged."""

from __future__ import annotations

import numpy as np
import pytest

from shortlist.core import Corpus
from shortlist.data.readers import Progress
from shortlist.data.sources import Source
from shortlist.data.splits import TaskData
from shortlist.errors import InvalidInput
from shortlist.tasks.base import Task, TaskKind


class Toy(Task):
    """A task out of lists."""

    def identity(self, source: Source) -> dict[str, str]:
        return {}

    def load(self, source: Source, progress: Progress) -> TaskData:
        raise NotImplementedError

    def data(self, train: list[object], test: list[object]) -> TaskData:
        one, two = (
            Corpus.build([f"{name} {n}" for n in range(len(labels))], labels=labels)
            for name, labels in (("train", train), ("test", test))
        )
        return self.assemble(one, two, two, {})


def toy(*metrics: str, kind: TaskKind = "classification", positive: str | None = None) -> Toy:
    return Toy("toy", metrics, metrics[0] if metrics else None, kind, positive)


def one_hot(corpus: Corpus, labels: tuple[str, ...]) -> np.ndarray:
    return np.array([[float(label == name) for name in labels] for label in corpus.labels or ()])


def test_perfect_predictions_score_one_on_every_metric() -> None:
    task = toy("accuracy", "micro_f1", "macro_f1", "matthews", "f1", positive="b")
    data = task.data(["a", "b", "c"], ["a", "b", "c", "b"] * 10)
    assert data.labels is not None
    found = task.evaluate(one_hot(data.test, data.labels), data)
    assert [metric.name for metric in found] == list(task.metrics)
    assert all(metric.value == 1.0 and metric.stderr == 0.0 and metric.n == 40 for metric in found)
    assert [metric.primary for metric in found] == [True, False, False, False, False]


def test_a_class_that_train_does_not_have_counts_as_an_error_and_is_counted() -> None:
    task = toy("accuracy", "macro_f1")
    data = task.data(["a", "b"], ["a", "b", "new", "new"])
    assert data.labels == ("a", "b")
    assert data.counts["unknown_labels_test"] == 2
    guess = [
        [1.0, 0.0] if label in ("a", "new") else [0.0, 1.0] for label in data.test.labels or ()
    ]
    accuracy, macro = task.evaluate(np.array(guess), data)
    assert accuracy.value == 0.5
    # F1 of a: 2 of its 3 predictions are wrong -> 1/2; of b: 1; of new: 0.
    assert macro.value == pytest.approx((0.5 + 1.0 + 0.0) / 3)


def test_a_class_that_test_does_not_have_does_not_lower_the_macro_f1() -> None:
    task = toy("macro_f1")
    data = task.data(["a", "b", "rare"], ["a", "b"])
    assert data.labels is not None
    assert task.evaluate(one_hot(data.test, data.labels), data)[0].value == 1.0


def test_a_regression_is_judged_by_correlation() -> None:
    task = toy("pearson", "spearman", kind="regression")
    data = task.data([1.0, 2.0], [0.0, 1.0, 4.0, 9.0])
    truth = np.array(data.test.labels)
    pearson, spearman = task.evaluate(truth**2, data)
    assert data.labels is None
    assert spearman.value == pytest.approx(1.0) and 0.9 < pearson.value < 1.0
    assert pearson.unit == "correlation"


def test_other_splits_items_or_classes_are_other_protocols() -> None:
    task = toy("accuracy")
    data = task.data(["a", "b"], ["a", "b", "a"])
    more = task.data(["a", "b"], ["a", "b", "a", "b"])
    classes = task.data(["a", "b", "c"], ["a", "b", "a"])
    protocols = {
        task.evaluate(np.ones((3, 2)), data)[0].protocol,
        task.evaluate(np.ones((3, 2)), data, "validation")[0].protocol,
        task.evaluate(np.ones((4, 2)), more)[0].protocol,
        task.evaluate(np.ones((3, 3)), classes)[0].protocol,
    }
    assert len(protocols) == 4


def test_the_order_of_rows_changes_neither_protocol_nor_data() -> None:
    task = toy("accuracy")
    rows = [("one", "a"), ("two", "b"), ("three", "a")]
    both = []
    for order in (rows, rows[::-1]):
        texts, labels = zip(*order, strict=True)
        corpus = Corpus.build(texts, labels=labels)
        data = task.assemble(corpus, corpus, corpus, {})
        both.append((data.test.fingerprint, task.evaluate(np.ones((3, 2)), data)[0].protocol))
    assert both[0] == both[1]


@pytest.mark.parametrize("shape", [(3, 2), (2, 3), (2,)])
def test_predictions_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    task = toy("accuracy")
    with pytest.raises(InvalidInput, match=r"expected predictions of shape \(2, 2\)"):
        task.evaluate(np.ones(shape), task.data(["a", "b"], ["a", "b"]))


def test_predictions_that_are_not_finite_are_refused() -> None:
    task = toy("accuracy")
    with pytest.raises(InvalidInput, match="found 4 that are not"):
        task.evaluate(np.full((2, 2), np.nan), task.data(["a", "b"], ["a", "b"]))


def test_an_unknown_metric_names_the_near_one() -> None:
    with pytest.raises(InvalidInput, match="did you mean `macro_f1`"):
        toy("makro_f1")


def test_a_primary_metric_must_be_among_the_metrics() -> None:
    with pytest.raises(InvalidInput, match=r"task\.primary"):
        Toy("toy", ["accuracy"], "macro_f1")


@pytest.mark.parametrize("empty", ["train", "test"])
def test_an_empty_split_is_refused(empty: str) -> None:
    labels: dict[str, list[object]] = {"train": ["a", "b"], "test": ["a"], empty: []}
    with pytest.raises(InvalidInput, match="split is empty"):
        toy("accuracy").data(labels["train"], labels["test"])


def test_a_target_without_texts_is_refused_and_one_without_other_splits_is_not() -> None:
    task, none, some = toy(kind="unlabelled"), Corpus.build([]), Corpus.build(["a"])
    assert len(task.assemble(some, none, none, {}).target) == 1
    with pytest.raises(InvalidInput, match="train split is empty"):
        task.assemble(none, some, some, {})


def test_a_single_class_cannot_be_learned() -> None:
    with pytest.raises(InvalidInput, match="2 or more classes"):
        toy("accuracy").data(["a", "a"], ["a"])


def test_the_target_has_no_labels_and_no_repeats() -> None:
    data = toy("accuracy").data(["a", "b"], ["a"])
    assert data.target.labels is None
    assert sorted(data.target.texts) == ["train 0", "train 1"]
