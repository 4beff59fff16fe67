"""Tasks read from files: from the source by name, or from files of the user's."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from shortlist.data.readers import silent
from shortlist.data.sources import LocalSource
from shortlist.data.splits import TaskData
from shortlist.errors import InvalidInput, Missing
from shortlist.pipeline.compose import build_component
from shortlist.store.formats import load_corpus, save_corpus
from shortlist.tasks.base import Task
from shortlist.tasks.files import FromFiles, FromSource

Write = Callable[..., Path]
CONF = Path(__file__).parents[3] / "conf" / "task"
# Tasks with evaluators (`@package _global_`) choose a model as well: see tests/contract.
FROM_SOURCE = sorted(
    path.stem
    for path in CONF.glob("*.yaml")
    if path.stem not in ("own", "pydocs")
    and not any(mark in path.read_text(encoding="utf-8") for mark in ("@package", "  - own\n"))
)
NOWHERE = LocalSource(None)
HUB_ONLY = {"qnli", "rct"}  # not among the files of the benchmark


def rows(split: str, n: int) -> list[dict[str, object]]:
    return [{"text": f"{split} text {i}", "label": "ab"[i % 2]} for i in range(n)]


@pytest.fixture
def configured(composed: Any) -> Callable[[str], Task]:
    """A function from a name to the task of that configuration."""
    return lambda name: build_component(composed(f"task={name}"), "task")


def own(**settings: Any) -> FromFiles:
    written: Any = yaml.safe_load((CONF / "own.yaml").read_text(encoding="utf-8"))
    del written["_target_"]
    return FromFiles(**{**written, **settings})


@pytest.fixture
def source(write: Write, tmp_path: Path) -> LocalSource:
    """Returns a source with the task `toy`, whose train file holds a bad line."""
    for split, n in (("train", 40), ("validation", 6), ("test", 9)):
        write(f"tasks/toy/{split}.jsonl", rows(split, n))
    with (tmp_path / "tasks/toy/train.jsonl").open("a") as stream:
        stream.write("{broken\n")
    return LocalSource(str(tmp_path))


def toy(max_train: int | None = None) -> FromSource:
    return FromSource("toy", ["accuracy"], "accuracy", max_train, 0, None, 0.1)


def test_a_task_has_the_splits_of_its_files_and_names_its_bad_lines(source: LocalSource) -> None:
    data = toy().load(source, silent)
    assert [len(data.train), len(data.validation), len(data.test)] == [40, 6, 9]
    assert [row.line for row in data.quarantined] == [41]
    assert data.counts["quarantined_train"] == 1
    assert data.counts["rows_read_train"] == 41


def test_a_smaller_train_set_lies_within_a_larger_and_is_counted(source: LocalSource) -> None:
    small, large = (toy(size).load(source, silent) for size in (10, 20))
    assert set(small.train.ids) < set(large.train.ids)
    assert small.counts["train_not_sampled"] == 30
    assert small.test.fingerprint == large.test.fingerprint


def test_validation_is_cut_from_train_where_the_source_has_none(source: LocalSource) -> None:
    (Path(source.root or "") / "tasks/toy/validation.jsonl").unlink()
    data = toy().load(source, silent)
    assert len(data.train) + len(data.validation) == 40
    assert data.counts["validation_cut_from_train"] == len(data.validation) > 0
    assert not set(data.train.texts) & set(data.validation.texts)


def test_the_identity_changes_with_the_file_of_the_split(source: LocalSource, write: Write) -> None:
    before = toy().identity(source)
    write("tasks/toy/test.jsonl", rows("test", 8))
    after = toy().identity(source)
    assert {split for split in before if before[split] != after[split]} == {"test"}


def test_pairs_stay_pairs_and_join_in_the_target(write: Write, tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        pairs = [{"text_a": f"{split} {n}", "text_b": "b", "label": float(n)} for n in range(3)]
        write(f"tasks/sim/{split}.jsonl", pairs)
    task = FromSource("sim", ["pearson"], "pearson", None, 0, None, pair=True, kind="regression")
    data = task.load(LocalSource(str(tmp_path)), silent)
    assert data.train.texts_b == ["b"] * 3
    assert "train 0\nb" in data.target.texts


def test_own_files_without_labels_are_an_unlabelled_task(write: Write) -> None:
    path = write("target.jsonl", [{"text": f"target text {n}"} for n in range(80)])
    task = own(train=str(path))
    data = task.load(NOWHERE, silent)
    assert task.kind == "unlabelled"
    assert data.labels is None and data.train.labels is None
    assert [len(data.train), len(data.validation), len(data.test)] == [72, 0, 8]
    assert len(data.target) == len(data.train)
    assert task.evaluate(np.zeros(0), data) == ()


@pytest.mark.parametrize("label", [None, "label"])
def test_a_sample_of_own_examples_is_nested_counted_and_leaves_the_other_splits_as_they_are(
    write: Write, label: str | None
) -> None:
    path = str(write("mine.jsonl", rows("own", 200)))
    whole, large, small = (
        own(train=path, label=label, max_train=size).load(NOWHERE, silent) for size in (None, 50, 9)
    )
    assert set(small.train.ids) < set(large.train.ids) < set(whole.train.ids)
    assert [len(small.train), len(small.target)] == [9, 9]
    assert small.counts["train_not_sampled"] == len(whole.train) - 9
    for split in ("validation", "test"):
        assert getattr(small, split).fingerprint == getattr(whole, split).fingerprint
    with pytest.raises(InvalidInput, match="max_train of 1 or more"):
        own(train=path, max_train=0)


def test_own_files_take_a_positive_class_and_evaluators_as_named_tasks_do(write: Write) -> None:
    path = str(write("mine.jsonl", rows("own", 200)))
    settings: dict[str, Any] = {"label": "label", "metrics": ["f1"], "positive": "b"}
    task = own(train=path, **settings, evaluators={"own": object()})
    assert (task.metrics, task.positive, list(task.evaluators)) == (("f1",), "b", ["own"])
    assert len(task.load(NOWHERE, silent).train)
    with pytest.raises(InvalidInput, match=r"task\.positive to be a class, found 'c'"):
        own(train=path, **settings | {"positive": "c"}).load(NOWHERE, silent)


def unlabelled(write: Write, n: int, **settings: Any) -> TaskData:
    path = write("target.jsonl", [{"text": f"target text {i}"} for i in range(n)])
    return own(train=str(path), **settings).load(NOWHERE, silent)


@pytest.mark.parametrize(("n", "settings"), [(1, {}), (3, {}), (29, {}), (80, {"holdout": 0})])
def test_a_small_target_or_no_holdout_is_kept_whole_and_the_count_says_so(
    write: Write, n: int, settings: dict[str, float]
) -> None:
    data = unlabelled(write, n, **settings)
    assert len(data.target) == n
    assert (len(data.validation), len(data.test)) == (0, 0)
    assert data.counts["held_out_texts"] == data.counts["test"] == 0


@pytest.mark.parametrize(
    ("n", "share", "held_out"), [(30, 0.1, 3), (30, 0.001, 1), (30, 0.999, 29), (80, 0.25, 20)]
)
def test_the_share_of_a_target_that_is_held_out_is_a_setting_and_counted(
    write: Write, n: int, share: float, held_out: int
) -> None:
    data = unlabelled(write, n, holdout=share)
    assert data.counts["held_out_texts"] == len(data.test) == held_out
    assert len(data.target) == n - held_out
    assert not set(data.target.texts) & set(data.test.texts)


def test_equal_texts_of_a_target_are_never_held_out_in_part(write: Write) -> None:
    path = write("target.jsonl", [{"text": f"target text {i % 20}"} for i in range(60)])
    data = own(train=str(path)).load(NOWHERE, silent)
    assert [len(data.train), len(data.test)] == [54, 6]
    assert not set(data.train.texts) & set(data.test.texts)


def test_a_target_of_one_repeated_text_is_kept_whole(write: Write) -> None:
    path = write("target.jsonl", [{"text": "the same"}] * 40)
    assert own(train=str(path)).load(NOWHERE, silent).counts["held_out_texts"] == 0


def test_a_test_file_of_texts_leaves_the_target_whole(write: Write) -> None:
    test = write("test.jsonl", [{"text": f"test text {i}"} for i in range(4)])
    data = unlabelled(write, 80, test=str(test))
    assert len(data.target) == 80
    assert data.counts["held_out_texts"] == 4


def test_empty_splits_of_a_target_are_stored_like_others(write: Write, tmp_path: Path) -> None:
    data = unlabelled(write, 3)
    save_corpus(tmp_path / "test.arrow", data.test)
    assert load_corpus(tmp_path / "test.arrow").fingerprint == data.test.fingerprint


@pytest.mark.parametrize("share", [-0.1, 1, 1.5, float("nan")])
def test_a_holdout_that_is_no_share_is_refused(share: float) -> None:
    with pytest.raises(InvalidInput, match=r"task\.holdout from 0 to below 1"):
        own(train="target.jsonl", holdout=share)


def test_own_labelled_files_are_split_where_no_file_is_given(write: Write) -> None:
    path = write("target.jsonl", rows("own", 80))
    test = write("test.jsonl", rows("test", 10))
    data = own(train=str(path), test=str(test), label="label").load(NOWHERE, silent)
    assert len(data.test) == 10
    assert data.counts["validation_cut_from_train"] == len(data.validation)
    assert data.labels == ("a", "b")


def test_giving_a_validation_file_leaves_the_test_set_as_it_was(write: Write) -> None:
    path, validation = (str(write(f"{name}.jsonl", rows(name, 60))) for name in ("own", "other"))
    one = own(train=path, label="label").load(NOWHERE, silent)
    two = own(train=path, validation=validation, label="label").load(NOWHERE, silent)
    assert one.test.fingerprint == two.test.fingerprint


def test_equal_texts_are_never_cut_apart(write: Write) -> None:
    path = write("target.jsonl", rows("own", 40) + rows("own", 40))
    data = own(train=str(path), label="label").load(NOWHERE, silent)
    assert not set(data.train.texts) & (set(data.test.texts) | set(data.validation.texts))


def test_too_little_to_cut_from_says_which_file_to_give(write: Write) -> None:
    path = write("target.jsonl", rows("only", 1))
    with pytest.raises(InvalidInput, match=r"target\.jsonl: .*task\.test=FILE"):
        own(train=str(path), label="label").load(NOWHERE, silent)


def test_an_own_task_without_a_train_file_says_what_to_set() -> None:
    with pytest.raises(InvalidInput, match=r"task\.train=FILE"):
        own().identity(NOWHERE)


def test_an_own_file_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="gone"):
        own(train=str(tmp_path / "gone.jsonl")).identity(NOWHERE)


def test_an_unlabelled_task_keeps_all_its_training_texts_and_the_labels_of_its_test_split(
    write: Write, tmp_path: Path
) -> None:
    for split, n in (("train", 40), ("test", 9)):
        write(f"tasks/toy/{split}.jsonl", rows(split, n))
    task = FromSource("other", [], "accuracy", 30, 0, None, kind="unlabelled", folder="toy")
    data = task.load(LocalSource(str(tmp_path)), silent)
    assert [len(data.train), len(data.validation), len(data.test)] == [30, 0, 9]
    assert len(data.target) == 30 and data.train.labels is None and data.labels is None
    assert sorted(set(data.test.labels or ())) == ["a", "b"]
    assert task.identity(LocalSource(str(tmp_path))) == toy().identity(LocalSource(str(tmp_path)))


@pytest.mark.parametrize("name", FROM_SOURCE)
def test_every_configuration_names_itself_and_says_what_it_is(name: str, configured: Any) -> None:
    assert (CONF / f"{name}.yaml").read_text().startswith("# ")
    task = configured(name)
    assert task.name == name
    assert task.primary == task.metrics[0]


def test_there_is_a_configuration_for_each_task_of_the_benchmark_and_of_the_paper() -> None:
    assert len(FROM_SOURCE) == 18
    assert set(HUB_ONLY) < set(FROM_SOURCE)


@pytest.mark.local_data
@pytest.mark.skipif("SHORTLIST_DATA" not in os.environ, reason="SHORTLIST_DATA is not set")
@pytest.mark.parametrize("name", sorted(set(FROM_SOURCE) - HUB_ONLY))
def test_every_task_of_the_benchmark_loads(name: str, configured: Any) -> None:
    task = configured(name)
    data = task.load(LocalSource(os.environ["SHORTLIST_DATA"]), silent)
    assert data.quarantined == ()
    assert data.counts.get("unknown_labels_test", 0) == 0
    assert (data.labels is None) == (task.kind == "regression")
    shape = (len(data.test),) if data.labels is None else (len(data.test), len(data.labels))
    found = task.evaluate(np.random.default_rng(0).random(shape), data)
    assert tuple(metric.name for metric in found) == task.metrics


def test_equal_texts_of_a_target_count_together(write: Write) -> None:
    weighted = [{"text": f"text {row}", "weight": row + 0.5} for row in range(20)]
    rows = [*weighted, {"text": "text 3", "weight": 4.0}]
    task = own(train=str(write("t.jsonl", rows)), mass="weight", holdout=0.0)
    target = task.load(NOWHERE, silent).target
    assert (
        len(target) == 20 and dict(zip(target.texts, target.masses, strict=True))["text 3"] == 7.5
    )
    labelled = [row | {"label": "ab"[k % 2]} for k, row in enumerate(weighted * 3)]
    for row, k in zip(labelled, range(60), strict=True):
        row["text"] = f"{row['text']} {k}"
    other = own(train=str(write("l.jsonl", labelled)), label="label", mass="weight")
    found = other.load(NOWHERE, silent).target
    masses = {row["text"]: row["weight"] for row in labelled}
    np.testing.assert_allclose(found.masses, [masses[text] for text in found.texts])


def test_names_of_columns_and_tasks_may_look_like_numbers(write: Write) -> None:
    path = str(write("t.jsonl", [{"0": f"a text {n}", "1": n % 2} for n in range(40)]))
    task = own(name=2024, train=path, text=0, label=1, test=path, validation=path)
    assert task.name == "2024" and task.load(NOWHERE, silent).labels == ("0", "1")


def test_parts_in_a_folder_are_one_train_file(write: Write, tmp_path: Path) -> None:
    for part in range(2):
        write(f"train/part-{part}.jsonl", rows(f"part {part}", 20))
    data = own(train=str(tmp_path / "train")).load(NOWHERE, silent)
    assert data.counts["rows_read_train"] == 40
