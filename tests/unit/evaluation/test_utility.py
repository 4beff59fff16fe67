"""lm-eval's numbers against a direct count, the flips against both models' answers, the refusals."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
import yaml
from numpy.testing import assert_array_equal

from shortlist.errors import InvalidInput, Missing
from shortlist.evaluation import utility
from shortlist.store.cache import executions

pytest.importorskip("lm_eval")

CHOICES = ["boat", "bread loaf", "song"]
TOPICS = ["sailing", "baking", "music"]
ROWS = [
    {"text": text, "label": topic}
    for row in zip(*(toy.sentences(topic, 5, 3) for topic in TOPICS), strict=True)
    for text, topic in zip(row, TOPICS, strict=True)
]
TOPIC = {
    "task": "toy_topic",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "topic.jsonl"}},
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "{{text}}\nSubject:",
    "doc_to_choice": CHOICES,
    "doc_to_target": "{{['sailing', 'baking', 'music'].index(label)}}",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    "metadata": {"version": 1.0},
}


@pytest.fixture
def topic(tmp_path: Path) -> str:
    """The path of a task on a file beside it."""
    toy.write_jsonl(tmp_path / "topic.jsonl", ROWS)
    (tmp_path / "topic.yaml").write_text(yaml.safe_dump(TOPIC), encoding="utf-8")
    return str(tmp_path / "topic.yaml")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another model than `tiny_gpt2`."""
    return toy.write_gpt2(tmp_path_factory.mktemp("other"), seed=1)


def counted(directory: Path) -> np.ndarray:
    """1 or 0 by item: is the likeliest of the choices, by one forward pass each, the right one?"""
    import torch

    from shortlist.models import checkpoint

    model, words = checkpoint.causal_lm(directory).eval(), checkpoint.tokenizer(directory)
    right = []
    for row in ROWS:
        sums = []
        for choice in CHOICES:
            before, ids = f"{row['text']}\nSubject:", []
            ids = words(f"{before} {choice}")["input_ids"]
            with torch.no_grad():
                logits = torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), -1)
            asked = range(len(before), len(ids))  # a byte is a token
            sums.append(sum(float(logits[place - 1, ids[place]]) for place in asked))
        right.append(float(TOPICS[int(np.argmax(sums))] == row["label"]))
    return np.array(right)


def test_accuracy_and_flips_are_those_of_a_direct_count(
    evaluator: Any, context: Any, topic: str, tiny_gpt2: Path, other: Path, tmp_path: Path
) -> None:
    asked = evaluator("utility", tasks=[topic])
    found = asked.evaluate(context(model=other))
    before, after = counted(tiny_gpt2), counted(other)
    metrics = {metric.name: metric for metric in found.metrics}
    assert list(metrics) == ["utility", "utility_topic", "utility_forgotten"]
    assert_array_equal(found.item_scores["utility_topic"], after)
    accuracy, lost = metrics["utility_topic"], before > after
    assert (accuracy.value, accuracy.n) == (after.mean(), 15)
    assert accuracy.stderr == pytest.approx(after.std(ddof=1) / math.sqrt(15))
    assert metrics["utility"].value == after.mean()
    assert metrics["utility_forgotten"].value == lost.mean()
    assert not metrics["utility_forgotten"].higher_is_better
    learned = int((after > before).sum())
    assert lost.any() and learned, "the toy models must differ both ways"
    names = ("items_topic", "not_sampled_topic", "forgotten_topic", "learned_topic")
    assert [found.counts[name] for name in names] == [15, 0, int(lost.sum()), learned]
    (path,) = (tmp_path / "cache" / "forgetting").glob("*/flips.jsonl")
    flips = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [flip["doc"] for flip in flips] == np.flatnonzero(before != after).tolist()
    assert all(ROWS[flip["doc"]]["text"] in flip["prompt"] for flip in flips)
    first = flips[0]
    chosen = [np.argmax([float(one[0]) for one in first[side]]) for side in ("before", "after")]
    assert (chosen[0] == first["target"], chosen[1] == first["target"]) == (
        first["change"] == "forgotten",
        first["change"] == "learned",
    )
    # The base model's answers are shared, and nothing is left of what the package unpacked.
    again = asked.evaluate(context())
    assert again.counts["forgotten_topic"] == again.counts["learned_topic"] == 0
    stages = [stage for stage, _ in executions(tmp_path / "cache")]
    assert stages == ["utility", "utility", "forgetting", "forgetting"]
    files = {file.name for file in (tmp_path / "cache" / "utility").rglob("*") if file.is_file()}
    assert {name for name in files if not name.endswith(".lock")} == {
        "items.jsonl",
        "manifest.json",
    }


