"""Multi-label tasks: metrics equal scikit-learn's, malformed rows are located."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

from shortlist.data.readers import silent
from shortlist.data.sources import LocalSource
from shortlist.errors import InvalidInput
from shortlist.tasks.multi_label import MultiLabel

CLASSES = ("a", "b", "c", "d")


def rows(seed: int, n: int, classes: tuple[str, ...] = CLASSES) -> list[dict[str, Any]]:
    generator = np.random.default_rng(seed)
    texts = toy.sentences("sailing", n, seed)
    return [
        {"text": text, "labels": [name for name in classes if generator.random() < 0.4]}
        for text in texts
    ]


def task(folder: Path, made: Any, train: list[dict[str, Any]], **changed: Any) -> MultiLabel:
    files = {"train": train, "validation": rows(2, 5), "test": rows(3, 60, (*CLASSES[:3], "new"))}
    named = {
        split: str(toy.write_jsonl(folder / f"{split}.jsonl", items))
        for split, items in files.items()
    }
    return made("multi_label", **{**named, **changed})


@pytest.fixture
def made(composed: Any) -> Any:
    """A function from settings to a task of the configuration."""
    from shortlist.pipeline.build import build
    from shortlist.pipeline.compose import APART

    def build_task(name: str, **settings: Any) -> Any:
        typed = [f"task.{key}={json.dumps(value)}" for key, value in settings.items()]
        return build(composed(f"task={name}", *typed).task, "task", apart=APART["task"])

    return build_task


def test_metrics_equal_those_of_scikit_learn(tmp_path: Path, made: Any) -> None:
    names = list(MultiLabel.definitions)
    spec = task(tmp_path, made, rows(1, 30), threshold=0.3, metrics=names, primary="macro_f1")
    data = spec.load(LocalSource(None), silent)
    assert data.labels == CLASSES and data.counts["unknown_labels_test"] == 1
    predictions = np.random.default_rng(0).random((60, 4)) ** 2
    found = {metric.name: metric for metric in spec.evaluate(predictions, data)}
    columns = [*CLASSES, "new"]
    true = np.array([[name in json.loads(label) for name in columns] for label in data.test.labels])
    predicted = np.concatenate([predictions >= 0.3, np.zeros((60, 1), bool)], 1)
    options = {"zero_division": np.nan}
    expected = {
        "micro_f1": f1_score(true, predicted, average="micro"),
        "macro_f1": f1_score(true, predicted, average="macro", **options),
        "micro_precision": precision_score(true, predicted, average="micro"),
        "micro_recall": recall_score(true, predicted, average="micro"),
        "accuracy": accuracy_score(true, predicted),
    }
    assert {name: metric.value for name, metric in found.items()} == pytest.approx(
        expected, abs=1e-12
    )
    for name, scores in spec.item_scores(predictions, data).items():
        assert scores.mean() == pytest.approx(found[name].value, abs=1e-8)
        # The two estimates of one standard error: 60 items and 200 resamples leave a third.
        assert scores.std(ddof=1) / 60**0.5 == pytest.approx(found[name].stderr, rel=0.4)
    detail = spec.details(predictions, data)
    assert [row["class"] for row in detail["per_class"]] == columns
    assert [row["recall"] for row in detail["per_class"]] == pytest.approx(
        recall_score(true, predicted, average=None, zero_division=0)
    )


def test_the_threshold_is_part_of_how_a_metric_is_measured(tmp_path: Path, made: Any) -> None:
    low, high = (task(tmp_path, made, rows(1, 30), threshold=value) for value in (0.3, 0.5))
    data = low.load(LocalSource(None), silent)
    assert low.protocol("macro_f1", data.test, data, "test") != high.protocol(
        "macro_f1", data.test, data, "test"
    )


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ("a", "expected a list of strings, found 'a'"),
        (None, "expected a list of strings, found none"),
        (["a", 3], "expected strings, found 3 at place 1"),
        (["a", "e"], "unknown class 'e'"),
    ],
)
def test_a_malformed_row_is_quarantined_with_its_place(
    tmp_path: Path, made: Any, label: Any, reason: str
) -> None:
    train = rows(1, 30)
    train[6]["labels"] = label
    spec = task(tmp_path, made, train, classes=["a", "b", "c", "d", "new"])
    data = spec.load(LocalSource(None), silent)
    (rejected,) = data.quarantined
    assert rejected.line == 7 and reason in rejected.reason and "'labels'" in rejected.reason


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"label": None}, "expected a column of labels"),
        ({"numeric": True}, r"task\.numeric belongs to"),
        ({"positive": "a"}, r"task\.positive belongs to"),
        ({"metrics": ["matthews"]}, "unknown metric 'matthews'"),
    ],
)
def test_settings_of_other_kinds_are_refused(
    tmp_path: Path, made: Any, changed: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidInput, match=reason):
        task(tmp_path, made, rows(1, 30), **changed)