def test_a_sample_is_by_content_and_another_protocol(
    evaluator: Any, context: Any, topic: str, tiny_gpt2: Path
) -> None:
    whole = evaluator("utility", tasks=[topic]).evaluate(context())
    part = evaluator("utility", tasks=[topic], items=6).evaluate(context())
    assert part.counts["items_topic"] == 6 and part.counts["not_sampled_topic"] == 9
    assert part.metrics[1].n == 6
    assert part.metrics[0].protocol != whole.metrics[0].protocol
    assert part.metrics[1].protocol != whole.metrics[1].protocol


def test_items_that_are_too_long_are_counted(
    evaluator: Any, context: Any, topic: str, tmp_path: Path
) -> None:
    # 128 positions, a byte each: "\nSubject:" and " bread loaf" take 20, and the last is not read.
    lengths = [108, 109, 110, 200]
    rows = [{"text": "x" * n, "label": "music"} for n in lengths]
    toy.write_jsonl(tmp_path / "topic.jsonl", rows)
    found = evaluator("utility", tasks=[topic]).evaluate(context())
    assert found.warnings == ()
    assert found.counts["cut_topic"] == 2


def test_without_one_task_there_is_no_mean(
    evaluator: Any, context: Any, topic: str, tmp_path: Path
) -> None:
    gone = {**TOPIC, "task": "toy_gone", "dataset_kwargs": {"data_files": {"test": "bad.jsonl"}}}
    (tmp_path / "bad.jsonl").write_text("{no json\n", encoding="utf-8")
    (tmp_path / "gone.yaml").write_text(yaml.safe_dump(gone), encoding="utf-8")
    found = evaluator("utility", tasks=[topic, str(tmp_path / "gone.yaml")]).evaluate(context())
    assert [metric.name for metric in found.metrics] == ["utility_topic", "utility_forgotten"]
    (told,) = found.warnings
    assert told.startswith("utility_gone is not measured, and so the mean is not: lm-eval's task")


@pytest.mark.parametrize("name", sorted(path.stem for path in utility.TASKS.glob("*.yaml")))
def test_a_task_of_our_own_names_files_as_the_data_folder_has_them(name: str) -> None:
    config = yaml.safe_load((utility.TASKS / f"{name}.yaml").read_text(encoding="utf-8"))
    assert config["dataset_kwargs"]["data_files"] == {"test": f"tasks/{name}/test.jsonl.gz"}
    assert config["task"] == f"shortlist_{name}" and config["metadata"]["version"] == 1.0


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"tasks": []}, "expected tasks of different names, found none"),
        ({"tasks": ["local/rte", "rte"]}, "different names, found local/rte, rte"),
        ({"items": 0}, "items must be at least 1"),
    ],
)
def test_settings_that_ask_nothing_are_refused(
    evaluator: Any, settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidInput, match=says):
        evaluator("utility", **settings)


def test_what_is_not_there_is_refused_before_anything_is_computed(
    evaluator: Any, context: Any, machine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = context().source
    for spec, says in (
        ("local/rtf", "local/rtf|did you mean `local/rte`"),
        ("local/rte", r"expected the file .*tasks/rte/test\.jsonl\.gz, found none"),
        (str(tmp_path / "none.yaml"), r"none\.yaml, found none"),
    ):
        with pytest.raises(Missing, match=says):
            evaluator("utility", tasks=[spec]).check(source, machine)
    (tmp_path / "odd.yaml").write_text("task: !function x.y\n", encoding="utf-8")
    with pytest.raises(InvalidInput, match=r"odd\.yaml must be a task .* without functions"):
        evaluator("utility", tasks=[str(tmp_path / "odd.yaml")]).check(source, machine)
    monkeypatch.setattr(utility.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Missing, match=r"package lm_eval, found none; run: pip install 'shortlist"):
        evaluator("utility").check(source, machine)


def test_a_metric_that_the_task_does_not_report_is_named(
    evaluator: Any, context: Any, topic: str
) -> None:
    with pytest.raises(InvalidInput, match="reports no metric `ac`; did you mean `acc`"):
        evaluator("utility", tasks=[topic], metric="ac").evaluate(context())


@pytest.mark.slow
def test_the_default_tasks_are_known_to_the_package(
    evaluator: Any, context: Any, machine: Any
) -> None:
    asked = evaluator("utility")
    asked.check(context().source, machine)
    with pytest.raises(InvalidInput, match="lm-eval has no task `boolk`; did you mean `boolq`"):
        evaluator("utility", tasks=["boolk"]).check(context().source, machine)
